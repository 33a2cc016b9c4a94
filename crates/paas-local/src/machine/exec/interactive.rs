//! Runs with input or a terminal.
//!
//! Such a run is a container that does nothing, in which the command is started as any other as soon as somebody is
//! attached, with whose ends of its streams. So nothing that it prints can be missed. The command ends with the session,
//! and the run with the command.

use std::sync::Arc;

use paas_core::port::{ExecInput, ExecOptions, ExecOutput, ExecSession, RunInput, RunSpec};
use paas_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::run::{Began, began, ended};
use super::session::{Outputs, PIECES, carry, session};
use super::{GRACE, OPERATION, Shared, secrets};
use crate::exec::{Process, Request, Size};
use crate::machine::render;
use crate::machine::run::template;
use crate::{Exit, Failure, Instance};

/// What a command is told whose session is gone (`SIGHUP` of signal(7)).
const HANG_UP: i32 = 1;

/// Attaches to a run for the first and only time.
pub(super) fn begin(shared: &Arc<Shared>, spec: RunSpec, options: &ExecOptions) -> Result<ExecSession> {
    let conversation = shared.claim_run(&spec.id)?;
    let (input, inputs) = mpsc::channel(PIECES);
    let (outputs, output) = mpsc::channel(PIECES);
    let (shared, options) = (shared.clone(), options.clone());
    tokio::spawn(async move {
        let last = tokio::select! {
            last = converse(&shared, &spec, &options, inputs, &outputs) => last,
            // The container goes on, and is ended by whoever opens the machine again.
            () = shared.closing.cancelled() => Err(closed()),
        };
        drop(conversation);
        // Nobody has to listen.
        let _ = outputs.send(last).await;
    });
    Ok(session(input, output))
}

async fn converse(
    shared: &Shared,
    spec: &RunSpec,
    options: &ExecOptions,
    inputs: mpsc::Receiver<ExecInput>,
    outputs: &Outputs,
) -> Result<ExecOutput> {
    let container = match began(shared, &spec.id).await? {
        Began::Running(container) => container,
        Began::Ended(seen) => return ended(&spec.id, seen),
    };
    let (exit, last) = perform(shared, spec, &container, options, inputs, outputs).await;
    shared.end_command(&spec.id, &container, exit).await;
    last
}

/// Runs the command to its end; gives how the run ended, and what whoever is attached is told.
async fn perform(
    shared: &Shared,
    spec: &RunSpec,
    container: &Instance,
    options: &ExecOptions,
    inputs: mpsc::Receiver<ExecInput>,
    outputs: &Outputs,
) -> (Exit, Result<ExecOutput>) {
    let hung_up = || Exit { signal: Some(HANG_UP), ..Exit::now() };
    if outputs.is_closed() {
        return (hung_up(), Err(Error::new(ErrorKind::Cancelled, OPERATION)));
    }
    let mut process = match start(shared, spec, container, options).await {
        Ok(process) => process,
        Err(error) => {
            let kind = match error.kind() {
                ErrorKind::Invalid => crate::ErrorKind::EntryPointMissing,
                _ => crate::ErrorKind::Unavailable,
            };
            return (Exit::failed(Failure::new(kind, error.report())), Err(error));
        }
    };
    match carry(&mut process, options.stdin, inputs, outputs).await {
        Ok(ExecOutput::Exit(code)) => (Exit { code: Some(code), ..Exit::now() }, Ok(ExecOutput::Exit(code))),
        Ok(other) => (Exit::lost(), Ok(other)),
        Err(error) if error.kind() == ErrorKind::Cancelled => {
            process.control.hang_up().await;
            (hung_up(), Err(error))
        }
        Err(error) => (Exit::lost(), Err(error)),
    }
}

async fn start(
    shared: &Shared,
    spec: &RunSpec,
    container: &Instance,
    options: &ExecOptions,
) -> Result<Process> {
    let template = template(spec);
    let image = shared.images.fetch(&template, |_| ()).await.map_err(|error| {
        Error::new(ErrorKind::Unavailable, "look into the image of a run").with_source(error)
    })?;
    let at = &spec.track.component.at;
    let env = render::secret_env(&*shared.secrets, at, &template.env).await?;
    let size = options.terminal.unwrap_or_default();
    let size = Size { rows: size.rows, columns: size.columns };
    let request = Request {
        command: render::command(&template, &image)?,
        secrets: secrets(env),
        terminal: (spec.input == RunInput::Terminal).then_some(size),
        grace: GRACE,
    };
    Ok(Process::start(container, &request).await?)
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "go on with a command").with_remedy("The machine was closed.")
}
