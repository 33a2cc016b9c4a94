//! Commands in instances, over WebSockets.

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::response::{IntoResponse, Response};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use paas_core::port::{ExecOptions, ExecSession, InstanceId};
use paas_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use super::Service;
use super::app::{ComponentPath, here};
use super::auth::Caller;
use super::extract::Names;
use super::operation::{Routes, get};
use crate::rest::exec::{self, Start};
use crate::rest::problem::Problem;

const TAG: &str = "commands";
/// The largest message of the caller in bytes.
const MAX_MESSAGE: usize = 1 << 20;

pub fn routes(routes: Routes) -> Routes {
    routes.add(
        get(&here("/components/{component}/exec"), TAG, "exec", "Runs a command in a running instance")
            .about(
                "A WebSocket of the subprotocol `paas.exec.v1`. The caller first sends a text message: a JSON object with \
                 `command` (a list), and optionally `instance`, `terminal` (`columns`, `rows`) and `stdin`. All other \
                 messages are binary: one byte for the channel (0 input, 1 output, 2 error output, 3 exit code, 4 new size \
                 of the terminal, 5 end of input, 6 signal, 7 problem), then the content.",
            )
            .gives_nothing(101, "The WebSocket is open.")
            .fails(&[426]),
        exec_in_instance,
    )
}

/// The upgrade to a WebSocket, or what to answer instead.
pub type Upgrade = std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

async fn exec_in_instance(
    State(service): State<Service>,
    caller: Caller,
    Names(path): Names<ComponentPath>,
    upgrade: Upgrade,
) -> Response {
    let (at, component) = path.split();
    upgraded(&service, upgrade, |start: Start| async move {
        let instance = start.instance.clone().map(InstanceId);
        caller.session().exec(&at, &component, instance, options(start)).await
    })
}

/// What a start asks for.
pub fn options(start: Start) -> ExecOptions {
    ExecOptions { command: start.command, terminal: start.terminal.map(Into::into), stdin: start.stdin }
}

/// Opens the WebSocket, reads the start, lets `begin` begin, and carries bytes until the command has ended.
pub fn upgraded<B, F>(service: &Service, upgrade: Upgrade, begin: B) -> Response
where
    B: FnOnce(Start) -> F + Send + 'static,
    F: Future<Output = Result<ExecSession>> + Send + 'static,
{
    let closing = service.closing().clone();
    match upgrade {
        Ok(upgrade) => upgrade
            .protocols([exec::PROTOCOL])
            .max_message_size(MAX_MESSAGE)
            .on_upgrade(move |socket| carry(socket, begin, closing)),
        Err(_) => {
            let problem = Problem::new(426, "upgrade_required", "this operation is a WebSocket")
                .with_remedy("Ask for an upgrade, as RFC 6455 says; `paas exec` does.");
            let mut response = problem.into_response();
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response
        }
    }
}

async fn carry<B, F>(socket: WebSocket, begin: B, closing: CancellationToken)
where
    B: FnOnce(Start) -> F,
    F: Future<Output = Result<ExecSession>>,
{
    let (mut sink, mut source) = socket.split();
    let outcome = match start(&mut source).await {
        Ok(Some(start)) => match begin(start).await {
            Ok(session) => exchange(session, &mut sink, &mut source, closing).await,
            Err(error) => Err(error),
        },
        Ok(None) => return,
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        let problem = serde_json::to_vec(&Problem::from(error)).unwrap_or_default();
        let _ = sink.send(Message::binary(exec::message(exec::PROBLEM, &problem))).await;
    }
    let frame = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    let _ = sink.send(Message::Close(Some(frame))).await;
}

/// The first message, or nothing if the caller went away.
async fn start(source: &mut SplitStream<WebSocket>) -> Result<Option<Start>> {
    let invalid = || Error::new(ErrorKind::Invalid, "read the start of a command");
    while let Some(Ok(message)) = source.next().await {
        match message {
            Message::Text(text) => {
                let start = serde_json::from_str(&text);
                return start.map(Some).map_err(|error| invalid().with_source(error));
            }
            Message::Binary(_) => return Err(invalid().with_source("the first message is not text")),
            Message::Close(_) => return Ok(None),
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
    Ok(None)
}

/// Carries input and output until the command has ended, the caller has gone, or the server stops.
async fn exchange(
    session: ExecSession,
    sink: &mut SplitSink<WebSocket, Message>,
    source: &mut SplitStream<WebSocket>,
    closing: CancellationToken,
) -> Result<()> {
    let ExecSession { input, mut output } = session;
    let forward = async {
        while let Some(Ok(message)) = source.next().await {
            let Message::Binary(bytes) = message else { continue };
            // What has no meaning is left out: a newer caller may know more.
            if let Some(part) = exec::input(&bytes) {
                // A command that takes no more input may still print.
                let _ = input.send(part).await;
            }
        }
    };
    let backward = async {
        while let Some(part) = output.next().await {
            let Some(message) = exec::output(&part?) else { continue };
            let ended = message.first() == Some(&exec::EXIT);
            if sink.send(Message::binary(message)).await.is_err() || ended {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Lost, "follow a command to its end"))
    };
    tokio::pin!(forward, backward);
    tokio::select! {
        outcome = &mut backward => outcome,
        // The caller has gone: dropping the session ends the command.
        () = &mut forward => Ok(()),
        () = closing.cancelled() => {
            Err(Error::new(ErrorKind::Unavailable, "go on with a command").with_source("the server is stopping"))
        }
    }
}
