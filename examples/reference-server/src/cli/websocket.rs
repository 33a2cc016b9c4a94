//! A command in an instance, over a WebSocket.

use futures::stream::SplitStream;
use futures::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use reqwest::{Method, StatusCode, Upgraded};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::client::Client;
use super::failure::{Exit, Failure};
use super::terminal::{self, RawTerminal};
use crate::rest::exec::{self, Start};
use crate::rest::problem::Problem;

/// Runs the command behind `path` and returns its exit code.
pub async fn run(client: &Client, path: &str, start: Start) -> Result<i32, Failure> {
    let socket = open(client, path).await?;
    let (mut sink, mut source) = socket.split();
    let first = serde_json::to_string(&start).map_err(|error| Failure::usage(error.to_string()))?;
    sink.send(Message::text(first)).await.map_err(|_| lost())?;

    let raw =
        if start.terminal.is_some() && terminal::is_terminal() { Some(RawTerminal::enter()?) } else { None };
    let (send, mut outgoing) = mpsc::channel::<Vec<u8>>(16);
    if start.stdin {
        spawn_input(send.clone());
    }
    if start.terminal.is_some() {
        spawn_resize(send.clone())?;
    }
    spawn_signals(send, start.terminal.is_some())?;

    // Both ways at once: a command that gets input must not wait for somebody to read what it prints.
    let give = async {
        while let Some(message) = outgoing.recv().await {
            if sink.send(Message::binary(message)).await.is_err() {
                // What comes tells why.
                break;
            }
        }
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = take(&mut source) => outcome,
        never = give => never,
    };
    drop(raw);
    let _ = sink.close().await;
    outcome
}

/// Prints what comes, until the exit code does.
async fn take(source: &mut SplitStream<WebSocketStream<Upgraded>>) -> Result<i32, Failure> {
    let mut stdout = tokio::io::stdout();
    let mut stderr = tokio::io::stderr();
    loop {
        let bytes = match source.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(lost()),
            Some(Ok(_)) => continue,
        };
        match bytes.split_first() {
            Some((&exec::STDOUT, content)) => {
                stdout.write_all(content).await?;
                stdout.flush().await?;
            }
            Some((&exec::STDERR, content)) => {
                stderr.write_all(content).await?;
                stderr.flush().await?;
            }
            Some((&exec::EXIT, content)) => return Ok(content.try_into().map_or(1, i32::from_be_bytes)),
            Some((&exec::PROBLEM, content)) => return Err(told(content)),
            _ => {}
        }
    }
}

fn lost() -> Failure {
    Failure::new(Exit::Unreachable, "the connection to the server was lost; the command may have been ended")
}

fn told(content: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(content) {
        Ok(problem) => problem.into(),
        Err(_) => lost(),
    }
}

/// Opens the WebSocket (RFC 6455, section 4.1) over the client that sends every other request too.
async fn open(client: &Client, path: &str) -> Result<WebSocketStream<Upgraded>, Failure> {
    let key = generate_key();
    let request = client
        .request(Method::GET, path)?
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(SEC_WEBSOCKET_PROTOCOL, exec::PROTOCOL);
    let response = client.open(request).await?;
    let accepted = response
        .headers()
        .get(SEC_WEBSOCKET_ACCEPT)
        .is_some_and(|accept| accept.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS || !accepted {
        return Err(Failure::new(Exit::Error, format!("{} did not open a WebSocket", client.address()))
            .with_remedy("Is there a proxy before it that does not pass WebSockets on?"));
    }
    let stream = response.upgrade().await.map_err(|_| lost())?;
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
}

fn spawn_input(send: mpsc::Sender<Vec<u8>>) {
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; 16 << 10];
        loop {
            let message = match stdin.read(&mut buffer).await {
                Ok(0) | Err(_) => {
                    let _ = send.send(vec![exec::CLOSE_STDIN]).await;
                    return;
                }
                Ok(count) => exec::message(exec::STDIN, &buffer[..count]),
            };
            if send.send(message).await.is_err() {
                return;
            }
        }
    });
}

fn spawn_resize(send: mpsc::Sender<Vec<u8>>) -> std::io::Result<()> {
    let mut changed = signal(SignalKind::window_change())?;
    tokio::spawn(async move {
        while changed.recv().await.is_some() {
            if send.send(exec::resize(terminal::size())).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Passes SIGINT and SIGTERM on. In a terminal, Ctrl-C is a key like any other.
fn spawn_signals(send: mpsc::Sender<Vec<u8>>, terminal: bool) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = interrupt.recv(), if !terminal => 2,
                _ = terminate.recv() => 15,
            };
            if send.send(vec![exec::SIGNAL, number]).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
