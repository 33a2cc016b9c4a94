//! A command under way.

use std::collections::VecDeque;
use std::task::Poll;
use std::time::Duration;

use futures::stream;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize as Size};
use paas_core::port::{ExecInput, ExecOptions, ExecOutput, ExecSession};
use paas_core::{Error, ErrorKind, Fault, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::OPERATION;
use super::marked::Mark;
use super::run::Killed;
use crate::cluster::Shared;
use crate::error::failed;

/// How many pieces of input or output wait at most.
const PIECES: usize = 16;
const PIECE: usize = 32 * 1024;
/// How long a command without a shell may take to fail to start, before it is taken for started.
const STARTED: Duration = Duration::from_secs(1);
/// How long a shell may take to say whether there is such a command.
const FOUND: Duration = Duration::from_secs(20);

pub(super) type Sizes = futures::channel::mpsc::Sender<Size>;
type Outputs = mpsc::Sender<Result<ExecOutput>>;

/// Starts a command in a pod.
pub(super) async fn open(
    pods: Api<Pod>,
    name: String,
    container: String,
    options: &ExecOptions,
) -> Result<ExecSession> {
    let mark = Mark::new();
    match start(
        &pods,
        (&name, &container),
        &mark.wrap(&options.command, options.terminal),
        options,
        Some(mark.clone()),
    )
    .await?
    {
        Started::Session(session) => Ok(session),
        // Without a shell the command runs bare, and cannot be signalled.
        Started::Missing(text) if text.contains("/bin/sh") => {
            match start(&pods, (&name, &container), &options.command, options, None).await? {
                Started::Session(session) => Ok(session),
                Started::Missing(text) => Err(missing(&name, &options.command, text)),
            }
        }
        Started::Missing(text) => Err(missing(&name, &options.command, text)),
    }
}

enum Started {
    Session(ExecSession),
    /// There is no such program, in the runtime's words.
    Missing(String),
}

fn missing(instance: &str, command: &[String], text: String) -> Error {
    let word = command.first().cloned().unwrap_or_default();
    let fault = Fault::new("command", format!("the image has no command {word:?}"));
    Error::invalid(OPERATION, vec![fault]).with_context("instance", instance).with_source(text)
}

async fn start(
    pods: &Api<Pod>,
    (name, container): (&str, &str),
    command: &[String],
    options: &ExecOptions,
    mark: Option<Mark>,
) -> Result<Started> {
    let terminal = options.terminal.is_some();
    let parameters = AttachParams::default()
        .container(container)
        .stdin(options.stdin)
        .stdout(true)
        .stderr(!terminal)
        .tty(terminal);
    let mut process = pods
        .exec(name, command.iter().map(String::as_str), &parameters)
        .await
        .map_err(|error| failed(OPERATION, error).with_context("instance", name))?;
    let mut sizes = process.terminal_size();
    if let (Some(size), Some(sizes)) = (options.terminal, &mut sizes) {
        resize(sizes, size).await;
    }
    let status = process.take_status();
    let (outputs, mut output) = mpsc::channel(PIECES);
    let (input, inputs) = mpsc::channel(PIECES);
    let (name, container) = (name.to_owned(), container.to_owned());
    let state = Session { pods: pods.clone(), name, container, mark: mark.clone() };
    let status = async move {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    tokio::spawn(state.run(process, sizes, status, inputs, outputs));
    let mut early = match first_of(&mut output, mark.as_ref()).await {
        Ok(early) => VecDeque::from(early),
        Err(text) => return Ok(Started::Missing(text)),
    };
    let rest = stream::poll_fn(move |context| match early.pop_front() {
        Some(piece) => Poll::Ready(Some(piece)),
        None => output.poll_recv(context),
    });
    Ok(Started::Session(ExecSession { input, output: Box::pin(rest) }))
}

/// What a command printed until it is known to have started; or what was said of it, if there is none.
async fn first_of(
    output: &mut mpsc::Receiver<Result<ExecOutput>>,
    mark: Option<&Mark>,
) -> Result<Vec<Result<ExecOutput>>, String> {
    let until = Instant::now() + if mark.is_some() { FOUND } else { STARTED };
    let mut early = Vec::new();
    while let Ok(Some(piece)) = timeout_at(until, output.recv()).await {
        match &piece {
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(error.report()),
            // The shell says so itself: 127 for what does not exist, 126 for what cannot be run.
            Ok(ExecOutput::Stderr(text) | ExecOutput::Stdout(text)) if is_missing(text) => {
                return Err(String::from_utf8_lossy(text).into_owned());
            }
            Ok(ExecOutput::Stdout(text)) => {
                match mark.and_then(|mark| mark.follows(text)) {
                    Some([]) => {}
                    Some(rest) => early.push(Ok(ExecOutput::Stdout(rest.to_vec()))),
                    None => early.push(piece),
                }
                break;
            }
            // The mark may still be on its way: it comes by another stream.
            Ok(ExecOutput::Stderr(_)) if mark.is_some() => early.push(piece),
            _ => {
                early.push(piece);
                break;
            }
        }
    }
    Ok(early)
}

/// What shells say of a program that they cannot find, told by themselves and not by a command.
fn is_missing(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    (text.starts_with("sh: ") || text.starts_with("/bin/sh: "))
        && (text.contains("not found") || text.contains("Permission denied"))
}

pub(super) async fn resize(sizes: &mut Sizes, size: paas_core::port::TerminalSize) {
    use futures::SinkExt as _;
    let _ = sizes.send(Size { width: size.columns, height: size.rows }).await; // it has ended
}

struct Session {
    pods: Api<Pod>,
    name: String,
    container: String,
    mark: Option<Mark>,
}

impl Session {
    async fn run(
        self,
        mut process: AttachedProcess,
        mut sizes: Option<Sizes>,
        status: impl Future<Output = Option<Status>>,
        mut inputs: mpsc::Receiver<ExecInput>,
        outputs: Outputs,
    ) {
        let stdout = process.stdout().map(|reader| copy(reader, outputs.clone(), ExecOutput::Stdout));
        let stderr = process.stderr().map(|reader| copy(reader, outputs.clone(), ExecOutput::Stderr));
        let mut stdin = process.stdin();
        let killed = Killed::new(None);
        let printed = async {
            let both = (optional(stdout), optional(stderr));
            futures::join!(both.0, both.1);
        };
        let ended = async { futures::join!(printed, status).1 };
        // Beside the output, which a command that answers its input has to get rid of before it takes more.
        let fed = async {
            while let Some(piece) = inputs.recv().await {
                match piece {
                    ExecInput::Stdin(bytes) => {
                        if let Some(writer) = &mut stdin
                            && (writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err())
                        {
                            stdin = None;
                        }
                    }
                    ExecInput::Resize(size) => {
                        if let Some(sizes) = &mut sizes {
                            resize(sizes, size).await;
                        }
                    }
                    ExecInput::Signal(signal) => {
                        *Shared::lock(&killed) = Some(signal);
                        self.signal(signal).await;
                    }
                    _ => close(&mut stdin).await,
                }
            }
            close(&mut stdin).await;
            std::future::pending::<()>().await;
        };
        let status = tokio::select! {
            status = ended => status,
            () = fed => None,
            () = outputs.closed() => {
                process.abort();
                if self.signal(1).await {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    self.signal(9).await;
                }
                return;
            }
        };
        let killed = *Shared::lock(&killed);
        let _ = outputs.send(result(status, killed)).await; // nobody reads any more
    }

    /// Signals the command; whether it could be.
    async fn signal(&self, signal: i32) -> bool {
        let Some(mark) = &self.mark else { return false };
        let parameters = AttachParams::default().container(self.container.as_str()).stdout(true).stderr(true);
        match self.pods.exec(&self.name, mark.signal(signal), &parameters).await {
            Ok(process) => process.join().await.is_ok(),
            Err(error) => {
                tracing::debug!(%error, "cannot signal a command");
                false
            }
        }
    }
}

pub(super) async fn close<W: tokio::io::AsyncWrite + Unpin>(stdin: &mut Option<W>) {
    if let Some(mut writer) = stdin.take() {
        let _ = writer.shutdown().await; // it has ended
    }
}

async fn optional(copy: Option<impl Future<Output = ()>>) {
    if let Some(copy) = copy {
        copy.await;
    }
}

async fn copy(mut reader: impl AsyncRead + Unpin, outputs: Outputs, piece: fn(Vec<u8>) -> ExecOutput) {
    let mut buffer = vec![0; PIECE];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        if outputs.send(Ok(piece(buffer[..count].to_vec()))).await.is_err() {
            return;
        }
    }
}

/// The end of a command as the kubelet tells it.
///
/// Source: `k8s.io/kubelet`, `pkg/cri/streaming/remotecommand/exec.go`: an exit code is a `Failure` with the reason
/// `NonZeroExitCode` and a cause `ExitCode`.
fn result(status: Option<Status>, killed: Option<i32>) -> Result<ExecOutput> {
    let Some(status) = status else {
        return match killed {
            Some(signal) => Ok(ExecOutput::Exit(128 + signal)),
            None => Err(Error::new(ErrorKind::Lost, OPERATION)
                .with_source("the connection ended before the command did")),
        };
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(ExecOutput::Exit(0));
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_deref()).unwrap_or_default();
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = code.and_then(|cause| cause.message.as_ref()?.parse().ok());
    if let Some(code) = code {
        return Ok(ExecOutput::Exit(code));
    }
    let absent = ["executable file not found", "no such file or directory", "permission denied"];
    let message = status.message.unwrap_or_default();
    let kind = if absent.iter().any(|words| message.contains(words)) {
        ErrorKind::Invalid
    } else {
        ErrorKind::Unavailable
    };
    Err(Error::new(kind, OPERATION).with_source(message))
}
