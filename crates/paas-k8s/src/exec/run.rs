//! Attached to a run.
//!
//! A run's output is read from its log, so that everything it printed is shown, whenever one attaches. What one with a
//! terminal prints comes over that. Input is passed on by [`interactive`].

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, LogParams};
use paas_core::port::{
    ExecInput, ExecOptions, ExecOutput, ExecSession, InstanceId, InstancePhase, RunInput, RunObservation,
};
use paas_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::interactive;
use crate::build::{CONTAINER, input_of};
use crate::cluster::Shared;
use crate::error::{failed, is_missing};
use crate::runtime::{FoundRun, failure, find_run, observe_found};

pub(super) const OPERATION: &str = "attach to a run";
const PIECES: usize = 16;
const PIECE: usize = 32 * 1024;
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// Longer than most take to end after they were asked to.
const PATIENCE: Duration = Duration::from_mins(1);
/// What a command is told whose session is gone (`SIGHUP` of signal(7)).
const HANG_UP: i32 = 1;

/// Attaches to a run.
pub(super) async fn attach(
    shared: &Arc<Shared>,
    id: &InstanceId,
    options: &ExecOptions,
) -> Result<ExecSession> {
    let found = find_run(shared, OPERATION, id).await?;
    let found = found.ok_or_else(|| Error::new(ErrorKind::NotFound, OPERATION).with_context("run", id))?;
    let kind = input_of(&found.job);
    options.check_run(id, kind)?;
    let (input, inputs) = mpsc::channel(PIECES);
    let (outputs, output) = mpsc::channel(PIECES);
    let attached = Attached { shared: Arc::clone(shared), id: id.clone(), kind, options: options.clone() };
    tokio::spawn(attached.watch(inputs, outputs));
    let output = stream::unfold(output, |mut output| async move { Some((output.recv().await?, output)) });
    Ok(ExecSession { input, output: Box::pin(output) })
}

pub(super) type Outputs = mpsc::Sender<Result<ExecOutput>>;
/// The last signal that was sent.
pub(super) type Killed = std::sync::Mutex<Option<i32>>;

/// Somebody who is attached to a run.
pub(super) struct Attached {
    pub(super) shared: Arc<Shared>,
    pub(super) id: InstanceId,
    pub(super) kind: RunInput,
    pub(super) options: ExecOptions,
}

impl Attached {
    async fn watch(self, mut inputs: mpsc::Receiver<ExecInput>, outputs: Outputs) {
        let killed = Killed::new(None);
        let (pass, passed) = mpsc::channel(PIECES);
        let told = async {
            let answer = match self.kind {
                RunInput::Terminal => Box::pin(interactive::converse(&self, passed, &outputs, &killed)).await,
                RunInput::Stream => tokio::select! {
                    answer = Box::pin(follow(&self, &outputs, &killed)) => answer,
                    error = Box::pin(interactive::feed_stream(&self, passed)) => Err(error),
                },
                _ => {
                    drop(passed); // there is nowhere to pass it to
                    Box::pin(follow(&self, &outputs, &killed)).await
                }
            };
            if answer.is_err() && self.kind.is_interactive() {
                Box::pin(self.end(HANG_UP)).await;
            }
            let _ = outputs.send(answer).await; // nobody reads any more
        };
        let taken = async {
            while let Some(piece) = inputs.recv().await {
                if let ExecInput::Signal(signal) = piece {
                    *Shared::lock(&killed) = Some(signal);
                    self.end(signal).await;
                } else {
                    let _ = pass.send(piece).await; // it takes no more
                }
            }
            drop(pass);
            std::future::pending::<()>().await;
        };
        tokio::pin!(told, taken);
        tokio::select! {
            () = &mut told => {}
            () = &mut taken => {}
            // The attachment is held meanwhile: its end would be that of the input, after which a command may succeed.
            () = outputs.closed() => if self.kind.is_interactive() {
                let _ = tokio::time::timeout(PATIENCE, Box::pin(self.hang_up())).await;
            },
        }
    }

    /// Ends the run, and waits until it has ended.
    async fn hang_up(&self) {
        Box::pin(self.end(HANG_UP)).await;
        while let Ok(Some(found)) = find_run(&self.shared, OPERATION, &self.id).await {
            if observe_found(&found).phase == InstancePhase::Exited {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn end(&self, signal: i32) {
        if let Err(error) = end(&self.shared, &self.id, signal).await {
            tracing::debug!(error = %error.report(), "cannot signal a run");
        }
    }
}

/// Shows what a run prints, then how it ended.
async fn follow(run: &Attached, outputs: &Outputs, killed: &Killed) -> Result<ExecOutput> {
    let mut shown = Shown::new(run, outputs);
    let mut is_shown = false;
    loop {
        let Some(found) = find_run(&run.shared, OPERATION, &run.id).await? else {
            return Err(Error::new(ErrorKind::Lost, OPERATION).with_context("run", &run.id));
        };
        let end = told_end(&run.id, observe_found(&found), killed);
        if let Some(pod) = &found.pod
            && (!is_shown || end.is_some())
        {
            // A log that is followed may end a little before the last of it is written; it is whole when the end is told.
            is_shown = shown.rest_of(pod, end.is_none()).await?;
        }
        if let Some(end) = end {
            return end;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What was shown of a run's log.
pub(super) struct Shown<'a> {
    run: &'a Attached,
    outputs: &'a Outputs,
    bytes: usize,
}

impl<'a> Shown<'a> {
    pub(super) fn new(run: &'a Attached, outputs: &'a Outputs) -> Self {
        Self { run, outputs, bytes: 0 }
    }

    /// Shows what the log has beyond that, now or until the run has ended; false if there is no log yet, or any more.
    pub(super) async fn rest_of(&mut self, pod: &Pod, follow: bool) -> Result<bool> {
        let pods: Api<Pod> = self.run.shared.api(&pod.metadata.namespace.clone().unwrap_or_default());
        let parameters = LogParams { follow, container: Some(CONTAINER.to_owned()), ..LogParams::default() };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let mut reader = match pods.log_stream(&name, &parameters).await {
            Ok(reader) => Box::pin(reader),
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => return Ok(false),
            Err(error) => return Err(failed(OPERATION, error).with_context("run", &self.run.id)),
        };
        let mut buffer = vec![0; PIECE];
        let mut known = self.bytes;
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let new = &buffer[known.min(count)..count];
            known -= known.min(count);
            self.bytes += new.len();
            if !new.is_empty() && self.outputs.send(Ok(ExecOutput::Stdout(new.to_vec()))).await.is_err() {
                break; // nobody reads any more
            }
        }
        Ok(true)
    }
}

/// How a run ended, if it has.
pub(super) fn told_end(id: &InstanceId, seen: RunObservation, killed: &Killed) -> Option<Result<ExecOutput>> {
    if seen.phase != InstancePhase::Exited {
        return None;
    }
    let signal = *Shared::lock(killed);
    if let Some(failure) = seen.failure.as_ref().filter(|it| it.reason == failure::NO_ENTRY_POINT) {
        // The code is the runtime's, not the command's: it never began.
        return Some(Err(Error::new(ErrorKind::Invalid, OPERATION)
            .with_context("run", id)
            .with_source(failure.message.clone())
            .with_remedy("Name a command that the image has.")));
    }
    Some(match (seen.exit, signal) {
        (Some(exit), _) => {
            let code = exit.code.or(exit.signal.map(|signal| 128 + signal));
            Ok(ExecOutput::Exit(code.unwrap_or(255)))
        }
        (None, Some(signal)) => Ok(ExecOutput::Exit(128 + signal)),
        (None, None) => Err(Error::new(ErrorKind::Lost, OPERATION)
            .with_context("run", id)
            .with_source(seen.failure.map(|it| it.message).unwrap_or_default())),
    })
}

/// Ends a run's pod, as soon as it has one: the first process of a container cannot be signalled from outside in another
/// way.
async fn end(shared: &Shared, id: &InstanceId, signal: i32) -> Result<()> {
    let pod = loop {
        match find_run(shared, OPERATION, id).await? {
            None => return Ok(()),
            Some(found) if observe_found(&found).phase == InstancePhase::Exited => return Ok(()),
            Some(FoundRun { pod: Some(pod), .. }) => break pod,
            Some(FoundRun { pod: None, .. }) => tokio::time::sleep(PAUSE).await,
        }
    };
    let api: Api<Pod> = shared.api(&pod.metadata.namespace.clone().unwrap_or_default());
    let parameters =
        if signal == 9 { DeleteParams::default().grace_period(0) } else { DeleteParams::default() };
    match api.delete(&pod.metadata.name.clone().unwrap_or_default(), &parameters).await {
        Err(error) if !is_missing(&error) => Err(failed(OPERATION, error)),
        _ => Ok(()),
    }
}
