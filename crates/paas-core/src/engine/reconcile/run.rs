//! Runs to completion that are no part of a release: started once, watched to their end, forgotten some time after it.

use futures::StreamExt as _;
use jiff::SignedDuration;

use super::act::{labels, template};
use super::cache::AppDocuments;
use super::context::{Context, Key};
use super::world::why;
use super::{events, schedule};
use crate::engine::outages::is_outage;
use crate::engine::{Changes, RunRecord, Stored};
use crate::error::Result;
use crate::model::ComponentKind;
use crate::name::{AppEnv, ClusterName, TrackKey};
use crate::port::{ClusterPorts, InstanceId, InstancePhase, LogOptions, LogStream, RunObservation, RunSpec};

/// How long a one-off command that has ended is kept, so that its exit code and output can be read.
const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// How many of the last lines of a failed run are kept with its outcome.
const LAST_LINES: usize = 10;
/// The longest such line, in characters.
const LONGEST_LINE: usize = 500;
/// How long a cluster may take to tell them.
const LINES_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) async fn reconcile(
    context: &Context,
    at: &AppEnv,
    cluster: &ClusterName,
    id: &InstanceId,
) -> Result<()> {
    let Some(documents) = context.cache.app(at) else { return Ok(()) };
    let Some(stored) = documents.runs.get(id) else { return Ok(()) };
    let own = Key::Run(at.clone(), cluster.clone(), id.clone());
    let run = &stored.value;
    let belongs = context.cache.belongs(at, cluster);
    if belongs && schedule::is_kept(&documents, run) {
        // Later ones take its place; until then nothing is asked of its cluster.
        return Ok(());
    }
    let ports = context.ports(cluster)?;
    if !belongs {
        // It ends with its application.
        return remove(context, &ports, stored, &own).await;
    }
    if let Some(ended) = run.ended_at {
        let until = ended.saturating_add(KEPT).unwrap_or(ended);
        if !schedule::made_room(&documents, run) && context.services.now() < until {
            context.wake_at(own, until);
            return Ok(());
        }
        return remove(context, &ports, stored, &own).await;
    }
    context.remember_run(id.clone(), own.clone());
    let seen = context.call("observe a run", &run.track.cluster, ports.runtime.observe_run(id)).await?;
    match seen {
        _ if run.stopping => {
            let call = ports.runtime.remove_run(context.epoch, id);
            context.call("stop a run", &run.track.cluster, call).await?;
            let why = run.failure.clone().unwrap_or_else(|| "it was stopped".to_owned());
            end(context, &ports, stored, &own, None, Some(why)).await
        }
        _ if left_alone(context, run) && !has_exited(seen.as_ref()) => {
            let call = ports.runtime.remove_run(context.epoch, id);
            context.call("stop a run", &run.track.cluster, call).await?;
            let why = if run.attached {
                "whoever was attached to it has gone"
            } else {
                "nobody was attached to it in time"
            };
            end(context, &ports, stored, &own, None, Some(why.to_owned())).await
        }
        // It was there: it is not started again.
        None if run.started_at.is_some() => {
            let why = "it vanished from its cluster, and nobody knows how it ended".to_owned();
            end(context, &ports, stored, &own, None, Some(why)).await
        }
        None if schedule::must_wait(&documents, run) => Ok(()),
        None => start(context, &documents, &ports, stored, &own).await,
        Some(RunObservation { phase: InstancePhase::Exited, exit, failure }) => {
            let code = exit.as_ref().and_then(|exit| exit.code.or(exit.signal.map(|signal| 128 + signal)));
            let failure = (code.is_none()).then(|| why(exit.as_ref(), failure.as_ref()));
            end(context, &ports, stored, &own, code, failure).await
        }
        Some(_) if run.started_at.is_none() => started(context, stored, &own).await,
        Some(_) => {
            wake_when_alone(context, run, own);
            Ok(())
        }
    }
}

/// Whether nobody is attached to a run that lives with whoever is.
fn left_alone(context: &Context, run: &RunRecord) -> bool {
    run.attended_until.is_some_and(|until| context.services.now() >= until)
}

fn has_exited(seen: Option<&RunObservation>) -> bool {
    seen.is_some_and(|seen| seen.phase == InstancePhase::Exited)
}

fn wake_when_alone(context: &Context, run: &RunRecord, own: Key) {
    if let Some(until) = run.attended_until {
        context.wake_at(own, until);
    }
}

/// Starts a run. A backend starts an id once, so that this may be repeated until it is stored that it was done.
async fn start(
    context: &Context,
    documents: &AppDocuments,
    ports: &ClusterPorts,
    stored: &Stored<RunRecord>,
    own: &Key,
) -> Result<()> {
    let run = &stored.value;
    let mut template = template(context, &run.track, &run.revision).await?;
    if template.kind == ComponentKind::Stateful {
        // They belong to ordinals, and a run has none.
        template.volumes.clear();
    }
    let spec = RunSpec {
        id: run.id.clone(),
        track: run.track.clone(),
        template,
        command: run.command.clone(),
        env: std::collections::BTreeMap::new(),
        input: run.input,
        labels: labels(context, &run.track, Some(&run.revision)),
    };
    let answer =
        context.call("start a run", &run.track.cluster, ports.runtime.start_run(context.epoch, &spec)).await;
    match answer {
        Ok(()) => started(context, stored, own).await,
        // A refusal is an answer: nothing was started. It may pass, but no longer than a run may be late.
        Err(error) if !is_outage(&error) && schedule::is_too_late(documents, run, context.services.now()) => {
            if context.is_fenced(&error).await {
                return Err(error);
            }
            let call = ports.runtime.remove_run(context.epoch, &run.id);
            context.call("remove a run", &run.track.cluster, call).await?;
            end(context, ports, stored, own, None, Some(format!("it could not be started: {error}"))).await
        }
        Err(error) => Err(error),
    }
}

/// Notes that a run was started.
async fn started(context: &Context, stored: &Stored<RunRecord>, own: &Key) -> Result<()> {
    let mut started = stored.clone();
    started.value.started_at = Some(context.services.now());
    let mut changes = Changes::new();
    changes.update(&started)?;
    context.commit(changes, &[], own).await
}

async fn remove(
    context: &Context,
    ports: &ClusterPorts,
    stored: &Stored<RunRecord>,
    own: &Key,
) -> Result<()> {
    let run = &stored.value;
    let call = ports.runtime.remove_run(context.epoch, &run.id);
    context.call("remove a run", &run.track.cluster, call).await?;
    context.forget_run(&run.id);
    let mut changes = Changes::new();
    changes.remove(stored);
    context.commit(changes, &[], own).await
}

async fn end(
    context: &Context,
    ports: &ClusterPorts,
    stored: &Stored<RunRecord>,
    own: &Key,
    exit_code: Option<i32>,
    failure: Option<String>,
) -> Result<()> {
    let mut ended = stored.clone();
    let failed = exit_code != Some(0) && !stored.value.stopping && stored.value.is_of_schedule();
    if failed {
        ended.value.last_lines = last_lines(ports, &stored.value.track, &stored.value.id).await;
    }
    let now = context.services.now();
    ended.value.ended_at = Some(now);
    ended.value.exit_code = exit_code;
    ended.value.failure = failure;
    let told = failed.then(|| events::run_failed(context, &ended.value));
    let mut changes = Changes::new();
    changes.update(&ended)?;
    context.commit(changes, told.as_slice(), own).await?;
    // How long it is kept is decided anew.
    context.queue.add(own.clone());
    Ok(())
}

/// What a failed run printed last, as far as its cluster tells: the outcome counts without it, too.
pub(super) async fn last_lines(ports: &ClusterPorts, track: &TrackKey, id: &InstanceId) -> Vec<String> {
    let Some(logs) = &ports.logs else { return Vec::new() };
    let options =
        LogOptions { instance: Some(id.clone()), tail: Some(LAST_LINES + 2), ..LogOptions::default() };
    let read = async {
        let lines = logs.logs(track, &options).await?;
        Ok(lines.filter_map(|line| std::future::ready(line.ok())).collect::<Vec<_>>().await)
    };
    let read = tokio::time::timeout(LINES_PATIENCE, read).await;
    let lines: Vec<_> = match read {
        Ok(Ok(lines)) => lines,
        Ok(Err::<_, crate::error::Error>(error)) => {
            tracing::debug!(run = %id, error = %error.report(), "its last lines are not known");
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    let printed = lines.into_iter().filter(|line| line.stream != LogStream::Platform);
    let mut lines: Vec<String> = printed.map(|line| line.text.chars().take(LONGEST_LINE).collect()).collect();
    lines.drain(..lines.len().saturating_sub(LAST_LINES));
    lines
}
