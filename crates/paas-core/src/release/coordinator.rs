//! The coordinator, one per app and environment: the order of the tracks, the one commit, and what a failed track means.
//!
//! Pure and level-triggered like the machine: it compares what the active rollout wants of each track with the track's
//! stored state, and answers the commands that are missing. A command that is repeated changes nothing.

mod decide;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::id::{RolloutId, TrackVersion};
use super::plan::Plan;
use super::state::AbortReason;
use crate::model::{OnRunning, ReleaseNumber};
use crate::name::{ComponentName, TrackKey};

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
    /// Every track of the app, those that do not change included.
    pub tracks: Vec<RolloutTrack>,
    /// Whether all tracks commit together, in one write, or each when it is ready.
    pub lockstep: bool,
    /// What one failed track means for the others.
    pub on_failure: OnTrackFailure,
    /// Where it is.
    pub phase: RolloutPhase,
    /// Whether the one commit has been written (lockstep), or every track has committed.
    pub committed: bool,
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

/// What one failed track means for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTrackFailure {
    /// All go back: those under way abort, those that committed roll back.
    #[default]
    AbortAll,
    /// The others go on.
    KeepOthers,
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
    /// Every track has committed.
    Succeeded,
    /// Every track is back where it was.
    Aborted(AbortReason),
    /// Its tracks are on their way back, for this reason.
    RollingBack(AbortReason),
}

impl Rollout {
    /// A first attempt with independent commits that goes back as a whole if a track fails.
    pub fn new(id: RolloutId, release: ReleaseNumber, tracks: Vec<RolloutTrack>) -> Self {
        Self {
            id,
            attempt: 1,
            release,
            tracks,
            lockstep: false,
            on_failure: OnTrackFailure::AbortAll,
            phase: RolloutPhase::Queued,
            committed: false,
            superseded: None,
            actor: String::new(),
            reason: String::new(),
        }
    }

    /// Whether the rollout can still be given up: not once its one commit is written.
    pub fn can_abort(&self) -> bool {
        matches!(self.phase, RolloutPhase::Running | RolloutPhase::Superseding) && !self.committed
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
    /// [`RolloutRefused::UnderWay`] by the policy [`OnRunning::Reject`].
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
            (Some(active), OnRunning::Reject) => {
                return Err(RolloutRefused::UnderWay { rollout: active.id.clone(), release: active.release });
            }
            (Some(active), OnRunning::Supersede) if active.can_abort() => {
                let by = AbortReason::Superseded(rollout.id.clone());
                let old = state.end(RolloutPhase::Aborted(by), &mut events);
                state.queue.clear();
                let superseded = old.map(|old| old.id);
                let phase = RolloutPhase::Superseding;
                events.push(RolloutEvent::Entered { rollout: rollout.id.clone(), phase: phase.clone() });
                state.active = Some(Rollout { phase, superseded, ..rollout });
            }
            // What is on its way back, or committed, ends soon and by itself; the new one is next.
            (Some(_), OnRunning::Supersede) => {
                state.queue = vec![Rollout { phase: RolloutPhase::Queued, ..rollout }];
            }
            (Some(_), OnRunning::Queue) => {
                events
                    .push(RolloutEvent::Entered { rollout: rollout.id.clone(), phase: RolloutPhase::Queued });
                state.queue.push(Rollout { phase: RolloutPhase::Queued, ..rollout });
            }
        }
        Ok((state, events))
    }

    /// Gives the active rollout up; does nothing if none is active or it is on its way back already.
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
                return Err(RolloutRefused::Committed { release: active.release });
            }
            active.phase = RolloutPhase::RollingBack(reason);
            events.push(RolloutEvent::Entered { rollout: active.id.clone(), phase: active.phase.clone() });
        }
        Ok((state, events))
    }

    /// Tries the last rollout again, from its first step, if it was aborted.
    ///
    /// # Errors
    /// [`RolloutRefused::NothingToRetry`].
    pub fn retry(&self) -> Result<(Self, Vec<RolloutEvent>), RolloutRefused> {
        let aborted = self.last.as_ref().filter(|last| matches!(last.phase, RolloutPhase::Aborted(_)));
        let Some(last) = aborted.filter(|_| self.active.is_none()) else {
            return Err(RolloutRefused::NothingToRetry);
        };
        let again = Rollout { attempt: last.attempt + 1, committed: false, superseded: None, ..last.clone() };
        let mut state = self.clone();
        let mut events = Vec::new();
        state.start(again, &mut events);
        Ok((state, events))
    }

    fn start(&mut self, rollout: Rollout, events: &mut Vec<RolloutEvent>) {
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
