//! What happened, in words for people.

use super::context::Context;
use crate::engine::{EventKind, EventRecord};
use crate::name::TrackKey;
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
pub(super) fn of_track(context: &Context, state: &TrackState, events: &[Event]) -> Vec<EventRecord> {
    let track = &state.track;
    let name = &track.component.component;
    let release = state.rollout.as_ref().and_then(|rollout| rollout.to.as_ref()).map(|to| to.release);
    let steps = state.rollout.as_ref().map_or(0, |rollout| rollout.plan.steps.len());
    let mut records = Vec::new();
    for event in events {
        let (kind, message) = match event {
            Event::Entered(Phase::Step { index, stage: Stage::Scale }) if steps > 1 => {
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
pub(super) fn away(context: &Context, track: &TrackKey, since: jiff::Timestamp) -> EventRecord {
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
