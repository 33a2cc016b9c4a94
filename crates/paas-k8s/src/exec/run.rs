//! Attached to a run.
//!
//! A run's output is read from its log, so that everything it printed is shown, whenever one attaches. Input cannot be
//! passed to it.

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, LogParams};
use paas_core::port::{ExecInput, ExecOptions, ExecOutput, ExecSession, InstanceId, InstancePhase};
use paas_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use crate::build::CONTAINER;
use crate::cluster::Shared;
use crate::runtime::{FoundRun, find_run, observe_found};

const OPERATION: &str = "attach to a run";
const PIECES: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);

/// Attaches to a run.
pub(super) async fn attach(
    shared: &Arc<Shared>,
    id: &InstanceId,
    options: &ExecOptions,
) -> Result<ExecSession> {
    if find_run(shared, OPERATION, id).await?.is_none() {
        return Err(Error::new(ErrorKind::NotFound, OPERATION).with_context("run", id));
    }
    if options.stdin {
        return Err(Error::new(ErrorKind::Unsupported, OPERATION)
            .with_context("run", id)
            .with_source("input cannot be passed to a run on Kubernetes")
            .with_remedy("Run the command in an instance instead."));
    }
    let (input, inputs) = mpsc::channel(PIECES);
    let (outputs, output) = mpsc::channel(PIECES);
    tokio::spawn(watch(Arc::clone(shared), id.clone(), inputs, outputs));
    let output = stream::unfold(output, |mut output| async move { Some((output.recv().await?, output)) });
    Ok(ExecSession { input, output: Box::pin(output) })
}

type Outputs = mpsc::Sender<Result<ExecOutput>>;

async fn watch(shared: Arc<Shared>, id: InstanceId, mut inputs: mpsc::Receiver<ExecInput>, outputs: Outputs) {
    let killed = std::sync::Mutex::new(None);
    let told = async {
        let answer = follow(&shared, &id, &outputs, &killed).await;
        let _ = outputs.send(answer).await; // nobody reads any more
    };
    let signals = async {
        while let Some(piece) = inputs.recv().await {
            if let ExecInput::Signal(signal) = piece {
                *Shared::lock(&killed) = Some(signal);
                if let Err(error) = end(&shared, &id, signal).await {
                    tracing::debug!(error = %error.report(), "cannot signal a run");
                }
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = told => {}
        () = signals => {}
        () = outputs.closed() => {}
    }
}

/// Shows what a run prints, then how it ended.
async fn follow(
    shared: &Arc<Shared>,
    id: &InstanceId,
    outputs: &Outputs,
    killed: &std::sync::Mutex<Option<i32>>,
) -> Result<ExecOutput> {
    let mut is_shown = false;
    loop {
        let Some(found) = find_run(shared, OPERATION, id).await? else {
            return Err(Error::new(ErrorKind::Lost, OPERATION).with_context("run", id));
        };
        if let (false, Some(pod)) = (is_shown, &found.pod) {
            is_shown = show(shared, pod, outputs).await?;
        }
        let seen = observe_found(&found);
        if seen.phase == InstancePhase::Exited {
            let signal = *Shared::lock(killed);
            return match (seen.exit, signal) {
                (Some(exit), _) => {
                    let code = exit.code.or(exit.signal.map(|signal| 128 + signal));
                    Ok(ExecOutput::Exit(code.unwrap_or(255)))
                }
                (None, Some(signal)) => Ok(ExecOutput::Exit(128 + signal)),
                (None, None) => Err(Error::new(ErrorKind::Lost, OPERATION)
                    .with_context("run", id)
                    .with_source(seen.failure.map(|it| it.message).unwrap_or_default())),
            };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Shows a pod's log to its end; false if it has none yet.
async fn show(shared: &Shared, pod: &Pod, outputs: &Outputs) -> Result<bool> {
    let api: Api<Pod> = shared.api(&pod.metadata.namespace.clone().unwrap_or_default());
    let parameters =
        LogParams { follow: true, container: Some(CONTAINER.to_owned()), ..LogParams::default() };
    let name = pod.metadata.name.clone().unwrap_or_default();
    let mut reader = match api.log_stream(&name, &parameters).await {
        Ok(reader) => Box::pin(reader),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => return Ok(false),
        Err(error) => return Err(crate::error::failed(OPERATION, error)),
    };
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        if outputs.send(Ok(ExecOutput::Stdout(buffer[..count].to_vec()))).await.is_err() {
            break;
        }
    }
    Ok(true)
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
        Err(error) if !crate::error::is_missing(&error) => Err(crate::error::failed(OPERATION, error)),
        _ => Ok(()),
    }
}
