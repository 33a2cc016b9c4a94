//! Runs with input or a terminal.
//!
//! Kubernetes starts the command whether or not somebody is attached, and passes on what is printed from then on. So
//! without a terminal only the input goes over the attachment, and the output comes from the log, whole. What a terminal
//! shows is not whole lines: it comes over the attachment, after what the log had before, and once more from the log if
//! the command was over before the attachment was there.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use paas_core::port::{ExecInput, ExecOutput, TerminalSize};
use paas_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::is_running;
use super::run::{Attached, Killed, OPERATION, Outputs, PAUSE, Shown, told_end};
use super::session::{Sizes, close, resize};
use crate::build::CONTAINER;
use crate::error::failed;
use crate::runtime::{find_run, observe_found};

/// What ends the input of a terminal (`VEOF` of termios(3)).
const END_OF_INPUT: &[u8] = &[0x04];
const PIECE: usize = 32 * 1024;

/// Passes input on to a run without a terminal, for as long as it goes on. Returns only why it could not.
pub(super) async fn feed_stream(run: &Attached, inputs: mpsc::Receiver<ExecInput>) -> Error {
    let parameters = AttachParams::default().container(CONTAINER).stdin(true).stdout(false).stderr(false);
    // It is held until the run has ended.
    let mut process = match reach(run, &parameters, None).await {
        Ok(Some(process)) => process,
        // Its log says the rest.
        Ok(None) => return std::future::pending().await,
        Err(error) => return error,
    };
    let stdin = process.stdin();
    feed(stdin, None, run.options.stdin, inputs).await;
    std::future::pending().await
}

/// Is the terminal of a run until that has ended.
pub(super) async fn converse(
    run: &Attached,
    inputs: mpsc::Receiver<ExecInput>,
    outputs: &Outputs,
    killed: &Killed,
) -> Result<ExecOutput> {
    let parameters =
        AttachParams::default().container(CONTAINER).stdin(true).stdout(true).stderr(false).tty(true);
    let mut shown = Shown::new(run, outputs);
    let mut is_silent = true;
    if let Some(mut process) = reach(run, &parameters, Some(&mut shown)).await? {
        let mut sizes = process.terminal_size();
        if let Some(sizes) = &mut sizes {
            let size = run.options.terminal.unwrap_or_default();
            // A program that has painted already paints again when the size changes, and only then.
            resize(sizes, TerminalSize { columns: size.columns.saturating_add(1), ..size }).await;
            resize(sizes, size).await;
        }
        let (stdin, stdout) = (process.stdin(), process.stdout());
        let copy = async {
            if let Some(stdout) = stdout {
                is_silent = copy(stdout, outputs).await == 0;
            }
        };
        let feed = async {
            feed(stdin, sizes, run.options.stdin, inputs).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = copy => {}
            () = feed => {}
        }
    }
    loop {
        let Some(found) = find_run(&run.shared, OPERATION, &run.id).await? else {
            return Err(Error::new(ErrorKind::Lost, OPERATION).with_context("run", &run.id));
        };
        if let Some(end) = told_end(&run.id, observe_found(&found), killed) {
            if let Some(pod) = found.pod.filter(|_| is_silent) {
                shown.rest_of(&pod, false).await?;
            }
            return end;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Attaches to a run as soon as its container runs; nothing if that has ended before. Just before, the log is shown.
async fn reach(
    run: &Attached,
    parameters: &AttachParams,
    mut shown: Option<&mut Shown<'_>>,
) -> Result<Option<AttachedProcess>> {
    loop {
        let Some(found) = find_run(&run.shared, OPERATION, &run.id).await? else { return Ok(None) };
        if told_end(&run.id, observe_found(&found), &Killed::new(None)).is_some() {
            return Ok(None);
        }
        if let Some(pod) = found.pod.filter(is_running) {
            if let Some(shown) = &mut shown {
                shown.rest_of(&pod, false).await?;
            }
            let pods: Api<Pod> = run.shared.api(&pod.metadata.namespace.clone().unwrap_or_default());
            match pods.attach(&pod.metadata.name.clone().unwrap_or_default(), parameters).await {
                Ok(process) => return Ok(Some(process)),
                // It has ended in between, or its node does not know yet that it runs.
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404 | 409 | 500..) => {}
                Err(error) => return Err(failed(OPERATION, error).with_context("run", &run.id)),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Passes input on until no more can come.
async fn feed(
    mut stdin: Option<impl AsyncWrite + Unpin>,
    mut sizes: Option<Sizes>,
    takes_input: bool,
    mut inputs: mpsc::Receiver<ExecInput>,
) {
    if !takes_input {
        end(&mut stdin, sizes.is_some()).await;
    }
    while let Some(piece) = inputs.recv().await {
        match (piece, &mut stdin, &mut sizes) {
            (ExecInput::Stdin(bytes), Some(writer), _) => {
                let written = writer.write_all(&bytes).await;
                if written.is_err() {
                    // The command reads no more.
                    stdin = None;
                }
            }
            (ExecInput::Resize(size), _, Some(sizes)) => resize(sizes, size).await,
            (ExecInput::CloseStdin, ..) => end(&mut stdin, sizes.is_some()).await,
            _ => {}
        }
    }
    end(&mut stdin, sizes.is_some()).await;
}

/// Ends the input. That of a terminal is never closed: its end is a key.
async fn end(stdin: &mut Option<impl AsyncWrite + Unpin>, has_terminal: bool) {
    if !has_terminal {
        return close(stdin).await;
    }
    if let Some(mut writer) = stdin.take() {
        let _ = writer.write_all(END_OF_INPUT).await; // it has ended
        let _ = writer.flush().await;
    }
}

/// Shows what comes; gives how much that was.
async fn copy(mut reader: impl AsyncRead + Unpin, outputs: &Outputs) -> usize {
    let mut buffer = vec![0; PIECE];
    let mut bytes = 0;
    while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await {
        bytes += count;
        if outputs.send(Ok(ExecOutput::Stdout(buffer[..count].to_vec()))).await.is_err() {
            break;
        }
    }
    bytes
}
