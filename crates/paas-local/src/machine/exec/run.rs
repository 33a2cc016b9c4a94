//! Attaching to runs.
//!
//! A run without input or a terminal has its own life: it prints into its log, and goes on whoever watches. So what it
//! printed before is seen too. The others are those of [`interactive`].

use std::sync::Arc;

use paas_core::port::{
    ExecInput, ExecOptions, ExecOutput, ExecSession, InstanceId, InstancePhase, RunObservation,
};
use paas_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::session::{Outputs, PIECES, session};
use super::{Shared, interactive};
use crate::instances::{Record, Source};
use crate::machine::container::container_id;
use crate::{Exit, Instance, LogOptions};

const OPERATION: &str = "attach to a run";
/// The signals that end a program which does nothing about them, of those that are sent to end one (signal(7)).
const ENDING: [i32; 4] = [1, 2, 3, 15];
const KILL: i32 = 9;

pub(super) fn attach(shared: &Arc<Shared>, id: &InstanceId, options: &ExecOptions) -> Result<ExecSession> {
    let spec = shared.sets().runs.get(id).map(|run| run.document.spec.clone());
    let spec = spec.ok_or_else(|| Error::new(ErrorKind::NotFound, OPERATION).with_context("run", id))?;
    options.check_run(id, spec.input)?;
    if spec.input.is_interactive() {
        return interactive::begin(shared, spec, options);
    }
    let (input, inputs) = mpsc::channel(PIECES);
    let (outputs, output) = mpsc::channel(PIECES);
    let (shared, id) = (shared.clone(), id.clone());
    tokio::spawn(async move {
        let last = tokio::select! {
            last = follow(&shared, &id, inputs, &outputs) => last,
            () = shared.closing.cancelled() => Err(Error::new(ErrorKind::Unavailable, "go on with a run")
                .with_context("run", &id)
                .with_remedy("The machine was closed; the run goes on.")),
            () = outputs.closed() => return,
        };
        // Nobody has to listen.
        let _ = outputs.send(last).await;
    });
    Ok(session(input, output))
}

/// Passes on what the run prints, from its beginning, and how it ends.
async fn follow(
    shared: &Shared,
    id: &InstanceId,
    inputs: mpsc::Receiver<ExecInput>,
    outputs: &Outputs,
) -> Result<ExecOutput> {
    let exit = match began(shared, id).await? {
        Began::Running(container) => {
            let pass_signals = pass_signals(&container, inputs);
            let print = async {
                print(shared, id, outputs).await?;
                Ok::<Exit, Error>(container.wait().await)
            };
            tokio::select! {
                exit = print => exit?,
                never = pass_signals => match never {},
            }
        }
        Began::Ended(seen) => {
            print(shared, id, outputs).await?;
            return ended(id, seen);
        }
    };
    code(&exit).map(ExecOutput::Exit).ok_or_else(|| lost(id))
}

pub(super) enum Began {
    Running(Instance),
    Ended(RunObservation),
}

/// Waits until the run has been started, or will not be.
pub(super) async fn began(shared: &Shared, id: &InstanceId) -> Result<Began> {
    let mut events = shared.events.subscribe();
    loop {
        {
            let sets = shared.sets();
            let run = sets
                .runs
                .get(id)
                .ok_or_else(|| Error::new(ErrorKind::NotFound, OPERATION).with_context("run", id))?;
            if run.seen.phase == InstancePhase::Exited {
                return Ok(Began::Ended(run.seen.clone()));
            }
            if let Some(container) = &run.container {
                return Ok(Began::Running(container.clone()));
            }
        }
        // Whatever is told, or was missed: it is looked at again.
        if events.recv().await == Err(tokio::sync::broadcast::error::RecvError::Closed) {
            return Err(lost(id));
        }
    }
}

async fn print(shared: &Shared, id: &InstanceId, outputs: &Outputs) -> Result<()> {
    let mut log = shared.instances.logs(&container_id(id, 0)?, LogOptions::all().following())?;
    while let Some(record) = log.next_as_said().await {
        let Record { source, partial, mut bytes, .. } = record?;
        if !partial {
            bytes.push(b'\n');
        }
        let piece = match source {
            Source::Stdout => ExecOutput::Stdout(bytes),
            Source::Stderr | Source::System => ExecOutput::Stderr(bytes),
        };
        if outputs.send(Ok(piece)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Passes on the caller's signals; other input has no reader. The kernel withholds from the first process of a container
/// the signals that it does nothing about. Elsewhere such a program would end at once, so it does here too.
async fn pass_signals(
    container: &Instance,
    mut inputs: mpsc::Receiver<ExecInput>,
) -> std::convert::Infallible {
    while let Some(input) = inputs.recv().await {
        let ExecInput::Signal(number) = input else { continue };
        let number =
            if ENDING.contains(&number) && container.does_nothing_about(number) { KILL } else { number };
        if let Err(error) = container.signal(number).await {
            tracing::debug!(instance = %container.id(), "{}", error.chain());
        }
    }
    std::future::pending().await
}

pub(super) fn ended(id: &InstanceId, seen: RunObservation) -> Result<ExecOutput> {
    let code = seen.exit.as_ref().and_then(|exit| exit.code.or(exit.signal.map(|signal| 128 + signal)));
    match (code, seen.failure) {
        (Some(code), _) => Ok(ExecOutput::Exit(code)),
        (None, Some(failure)) if failure.reason != "lost" => Err(Error::new(ErrorKind::Conflict, OPERATION)
            .with_context("run", id)
            .with_source(failure.message)),
        (None, _) => Err(lost(id)),
    }
}

fn code(exit: &Exit) -> Option<i32> {
    exit.code.or(exit.signal.map(|signal| 128 + signal))
}

fn lost(id: &InstanceId) -> Error {
    Error::new(ErrorKind::Lost, "find out how a run ended").with_context("run", id)
}
