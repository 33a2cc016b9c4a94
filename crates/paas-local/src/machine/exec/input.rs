//! What the caller of a command sends.

use std::io;
use std::os::fd::OwnedFd;

use paas_core::port::ExecInput;
use rustix::termios::tcsetwinsize;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::exec::{Control, Size};

/// How much input waits for a command that does not read, before what comes behind it waits too.
const PENDING_BYTES: usize = 1 << 20;
/// What ends the input of a terminal, at the beginning of a line (`VEOF` of termios(3)).
const END_OF_INPUT: u8 = 0x04;

/// Does what the caller says until there is nothing more to come.
pub(super) async fn feed(control: &Control, mut input: Input<'_>, mut inputs: mpsc::Receiver<ExecInput>) {
    let mut listening = true;
    while listening || input.is_waiting() {
        tokio::select! {
            piece = inputs.recv(), if listening && input.has_room() => match piece {
                Some(ExecInput::Stdin(bytes)) => input.push(&bytes),
                Some(ExecInput::CloseStdin) => input.end(),
                Some(ExecInput::Resize(size)) => {
                    input.resize(Size { rows: size.rows, columns: size.columns });
                }
                Some(ExecInput::Signal(number)) => {
                    // A command that has ended takes none.
                    let _ = control.signal(number).await;
                }
                Some(_) => {}
                None => {
                    listening = false;
                    input.end();
                }
            },
            () = input.write(), if input.is_waiting() => {}
        }
    }
}

/// The command's standard input, and what waits for it.
pub(super) struct Input<'a> {
    pipe: Option<AsyncFd<OwnedFd>>,
    terminal: Option<&'a AsyncFd<OwnedFd>>,
    waiting: Vec<u8>,
    /// Whether the last byte ended a line.
    at_line_start: bool,
    ended: bool,
}

impl<'a> Input<'a> {
    /// By a pipe, or by a terminal.
    pub(super) fn new(pipe: Option<AsyncFd<OwnedFd>>, terminal: Option<&'a AsyncFd<OwnedFd>>) -> Self {
        Self { pipe, terminal, waiting: Vec::new(), at_line_start: true, ended: false }
    }

    fn push(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.waiting.extend_from_slice(bytes);
            self.at_line_start =
                bytes.last().map_or(self.at_line_start, |last| matches!(last, b'\n' | b'\r'));
        }
    }

    /// What waits is still written.
    pub(super) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.terminal.is_some() {
            // Elsewhere than at the beginning of a line, the first one only passes on what is there.
            self.waiting.extend_from_slice(if self.at_line_start {
                &[END_OF_INPUT]
            } else {
                &[END_OF_INPUT, END_OF_INPUT]
            });
        }
        self.close_if_done();
    }

    fn close_if_done(&mut self) {
        if self.ended && self.waiting.is_empty() {
            self.pipe = None;
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < PENDING_BYTES
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes some of what waits, as soon as the command has room for it. Whenever this is dropped, nothing is written
    /// twice.
    async fn write(&mut self) {
        let written = match self.pipe.as_ref().or(self.terminal) {
            Some(stream) => write(stream, &self.waiting).await,
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        match written {
            Ok(count) => drop(self.waiting.drain(..count)),
            // The command reads no more.
            Err(_) => {
                self.waiting.clear();
                self.ended = true;
            }
        }
        self.close_if_done();
    }

    /// Gives the terminal another size; the command is told by `SIGWINCH`.
    fn resize(&self, size: Size) {
        if let Some(terminal) = self.terminal {
            // A terminal that nobody has open has no size that matters.
            let _ = tcsetwinsize(terminal.get_ref(), size.into());
        }
    }
}

async fn write(stream: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        let mut ready = stream.writable().await?;
        if let Ok(outcome) = ready.try_io(|stream| Ok(rustix::io::write(stream.get_ref(), bytes)?)) {
            return outcome;
        }
    }
}
