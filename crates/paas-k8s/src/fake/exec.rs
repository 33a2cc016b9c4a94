//! Commands inside pods, over WebSockets as a real server speaks them.
//!
//! Source: `k8s.io/apimachinery`, `pkg/util/remotecommand`: the subprotocol `v5.channel.k8s.io`, in which the first byte of each
//! message is a channel. Every image has the same few programs as those of
//! [`SimulatedExec`](paas_core::memory::SimulatedExec), and of a shell what this crate needs of one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tower::BoxError;

use super::answer::Refused;
use super::attach::Attached;
use super::kubelet::uid_of;
use super::objects::Key;
use super::request::Request;
use super::service::{AnswerBody, refusal, whole};
use super::{Inner, kinds};

const PROTOCOL: &str = "v5.channel.k8s.io";
pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
const STDERR: u8 = 2;
pub(super) const STATUS: u8 = 3;
pub(super) const RESIZE: u8 = 4;
pub(super) const CLOSE: u8 = 255;

/// The programs that every image has.
const PROGRAMS: [&str; 7] = ["echo", "warn", "env", "exit", "cat", "size", "sleep"];

/// A command that runs inside a pod.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) uid: String,
    mark: String,
    signals: mpsc::Sender<i32>,
}

/// Answers a request for a command.
pub(super) async fn answer(
    inner: Arc<Inner>,
    request: http::Request<Body>,
) -> Result<Response<AnswerBody>, BoxError> {
    // An upgrade needs a connection, so there is one, with both of its ends in memory.
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = hyper::server::conn::http1::Builder::new().serve_connection(
        TokioIo::new(far),
        service_fn(move |request: http::Request<Incoming>| {
            let inner = Arc::clone(&inner);
            async move { Ok::<_, Infallible>(upgrade(inner, request)) }
        }),
    );
    tokio::spawn(async move { drop(server.with_upgrades().await) });
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(async move { drop(connection.with_upgrades().await) });
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// Answers a request for a command that came by a connection.
pub(super) fn upgrade(inner: Arc<Inner>, request: http::Request<Incoming>) -> Response<AnswerBody> {
    let parsed = Request::parse(request.method().clone(), request.uri(), request.headers(), Bytes::new());
    let key = Key::new(kinds::POD, parsed.namespace.as_deref(), parsed.name.as_deref().unwrap_or_default());
    if let Err(refused) = inner.with(|state| state.authorize(&parsed)) {
        return refusal(&refused);
    }
    let runs = inner.with(|state| {
        let pod = state.objects.get(&key);
        pod.map(|pod| pod["status"]["containerStatuses"][0]["state"]["running"].is_object())
    });
    let is_known =
        matches!(parsed.subresource.as_deref(), Some("exec" | "attach")) && parsed.method == Method::GET;
    match runs {
        None => refusal(&Refused::missing(&key)),
        Some(false) => refusal(&Refused::bad_request("the container is not running")),
        Some(true) if !is_known => refusal(&Refused::bad_request("only exec and attach are understood")),
        Some(true) => accept(inner, request, parsed, key),
    }
}

fn accept(
    inner: Arc<Inner>,
    request: http::Request<Incoming>,
    parsed: Request,
    key: Key,
) -> Response<AnswerBody> {
    let accepted =
        request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            if parsed.subresource.as_deref() == Some("attach") {
                return Attached::new(inner, socket, key, parsed.asks("stdout")).run().await;
            }
            let words: Vec<String> = parsed
                .query
                .iter()
                .filter(|(name, _)| name == "command")
                .map(|(_, value)| value.clone())
                .collect();
            Session { inner, socket, key, terminal: parsed.asks("tty") }.run(words).await;
        }
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "Upgrade")
        .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .header(header::SEC_WEBSOCKET_ACCEPT, accepted.unwrap_or_default())
        .body(whole(Bytes::new()));
    response.expect("the status and the headers are valid")
}

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

struct Session {
    inner: Arc<Inner>,
    socket: Socket,
    key: Key,
    terminal: bool,
}

impl Session {
    async fn run(mut self, words: Vec<String>) {
        let status = match shell(&words) {
            Shell::Kill { mark, signal } => {
                let found = self.inner.with(|state| {
                    state.commands.iter().find(|it| it.mark == mark).map(|it| it.signals.clone())
                });
                if let Some(found) = found {
                    let _ = found.send(signal).await; // it has ended
                }
                exit(0)
            }
            Shell::Run { mark, command } => self.perform(mark, &command).await,
        };
        self.send(STATUS, status.to_string().as_bytes()).await;
        let _ = self.socket.close(None).await; // the other end is gone
    }

    async fn send(&mut self, channel: u8, bytes: &[u8]) {
        let message = [&[channel], bytes].concat();
        let _ = self.socket.send(Message::binary(message)).await; // the other end is gone
    }

    /// Runs a program, known to the pod as long as it runs.
    async fn perform(&mut self, mark: String, command: &[String]) -> Value {
        let (signals, mut signalled) = mpsc::channel(4);
        let env = self.inner.with(|state| {
            let pod = state.objects.get(&self.key)?.clone();
            let running = Running { uid: uid_of(&pod).to_owned(), mark: mark.clone(), signals };
            state.commands.push(running);
            Some(pod["spec"]["containers"][0]["env"].clone())
        });
        // A shell says that it has found the command.
        if command.first().is_some_and(|name| PROGRAMS.contains(&name.as_str())) {
            self.send(STDOUT, mark.as_bytes()).await;
        }
        let status = match env {
            None => failure("the container is gone"),
            Some(env) => self.program(command, &env, &mut signalled).await,
        };
        self.inner.with(|state| state.commands.retain(|it| it.mark != mark));
        status
    }

    async fn program(
        &mut self,
        command: &[String],
        env: &Value,
        signalled: &mut mpsc::Receiver<i32>,
    ) -> Value {
        let rest = || command.get(1..).unwrap_or_default().join(" ");
        let number = || command.get(1).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
        let errors = if self.terminal { STDOUT } else { STDERR };
        match command.first().map(String::as_str).unwrap_or_default() {
            "echo" => self.send(STDOUT, format!("{}\n", rest()).as_bytes()).await,
            "warn" => self.send(errors, format!("{}\n", rest()).as_bytes()).await,
            "env" => {
                for variable in env.as_array().into_iter().flatten() {
                    let (name, value) = (variable["name"].as_str(), variable["value"].as_str());
                    let line = format!("{}={}\n", name.unwrap_or_default(), value.unwrap_or_default());
                    self.send(STDOUT, line.as_bytes()).await;
                }
            }
            "exit" => return exit(number()),
            "cat" | "size" | "sleep" => return self.interactive(command, signalled).await,
            missing => {
                self.send(errors, format!("sh: 1: exec: {missing}: not found\n").as_bytes()).await;
                return exit(127);
            }
        }
        exit(0)
    }

    /// Runs a program that takes input, or time.
    async fn interactive(&mut self, command: &[String], signalled: &mut mpsc::Receiver<i32>) -> Value {
        let program = command.first().map(String::as_str).unwrap_or_default();
        let seconds = command.get(1).and_then(|text| text.parse().ok()).unwrap_or(86_400);
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let message = tokio::select! {
                signal = signalled.recv() => match signal {
                    Some(signal) => return exit(128 + signal.unsigned_abs()),
                    None => return failure("the container is gone"),
                },
                () = sleep_until(end), if program == "sleep" => return exit(0),
                message = self.socket.next() => message,
            };
            let bytes = match message {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    // A real command goes on when its caller is gone, until it is signalled.
                    return match signalled.recv().await {
                        Some(signal) => exit(128 + signal.unsigned_abs()),
                        None => failure("the container is gone"),
                    };
                }
                Some(Ok(_)) => continue,
            };
            match (bytes.split_first(), program) {
                (Some((&STDIN, [])), "cat") => {}
                (Some((&STDIN, input)), "cat") => {
                    let input = input.to_vec();
                    self.send(STDOUT, &input).await;
                }
                (Some((&CLOSE, [STDIN])), "cat") => return exit(0),
                (Some((&RESIZE, size)), "size") => {
                    let size: Value = serde_json::from_slice(size).unwrap_or_default();
                    let text = format!("{} {}\n", size["Height"], size["Width"]);
                    self.send(STDOUT, text.as_bytes()).await;
                    return exit(0);
                }
                _ => {}
            }
        }
    }
}

/// What a shell is asked for.
enum Shell {
    Run { mark: String, command: Vec<String> },
    Kill { mark: String, signal: i32 },
}

/// Understands the two scripts of this crate; anything else is a command.
fn shell(words: &[String]) -> Shell {
    let script = match words {
        [shell, flag, script, ..] if shell == "/bin/sh" && flag == "-c" => script.as_str(),
        _ => return Shell::Run { mark: String::new(), command: words.to_vec() },
    };
    let after = |text: &str| script.split(text).nth(1).unwrap_or_default().to_owned();
    let mark: String = after("PAAS_COMMAND=").chars().take_while(char::is_ascii_hexdigit).collect();
    if script.contains("kill -") {
        let signal: String = after("kill -").chars().take_while(char::is_ascii_digit).collect();
        return Shell::Kill { mark, signal: signal.parse().unwrap_or(15) };
    }
    Shell::Run { mark, command: words.get(4..).unwrap_or_default().to_vec() }
}

pub(super) fn exit(code: u32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({ "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] } })
}

fn failure(message: &str) -> Value {
    json!({ "metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500 })
}
