//! One-off commands: started once, watched to their end, forgotten some time after it.

use jiff::SignedDuration;

use super::act::{labels, template};
use super::context::{Context, Key};
use super::world::why;
use crate::engine::{Changes, RunRecord, Stored};
use crate::error::Result;
use crate::name::{AppEnv, ClusterName};
use crate::port::{ClusterPorts, InstanceId, InstancePhase, RunObservation, RunSpec};

/// How long a run that has ended is kept, so that its exit code and output can be read.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

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
    let ports = context.ports(cluster)?;
    if !context.cache.belongs(at, cluster) {
        // It ends with its application.
        return remove(context, &ports, stored, &own).await;
    }
    if let Some(ended) = run.ended_at {
        let until = ended.saturating_add(KEPT).unwrap_or(ended);
        if context.services.now() < until {
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
            end(context, stored, &own, None, Some("it was stopped".to_owned())).await
        }
        _ if left_alone(context, run) && !has_exited(seen.as_ref()) => {
            let call = ports.runtime.remove_run(context.epoch, id);
            context.call("stop a run", &run.track.cluster, call).await?;
            let why = if run.attached {
                "whoever was attached to it has gone"
            } else {
                "nobody was attached to it in time"
            };
            end(context, stored, &own, None, Some(why.to_owned())).await
        }
        None => {
            wake_when_alone(context, run, own);
            let spec = RunSpec {
                id: id.clone(),
                track: run.track.clone(),
                template: template(context, &run.track, &run.revision).await?,
                command: run.command.clone(),
                env: std::collections::BTreeMap::new(),
                input: run.input,
                labels: labels(context, &run.track, Some(&run.revision)),
            };
            context
                .call("start a run", &run.track.cluster, ports.runtime.start_run(context.epoch, &spec))
                .await
        }
        Some(RunObservation { phase: InstancePhase::Exited, exit, failure }) => {
            let code = exit.as_ref().and_then(|exit| exit.code.or(exit.signal.map(|signal| 128 + signal)));
            let failure = (code.is_none()).then(|| why(exit.as_ref(), failure.as_ref()));
            end(context, stored, &own, code, failure).await
        }
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
    stored: &Stored<RunRecord>,
    own: &Key,
    exit_code: Option<i32>,
    failure: Option<String>,
) -> Result<()> {
    let mut ended = stored.clone();
    let now = context.services.now();
    ended.value.ended_at = Some(now);
    ended.value.exit_code = exit_code;
    ended.value.failure = failure;
    let mut changes = Changes::new();
    changes.update(&ended)?;
    context.commit(changes, &[], own).await?;
    context.wake_at(own.clone(), now.saturating_add(KEPT).unwrap_or(now));
    Ok(())
}
