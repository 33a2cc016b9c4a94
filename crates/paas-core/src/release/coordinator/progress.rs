//! How far tracks are with a rollout.

use std::collections::{BTreeMap, BTreeSet};

use super::{Rollout, RolloutTrack};
use crate::name::{ClusterName, ComponentName, TrackKey};
use crate::release::id::RolloutId;
use crate::release::phase::Phase;
use crate::release::state::{AbortReason, CommitMode, Hold, TrackState};

/// How far a track is with a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It knows nothing of it.
    Unaware,
    /// It yields what it does for an older rollout first.
    Waits,
    /// It is under way.
    Forward,
    /// Only the commit of all is missing.
    Ready,
    /// It has committed.
    Committed,
    /// It is on its way back.
    Back,
    /// It is back.
    Aborted,
    /// It has left, or is leaving, management.
    Left,
}

impl Progress {
    pub(super) fn of(state: Option<&TrackState>, id: &RolloutId, attempt: u32) -> Self {
        let Some(state) = state else { return Self::Unaware };
        if state.phase.is_leaving() {
            return Self::Left;
        }
        if state.next.as_ref().is_some_and(|next| next.rollout == *id && next.attempt == attempt) {
            return Self::Waits;
        }
        let Some(rollout) =
            state.rollout.as_ref().filter(|rollout| rollout.id == *id && rollout.attempt == attempt)
        else {
            return Self::Unaware;
        };
        match state.phase {
            _ if rollout.committed => Self::Committed,
            Phase::Aborted => Self::Aborted,
            phase if phase.is_back() => Self::Back,
            _ if state.is_ready_to_commit() => Self::Ready,
            _ => Self::Forward,
        }
    }

    /// Whether it has done all that it shall.
    pub(super) fn is_done(self) -> bool {
        matches!(self, Self::Committed | Self::Left)
    }
}

/// Whether a track was told that the commit of what it does is written, whatever that is: it cannot abort it.
pub(super) fn is_granted(state: &TrackState) -> bool {
    let granted = CommitMode::Lockstep { granted: true };
    state.phase.is_forward() && state.rollout.as_ref().is_some_and(|rollout| rollout.commit == granted)
}

/// Why a rollout goes back: a user's own words, or which track failed and why.
pub(super) fn failure(track: &RolloutTrack, state: Option<&TrackState>) -> AbortReason {
    let own = state.and_then(|state| state.rollout.as_ref()).and_then(|it| it.aborted.clone());
    match own {
        Some(reason @ (AbortReason::User(_) | AbortReason::Returned | AbortReason::Away { .. })) => reason,
        other => AbortReason::Track {
            track: track.track.clone(),
            why: other.map_or_else(|| "it went back".to_owned(), |reason| reason.to_string()),
        },
    }
}

/// The components of a rollout that are not there yet, by cluster: what a component depends on is on its own cluster.
pub(super) struct Dependencies {
    missing: BTreeSet<(ClusterName, ComponentName)>,
}

impl Dependencies {
    pub(super) fn of(rollout: &Rollout, tracks: &BTreeMap<TrackKey, TrackState>) -> Self {
        let missing = rollout
            .tracks
            .iter()
            .filter(|track| {
                let progress = Progress::of(tracks.get(&track.track), &rollout.id, rollout.attempt);
                !matches!(progress, Progress::Committed | Progress::Ready | Progress::Left)
            })
            .map(|track| (track.track.cluster.clone(), track.track.component.component.clone()))
            .collect();
        Self { missing }
    }

    pub(super) fn holds(&self, track: &RolloutTrack) -> BTreeSet<Hold> {
        let (cluster, own) = (&track.track.cluster, &track.track.component.component);
        let is_missing = |it: &ComponentName| self.missing.contains(&(cluster.clone(), it.clone()));
        let missing = track.depends_on.iter().filter(|component| *component != own && is_missing(component));
        missing.cloned().map(Hold::Dependency).collect()
    }
}
