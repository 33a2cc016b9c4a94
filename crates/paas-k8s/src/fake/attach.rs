//! Being attached to what runs in a pod: to its first program, unlike a command of [`exec`](super::exec).
//!
//! Two programs of a run read their input: `cat`, and `asked-size`, which prints the size of its terminal after each line.
//! What they print is in the log too.

use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use paas_core::memory::Ending;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::exec::{CLOSE, RESIZE, STATUS, STDIN, STDOUT, Socket, exit};
use super::kubelet::{has_terminal, reads_input, uid_of};
use super::objects::Key;
use super::{Inner, State};

/// What ends the input of a terminal (`VEOF` of termios(3)).
const END_OF_INPUT: u8 = 0x04;

/// Somebody who is attached.
pub(super) struct Attached {
    inner: Arc<Inner>,
    socket: Socket,
    key: Key,
    /// Whether output is passed on.
    shows: bool,
    /// The program's last line, which has no end yet.
    line: Vec<u8>,
    /// Rows and columns.
    size: (u64, u64),
}

impl Attached {
    pub(super) fn new(inner: Arc<Inner>, socket: Socket, key: Key, shows: bool) -> Self {
        Self { inner, socket, key, shows, line: Vec::new(), size: (0, 0) }
    }

    /// Passes on until the program has ended or the caller has gone.
    pub(super) async fn run(mut self) {
        let mut newest = self.inner.newest.subscribe();
        while let Some(pod) = self.running() {
            let message = tokio::select! {
                message = self.socket.next() => message,
                _ = newest.changed() => continue,
            };
            match message {
                Some(Ok(Message::Binary(bytes))) => self.take(&pod, &bytes).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    // Who attached is the only one who ever will (`stdinOnce`); a terminal has no end by itself.
                    if !has_terminal(&pod) {
                        self.end_input(&pod).await;
                    }
                    return;
                }
                Some(Ok(_)) => {}
            }
        }
        self.send(STATUS, exit(0).to_string().as_bytes()).await;
        let _ = self.socket.close(None).await; // the other end is gone
    }

    /// The pod, as long as its container runs.
    fn running(&self) -> Option<Value> {
        let state = self.inner.lock();
        let pod = state.objects.get(&self.key)?;
        pod["status"]["containerStatuses"][0]["state"]["running"].is_object().then(|| pod.clone())
    }

    async fn take(&mut self, pod: &Value, message: &[u8]) {
        match message.split_first() {
            Some((&STDIN, input)) => {
                let end = input.iter().position(|byte| *byte == END_OF_INPUT && has_terminal(pod));
                self.read(pod, &input[..end.unwrap_or(input.len())]).await;
                if end.is_some() {
                    self.end_input(pod).await;
                }
            }
            Some((&RESIZE, size)) => {
                let size: Value = serde_json::from_slice(size).unwrap_or_default();
                let number = |name: &str| size[name].as_u64().unwrap_or_default();
                self.size = (number("Height"), number("Width"));
            }
            Some((&CLOSE, [STDIN])) => self.end_input(pod).await,
            _ => {}
        }
    }

    /// The program reads input.
    async fn read(&mut self, pod: &Value, input: &[u8]) {
        match reads_input(pod) {
            Some("cat") => {
                for piece in input.split_inclusive(|byte| *byte == b'\n') {
                    self.line.extend_from_slice(piece);
                    if piece.ends_with(b"\n") {
                        self.print(pod).await;
                    }
                }
            }
            Some(_) if input.contains(&b'\n') => {
                self.line = format!("{} {}\n", self.size.0, self.size.1).into_bytes();
                self.print(pod).await;
            }
            _ => {}
        }
    }

    /// The program reads the end of its input.
    async fn end_input(&mut self, pod: &Value) {
        if reads_input(pod).is_some() {
            self.print(pod).await;
            let pod = pod.clone();
            self.with(|state| state.end(pod, Ending::Exit(0)));
        }
    }

    /// Prints the line.
    async fn print(&mut self, pod: &Value) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let text = text.strip_suffix('\n').unwrap_or(&text);
        self.with(|state| state.print(uid_of(pod), text));
        if self.shows {
            self.send(STDOUT, &line).await;
        }
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        self.inner.with(change);
        // Followers of the log wait for new versions.
        self.inner.newest.send_modify(|_| {});
    }

    async fn send(&mut self, channel: u8, bytes: &[u8]) {
        let message = [&[channel], bytes].concat();
        let _ = self.socket.send(Message::binary(message)).await; // the other end is gone
    }
}
