//! One component on one cluster: observe, decide, store, act, until nothing is left to do.

use jiff::Timestamp;

use super::context::{Context, Key};
use super::world::{View, observe, run_id};
use super::{act, events, routes};
use crate::engine::outages::is_outage;
use crate::engine::{Changes, EventRecord, Stored, TrackRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TrackKey;
use crate::port::{ClusterPorts, InstanceId};
use crate::release::{Act, Phase, next};

/// How many decisions are carried out in a row before others get a turn.
const TURNS: usize = 64;

pub(super) async fn reconcile(context: &Context, track: &TrackKey) -> Result<()> {
    let at = &track.component.at;
    if let Some(tombstone) = context.cache.tombstone(at, &track.cluster) {
        unseen(context, track, tombstone.value.since).await?;
        return Err(Error::new(ErrorKind::Unavailable, "begin where a deleted application is not gone yet")
            .with_context("cluster", &track.cluster)
            .with_context("deleted", tombstone.value.since));
    }
    let outcome = turns(context, track).await;
    if let Err(error) = &outcome
        && is_outage(error)
        && let Some(outage) = context.services.outages().of(&track.cluster, context.services.now())
    {
        unseen(context, track, outage.since).await?;
    }
    outcome
}

/// Notes that nothing can be seen of a track which has something to do. It is written once for each outage.
async fn unseen(context: &Context, track: &TrackKey, since: Timestamp) -> Result<()> {
    let Some(stored) = context.cache.track(track) else { return Ok(()) };
    let mut record = Stored::clone(&stored);
    record.value.state = record.value.state.unseen(since);
    if record.value == stored.value {
        return Ok(());
    }
    let mut changes = Changes::new();
    changes.update(&record)?;
    let told = events::away(context, track, since);
    context.commit(changes, &[told], &Key::Track(track.clone())).await
}

async fn turns(context: &Context, track: &TrackKey) -> Result<()> {
    for _ in 0..TURNS {
        let Some(stored) = context.cache.track(track) else { return Ok(()) };
        if stored.value.state.phase == Phase::Detached {
            return leave(context, &stored).await;
        }
        if !turn(context, track, &stored).await? {
            return Ok(());
        }
    }
    context.queue.add(Key::Track(track.clone()));
    Ok(())
}

/// One decision; returns whether there may be more to do at once.
async fn turn(context: &Context, track: &TrackKey, stored: &Stored<TrackRecord>) -> Result<bool> {
    let ports = &context.ports(&track.cluster)?;
    let now = context.services.now();
    let view = observe(context, ports, &stored.value.state).await?;
    let decision = next(&stored.value.state, &view.world, now);

    let mut record = stored.clone();
    record.value.state = decision.state;
    let mut happened =
        events::of_track(context, stored.value.state.phase, &record.value.state, &decision.events);
    happened.extend(health(context, &mut record, &view));
    for chosen in &decision.acts {
        if let Act::Run { key: step, .. } = chosen {
            let id = run_id(track, step);
            if record.value.run.as_ref() != Some(&id) {
                remove_run(context, ports, track, record.value.run.as_ref()).await?;
                record.value.run = Some(id);
            }
        }
    }
    let differs = record.value != stored.value;
    if differs {
        let mut changes = Changes::new();
        changes.update(&record)?;
        context.commit(changes, &happened, &Key::Track(track.clone())).await?;
    }
    act::carry_out(context, ports, &record.value.state, &decision.acts).await?;
    let shifted = decision.acts.iter().any(|act| matches!(act, Act::Shift { .. } | Act::Unroute { .. }));
    if !shifted && let Some(weights) = &record.value.state.weights {
        // The rest of the traffic: its ports, and whether it answers.
        act::tell(context, ports, &record.value.state, weights).await?;
    }
    if let Some(at) = decision.wake_at {
        context.wake_at(Key::Track(track.clone()), at);
    }
    Ok(differs || !decision.acts.is_empty())
}

/// The track is out of management: access points that lead to it go, then its document is the last. Its volumes go only with
/// the application; they outlive a cluster's leaving of the environment, because data is removed only when somebody asks.
async fn leave(context: &Context, stored: &Stored<TrackRecord>) -> Result<()> {
    let state = &stored.value.state;
    let track = &state.track;
    let ports = &context.ports(&track.cluster)?;
    if !context.cache.belongs(&track.component.at, &track.cluster) {
        routes::withdraw(context, &track.component.at, &track.cluster).await?;
    }
    remove_run(context, ports, track, stored.value.run.as_ref()).await?;
    if ports.runtime.capabilities().volumes && context.cache.is_deleting(&track.component.at) {
        context.call("purge a track", &track.cluster, ports.runtime.purge(context.epoch, track)).await?;
    }
    let mut changes = Changes::new();
    changes.remove(stored);
    context.commit(changes, &[], &Key::Track(track.clone())).await
}

async fn remove_run(
    context: &Context,
    ports: &ClusterPorts,
    track: &TrackKey,
    run: Option<&InstanceId>,
) -> Result<()> {
    let Some(id) = run else { return Ok(()) };
    let call = ports.runtime.remove_run(context.epoch, id);
    context.call("remove a run", &track.cluster, call).await?;
    context.forget_run(id);
    Ok(())
}

/// Tells of failures when they begin, change and end.
fn health(context: &Context, record: &mut Stored<TrackRecord>, view: &View) -> Option<EventRecord> {
    let failing = view.failure.as_ref().map(|failure| failure.reason.clone());
    let known = record.value.failing.clone();
    match (known, failing) {
        (known, Some(reason)) if known.as_ref() != Some(&reason) => {
            record.value.failing = Some(reason);
            Some(events::failed(context, &record.value.state.track, view.failure.as_ref()?))
        }
        // A pause between two failures is no recovery.
        (Some(_), None) if view.healthy => {
            record.value.failing = None;
            Some(events::recovered(context, &record.value.state.track))
        }
        _ => None,
    }
}
