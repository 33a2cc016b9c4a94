//! The coordinator, one per app and environment: the order of the clusters and of the tracks on each, the commits, what a
//! cluster that fails means for the others, and what becomes of one that cannot be reached.
//!
//! Pure and level-triggered like the machine: it compares what the active rollout wants of each track with the track's
//! stored state, and answers the commands that are missing. A command that is repeated changes nothing.

mod decide;
mod drive;
mod part;
mod progress;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::id::{RolloutId, TrackVersion};
use super::plan::Plan;
use super::state::{AbortReason, TrackState};
use crate::model::{ClusterOrder, OnClusterFailure, OnRunning, ReleaseNumber};
use crate::name::{ClusterName, ComponentName, TrackKey};

pub use decide::coordinate;

/// The rollouts of an app in an environment: at most one is active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Coordinator {
    /// The one that is under way.
    pub active: Option<Rollout>,
    /// Those that wait for their turn, the next one first.
    pub queue: Vec<Rollout>,
    /// The last one that ended.
    pub last: Option<Rollout>,
    /// The clusters that are not at the current release, each with the rollout that brings it there by itself or, aborted,
    /// has failed to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub behind: BTreeMap<ClusterName, Rollout>,
}

/// The carrying out of one release over its tracks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Rollout {
    /// The id.
    pub id: RolloutId,
    /// From 1; a retry raises it.
    pub attempt: u32,
    /// The release that is carried out.
    pub release: ReleaseNumber,
    /// Every track of the app, those that do not change included. The clusters follow each other in the order in which
    /// they first appear here.
    pub tracks: Vec<RolloutTrack>,
    /// Whether tracks commit together, in one write, or each when it is ready: all of them, or, where clusters commit by
    /// themselves, all of a cluster.
    pub lockstep: bool,
    /// How the clusters follow each other.
    #[serde(default)]
    pub order: ClusterOrder,
    /// What a cluster on which it fails means for the others.
    pub on_failure: OnClusterFailure,
    /// Where it is.
    pub phase: RolloutPhase,
    /// Whether the commit of all has been written, or every track has committed.
    pub committed: bool,
    /// The clusters whose commit has been written.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub committed_on: BTreeSet<ClusterName>,
    /// The clusters that it failed on, where each is left to itself, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed_on: BTreeMap<ClusterName, AbortReason>,
    /// When this attempt was first looked at: time for progress on a cluster that cannot be reached begins no earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// The rollout whose place this one took: what is left of it is given up.
    pub superseded: Option<RolloutId>,
    /// Who asked for it.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
}

/// One track of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct RolloutTrack {
    /// The track.
    pub track: TrackKey,
    /// The components that must be there before this one begins. For a component that is being removed, those that
    /// needed it: they change first. Must be free of cycles.
    pub depends_on: Vec<ComponentName>,
    /// What shall be committed; `None` removes the component.
    pub to: Option<TrackVersion>,
    /// The way there.
    pub plan: Plan,
    /// The way back, once it has committed and another track fails: the rollback's jump.
    pub back: Plan,
    /// The count that takes effect with the commit.
    pub count_on_commit: Option<u32>,
}

/// Where a rollout is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutPhase {
    /// It waits for the one that is under way.
    Queued,
    /// Its tracks are under way.
    Running,
    /// It took the place of another one, whose tracks still yield.
    Superseding,
    /// Every track has committed, or a cluster has and keeps it.
    Succeeded,
    /// Every track is back where it was.
    Aborted(AbortReason),
    /// Its tracks are on their way back, for this reason.
    RollingBack(AbortReason),
}

impl Rollout {
    /// A first attempt on all clusters at once, with independent commits, that goes back as a whole if a track fails.
    pub fn new(id: RolloutId, release: ReleaseNumber, tracks: Vec<RolloutTrack>) -> Self {
        Self {
            id,
            attempt: 1,
            release,
            tracks,
            lockstep: false,
            order: ClusterOrder::AllAtOnce,
            on_failure: OnClusterFailure::Back,
            phase: RolloutPhase::Queued,
            committed: false,
            committed_on: BTreeSet::new(),
            failed_on: BTreeMap::new(),
            began: None,
            superseded: None,
            actor: String::new(),
            reason: String::new(),
        }
    }

    /// Whether the rollout can still be given up: not once its one commit is written.
    pub fn can_abort(&self) -> bool {
        matches!(self.phase, RolloutPhase::Running | RolloutPhase::Superseding) && !self.committed
    }

    /// Whether a cluster has a track in it.
    pub fn names(&self, cluster: &ClusterName) -> bool {
        self.tracks.iter().any(|track| track.track.cluster == *cluster)
    }

    /// Whether the commit of a cluster has been written.
    pub fn has_committed_on(&self, cluster: &ClusterName) -> bool {
        self.committed || self.committed_on.contains(cluster)
    }

    /// The part of it that concerns one cluster, to be carried on, or remembered, in this phase.
    fn on(&self, cluster: &ClusterName, phase: RolloutPhase) -> Self {
        Self {
            tracks: self.tracks.iter().filter(|track| track.track.cluster == *cluster).cloned().collect(),
            order: ClusterOrder::AllAtOnce,
            on_failure: OnClusterFailure::Back,
            committed: self.has_committed_on(cluster),
            failed_on: BTreeMap::new(),
            superseded: None,
            phase,
            ..self.clone()
        }
    }

    /// The same, to be tried again from the first step.
    fn again(&self) -> Self {
        Self {
            attempt: self.attempt + 1,
            committed: false,
            committed_on: BTreeSet::new(),
            failed_on: BTreeMap::new(),
            began: None,
            superseded: None,
            ..self.clone()
        }
    }

    /// Whether nothing more will come of it by itself.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, RolloutPhase::Succeeded | RolloutPhase::Aborted(_))
    }
}

/// The answer of [`coordinate`]: store the state, then apply each command to its track. A track that does not exist yet is
/// made first.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordination {
    /// The state to store.
    pub state: Coordinator,
    /// What is missing on the tracks.
    pub commands: Vec<(TrackKey, Command)>,
    /// What happened, to be recorded with the state.
    pub events: Vec<RolloutEvent>,
    /// When to coordinate again although nothing has changed: a cluster that cannot be reached is out of time then.
    pub wake_at: Option<Timestamp>,
}

/// Something worth recording about a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case")]
#[non_exhaustive]
pub enum RolloutEvent {
    /// The phase changed.
    Entered {
        /// The rollout.
        rollout: RolloutId,
        /// The phase.
        phase: RolloutPhase,
    },
    /// The release is the committed one of the app in this environment.
    Committed {
        /// The rollout.
        rollout: RolloutId,
        /// The release.
        release: ReleaseNumber,
    },
    /// A cluster is not at the release that is the committed one elsewhere.
    Behind {
        /// The cluster.
        cluster: ClusterName,
        /// The release that it lacks.
        release: ReleaseNumber,
        /// Why it failed there; absent if the cluster cannot be reached, and follows when it can.
        reason: Option<AbortReason>,
    },
    /// A cluster is brought to the current release by itself.
    CatchingUp {
        /// The cluster.
        cluster: ClusterName,
        /// The release.
        release: ReleaseNumber,
    },
    /// A cluster that was not at the current release is.
    CaughtUp {
        /// The cluster.
        cluster: ClusterName,
        /// The release.
        release: ReleaseNumber,
    },
}

/// Why the coordinator refused; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutRefused {
    /// Another rollout is under way, and the environment's policy is to refuse.
    #[error("rollout {rollout} of release {release} is under way; wait for it or abort it")]
    UnderWay {
        /// The rollout.
        rollout: RolloutId,
        /// Its release.
        release: ReleaseNumber,
    },
    /// The rollout has been committed: going back is a rollback.
    #[error("release {release} has been committed; roll back instead")]
    Committed {
        /// The release.
        release: ReleaseNumber,
    },
    /// The last rollout was not aborted, or another one is under way.
    #[error("no aborted rollout to try again")]
    NothingToRetry,
}

impl Coordinator {
    /// Takes a rollout in: it starts if none is under way; otherwise the environment's policy decides.
    ///
    /// # Errors
    /// [`RolloutRefused::UnderWay`] by the policy [`OnRunning::Reject`], if something is under way that is not committed, or waits
    /// already.
    pub fn submit(
        &self,
        rollout: Rollout,
        policy: OnRunning,
    ) -> Result<(Self, Vec<RolloutEvent>), RolloutRefused> {
        let mut state = self.clone();
        let mut events = Vec::new();
        let known = |other: &Rollout| other.id == rollout.id && other.attempt == rollout.attempt;
        if state.active.iter().chain(&state.queue).chain(&state.last).any(known) {
            return Ok((state, events));
        }
        match (&state.active, policy) {
            (None, _) => state.start(rollout, &mut events),
            (Some(active), OnRunning::Reject) if !active.committed || !state.queue.is_empty() => {
                let Rollout { id, release, .. } = state.queue.last().unwrap_or(active);
                return Err(RolloutRefused::UnderWay { rollout: id.clone(), release: *release });
            }
            (Some(active), OnRunning::Supersede) if active.can_abort() => {
                let by = AbortReason::Superseded(rollout.id.clone());
                let old = state.end(RolloutPhase::Aborted(by), &mut events);
                state.queue.clear();
                let superseded = old.map(|old| old.id);
                let phase = RolloutPhase::Superseding;
                state.take_over(&rollout);
                events.push(RolloutEvent::Entered { rollout: rollout.id.clone(), phase: phase.clone() });
                state.active = Some(Rollout { phase, superseded, ..rollout });
            }
            // What is on its way back, or committed, ends soon and by itself; the new one is next.
            (Some(_), OnRunning::Supersede) => {
                state.queue = vec![Rollout { phase: RolloutPhase::Queued, ..rollout }];
            }
            // Under the policy to refuse, too: what is committed is what users see, and only clears up.
            (Some(_), OnRunning::Queue | OnRunning::Reject) => {
                events
                    .push(RolloutEvent::Entered { rollout: rollout.id.clone(), phase: RolloutPhase::Queued });
                state.queue.push(Rollout { phase: RolloutPhase::Queued, ..rollout });
            }
        }
        Ok((state, events))
    }

    /// Gives the active rollout up, or the one that comes next when the active one is committed, or else those that bring a
    /// cluster to the current release by itself; does nothing if there is none, or it is on its way back already.
    ///
    /// # Errors
    /// [`RolloutRefused::Committed`] once the one commit is written.
    pub fn abort(&self, reason: AbortReason) -> Result<(Self, Vec<RolloutEvent>), RolloutRefused> {
        let mut state = self.clone();
        let mut events = Vec::new();
        if let Some(active) = &mut state.active
            && !matches!(active.phase, RolloutPhase::RollingBack(_))
        {
            if active.committed {
                if state.queue.is_empty() {
                    return Err(RolloutRefused::Committed { release: active.release });
                }
                let next = state.queue.remove(0);
                events.push(RolloutEvent::Entered { rollout: next.id, phase: RolloutPhase::Aborted(reason) });
                return Ok((state, events));
            }
            active.phase = RolloutPhase::RollingBack(reason);
            events.push(RolloutEvent::Entered { rollout: active.id.clone(), phase: active.phase.clone() });
            return Ok((state, events));
        }
        if state.active.is_none() {
            for rollout in state.behind.values_mut().filter(|rollout| rollout.can_abort()) {
                rollout.phase = RolloutPhase::RollingBack(reason.clone());
            }
        }
        Ok((state, events))
    }

    /// Tries the last rollout again, from its first step, if it was aborted; or else what failed on single clusters.
    ///
    /// # Errors
    /// [`RolloutRefused::NothingToRetry`].
    pub fn retry(&self) -> Result<(Self, Vec<RolloutEvent>), RolloutRefused> {
        let mut state = self.clone();
        let mut events = Vec::new();
        if self.active.is_some() {
            return Err(RolloutRefused::NothingToRetry);
        }
        let is_aborted = |rollout: &&Rollout| matches!(rollout.phase, RolloutPhase::Aborted(_));
        if let Some(last) = self.last.as_ref().filter(is_aborted) {
            state.start(last.again(), &mut events);
            return Ok((state, events));
        }
        for (cluster, failed) in self.behind.iter().filter(|(_, rollout)| is_aborted(rollout)) {
            events.push(RolloutEvent::CatchingUp { cluster: cluster.clone(), release: failed.release });
            let again = Rollout { phase: RolloutPhase::Running, ..failed.again() };
            state.behind.insert(cluster.clone(), again);
        }
        if events.is_empty() { Err(RolloutRefused::NothingToRetry) } else { Ok((state, events)) }
    }

    /// Brings one cluster to the current release by itself, in the place of what did so before.
    pub fn catch_up(&self, cluster: ClusterName, rollout: Rollout) -> (Self, Vec<RolloutEvent>) {
        let mut state = self.clone();
        let event = RolloutEvent::CatchingUp { cluster: cluster.clone(), release: rollout.release };
        state.behind.insert(cluster, Rollout { phase: RolloutPhase::Running, ..rollout });
        (state, vec![event])
    }

    /// Leaves every cluster out that the environment does not have any more. A rollout that has no cluster left ends.
    pub fn without_clusters(&self, gone: impl Fn(&ClusterName) -> bool) -> (Self, Vec<RolloutEvent>) {
        let mut state = self.clone();
        let mut events = Vec::new();
        for rollout in state.active.iter_mut().chain(&mut state.queue).chain(&mut state.last) {
            rollout.tracks.retain(|track| !gone(&track.track.cluster));
        }
        state.behind.retain(|cluster, _| !gone(cluster));
        let is_empty = |rollout: &Rollout| rollout.tracks.is_empty();
        if self.active.as_ref().is_some_and(|active| !is_empty(active))
            && state.active.as_ref().is_some_and(is_empty)
        {
            let _ = state.end(RolloutPhase::Aborted(AbortReason::NoCluster), &mut events);
        }
        for queued in state.queue.extract_if(.., |rollout| is_empty(rollout)) {
            let phase = RolloutPhase::Aborted(AbortReason::NoCluster);
            events.push(RolloutEvent::Entered { rollout: queued.id, phase });
        }
        (state, events)
    }

    /// Whether a cluster has something else than the current release, as its tracks have committed it, and nothing
    /// concerns itself with that. `current` is the number of the release.
    pub fn is_behind(
        &self,
        cluster: &ClusterName,
        current: ReleaseNumber,
        tracks: &BTreeMap<TrackKey, TrackState>,
    ) -> bool {
        let here = || tracks.values().filter(|state| state.track.cluster == *cluster);
        let committed = || here().filter_map(|state| state.stable.as_ref()).map(|stable| stable.release);
        let is_there = committed().any(|release| release == current);
        let attended = self.active.as_ref().is_some_and(|active| active.names(cluster))
            || self.behind.get(cluster).is_some_and(|rollout| rollout.release == current)
            // What leaves is gone before anything comes.
            || here().any(|state| state.phase.is_leaving());
        !attended && (!is_there || committed().any(|release| release != current))
    }

    /// A rollout that begins sees to its clusters itself.
    fn take_over(&mut self, rollout: &Rollout) {
        self.behind.retain(|cluster, _| !rollout.names(cluster));
    }

    fn start(&mut self, rollout: Rollout, events: &mut Vec<RolloutEvent>) {
        self.take_over(&rollout);
        let phase = RolloutPhase::Running;
        events.push(RolloutEvent::Entered { rollout: rollout.id.clone(), phase: phase.clone() });
        self.active = Some(Rollout { phase, ..rollout });
    }

    /// Ends the active rollout in this phase.
    fn end(&mut self, phase: RolloutPhase, events: &mut Vec<RolloutEvent>) -> Option<Rollout> {
        let ended = Rollout { phase, ..self.active.take()? };
        events.push(RolloutEvent::Entered { rollout: ended.id.clone(), phase: ended.phase.clone() });
        self.last = Some(ended.clone());
        Some(ended)
    }
}
