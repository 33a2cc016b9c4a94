//! What users, and the coordinator, ask of a track: pure functions on its state.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::id::{RolloutId, TrackVersion};
use super::phase::Phase;
use super::plan::{Plan, PlanError};
use super::state::{AbortReason, CommitMode, Detach, Hold};
use crate::name::ComponentName;

/// Asks something of a track; applied by [`TrackState::apply`](super::TrackState::apply).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Start a rollout: a release, or a rollback whose target is an earlier record. The same rollout and attempt again
    /// changes nothing. To the stable version during a rollout it is an abort (reason: returned).
    Start(StartRollout),
    /// Start a rollout in the place of the one under way, which yields first.
    Supersede(StartRollout),
    /// Declare another count.
    Scale {
        /// The count.
        count: u32,
    },
    /// Go back to the stable version. Does nothing if nothing is under way; twice is once.
    Abort {
        /// Why.
        reason: AbortReason,
    },
    /// Stop advancing.
    Pause,
    /// Advance again: takes a user's pause, a pause of the plan and an inconclusive verdict away.
    Resume,
    /// Give the approval under this name.
    Approve {
        /// Its name.
        name: String,
    },
    /// Put a hold on the rollout.
    Hold {
        /// The hold.
        hold: Hold,
    },
    /// Take a dependency's hold away: that component is there.
    Satisfied {
        /// The component.
        component: ComponentName,
    },
    /// Take a hold away.
    Lift {
        /// The hold.
        hold: Hold,
    },
    /// Try an aborted rollout again from its first step.
    Retry,
    /// The coordinator has written the commit of all tracks.
    GrantCommit {
        /// The rollout it is for.
        rollout: RolloutId,
    },
    /// Stop the app: everything is kept but its instances.
    Offline,
    /// Start it again.
    Online,
    /// Take the track out of management.
    Detach {
        /// What to leave behind.
        mode: Detach,
    },
}

/// A rollout to start on a track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct StartRollout {
    /// The rollout's id.
    pub rollout: RolloutId,
    /// From 1.
    pub attempt: u32,
    /// What shall be committed; `None` removes the component.
    pub to: Option<TrackVersion>,
    /// The compiled plan.
    pub plan: Plan,
    /// Who gives the commit free.
    pub commit: CommitMode,
    /// What holds it from the start.
    pub holds: BTreeSet<Hold>,
    /// The count that takes effect with the commit, for a rollback to a record with a scale policy of its own.
    pub count_on_commit: Option<u32>,
    /// Who asked for it.
    pub actor: String,
    /// Why, in their words.
    pub reason: String,
}

impl StartRollout {
    /// A first attempt, committed on its own and with no hold.
    pub fn new(rollout: RolloutId, to: Option<TrackVersion>, plan: Plan) -> Self {
        Self {
            rollout,
            attempt: 1,
            to,
            plan,
            commit: CommitMode::Independent,
            holds: BTreeSet::new(),
            count_on_commit: None,
            actor: String::new(),
            reason: String::new(),
        }
    }
}

/// Why a command was refused; the state is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// A rollout is under way. Abort it, wait for it, or supersede it.
    #[error("rollout {rollout} is under way ({phase}); wait for it, abort it, or supersede it")]
    UnderWay {
        /// The rollout.
        rollout: RolloutId,
        /// Where it is.
        phase: Phase,
    },
    /// There is no aborted rollout to try again.
    #[error("no aborted rollout to try again")]
    NothingToRetry,
    /// No rollout is under way that could be paused or held.
    #[error("no rollout is under way")]
    NothingUnderWay,
    /// The rollout has been committed: going back is a rollback to the version before.
    #[error("rollout {rollout} has been committed; roll back to {}", previous(.to.as_ref()))]
    Committed {
        /// The rollout.
        rollout: RolloutId,
        /// The version before it.
        to: Option<TrackVersion>,
    },
    /// The track is on its way out of management.
    #[error("the track is being detached")]
    Detaching,
    /// The plan breaks a rule.
    #[error("invalid plan")]
    Plan(#[from] PlanError),
}

fn previous(version: Option<&TrackVersion>) -> String {
    version.map_or_else(|| "nothing".to_owned(), ToString::to_string)
}
