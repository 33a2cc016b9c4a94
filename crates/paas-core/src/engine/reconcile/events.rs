//! What happened, in words for people.

use jiff::Timestamp;

use super::context::Context;
use crate::engine::{EventKind, EventRecord, RunOrigin, RunRecord};
use crate::name::{ComponentKey, TrackKey};
use crate::port::{InstanceFailure, Scope};
use crate::release::{Event, Phase, Stage, TrackState};
use crate::tenancy::Actor;

fn of(context: &Context, track: &TrackKey, kind: EventKind, message: String) -> EventRecord {
    EventRecord {
        id: String::new(),
        scope: Scope::AppEnv(track.component.at.clone()),
        kind,
        at: context.services.now(),
        actor: Actor::SYSTEM.to_owned(),
        message,
        release: None,
        component: Some(track.component.component.clone()),
        cluster: Some(track.cluster.clone()),
    }
}

/// The events of a decision that are worth recording. Stages within a step are progress, which is never stored as
/// events; what users asked for was recorded when they asked.
pub(super) fn of_track(
    context: &Context,
    before: Phase,
    state: &TrackState,
    events: &[Event],
) -> Vec<EventRecord> {
    let track = &state.track;
    let name = &track.component.component;
    let release = state.rollout.as_ref().and_then(|rollout| rollout.to.as_ref()).map(|to| to.release);
    let steps = state.rollout.as_ref().map_or(0, |rollout| rollout.plan.steps.len());
    let mut records = Vec::new();
    // A step begins to scale once a round, and is told once.
    let mut told = match before {
        Phase::Step { index, .. } => Some(index),
        _ => None,
    };
    for event in events {
        let (kind, message) = match event {
            Event::Entered(Phase::Step { index, stage: Stage::Scale })
                if steps > 1 && told.replace(*index) != Some(*index) =>
            {
                (EventKind::ReleaseProgressed, format!("{name}: step {} of {steps}", index + 1))
            }
            Event::Entered(Phase::Stalled { .. }) => {
                (EventKind::ReleaseHeld, format!("{name}: no progress in time; it stays as it is and waits"))
            }
            Event::Held(hold) => (EventKind::ReleaseHeld, format!("{name}: {hold}")),
            Event::Committed { to: Some(to), .. } => {
                (EventKind::ReleaseProgressed, format!("{name}: {to} is the stable version"))
            }
            Event::Committed { to: None, .. } => {
                (EventKind::ReleaseProgressed, format!("{name}: it is no longer part of the application"))
            }
            Event::Aborting(reason) => {
                (EventKind::ReleaseProgressed, format!("{name}: on its way back: {reason}"))
            }
            _ => continue,
        };
        records.push(EventRecord { release, ..of(context, track, kind, message) });
    }
    records
}

/// Nothing can be seen of a track that has something to do.
pub(super) fn away(context: &Context, track: &TrackKey, since: Timestamp) -> EventRecord {
    let (name, cluster) = (&track.component.component, &track.cluster);
    let message = format!("{name}: waits for cluster {cluster}, which cannot be reached since {since}");
    of(context, track, EventKind::ReleaseHeld, message)
}

/// Instances of a track do not run or serve.
pub(super) fn failed(context: &Context, track: &TrackKey, failure: &InstanceFailure) -> EventRecord {
    let message = format!("{}: {}", track.component.component, failure.told());
    of(context, track, EventKind::InstanceFailed, message)
}

/// All instances of a track run and serve again.
pub(super) fn recovered(context: &Context, track: &TrackKey) -> EventRecord {
    let message = format!("{}: every instance runs again", track.component.component);
    of(context, track, EventKind::InstanceRecovered, message)
}

/// A run of a scheduled job failed.
pub(super) fn run_failed(context: &Context, run: &RunRecord) -> EventRecord {
    let name = &run.track.component.component;
    let which = match run.origin {
        RunOrigin::Schedule { at } => format!("the run of {at}"),
        _ => format!("run {}", run.id),
    };
    let failure = InstanceFailure {
        reason: String::new(),
        message: format!("{name}: {which} failed: {}", run.outcome()),
        last_lines: run.last_lines.clone(),
    };
    of(context, &run.track, EventKind::RunFailed, failure.told())
}

/// A scheduled job did not run at a time of its schedule, nor at those before it that were missed.
pub(super) fn run_skipped(
    context: &Context,
    component: &ComponentKey,
    at: Timestamp,
    missed: usize,
    why: &str,
) -> EventRecord {
    let name = &component.component;
    let message = match missed {
        0 => format!("{name}: nothing runs for {at}: {why}"),
        _ => format!("{name}: nothing runs for {at} and {missed} times before it: {why}"),
    };
    of_component(context, component, message)
}

/// Of the times that passed while nothing could start a run only the latest runs.
pub(super) fn runs_missed(
    context: &Context,
    component: &ComponentKey,
    at: Timestamp,
    missed: usize,
) -> EventRecord {
    let name = &component.component;
    let message = format!(
        "{name}: {missed} times before {at} were missed, and do not run: of missed times only the latest does"
    );
    of_component(context, component, message)
}

fn of_component(context: &Context, component: &ComponentKey, message: String) -> EventRecord {
    EventRecord {
        id: String::new(),
        scope: Scope::AppEnv(component.at.clone()),
        kind: EventKind::RunSkipped,
        at: context.services.now(),
        actor: Actor::SYSTEM.to_owned(),
        message,
        release: None,
        component: Some(component.component.clone()),
        cluster: None,
    }
}
