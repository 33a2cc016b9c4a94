//! What the machine answers: a state to store, acts to carry out, events to record.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::{RolloutId, StepKey, TrackVersion};
use super::phase::Phase;
use super::state::{AbortReason, Hold, TrackState};
use super::weights::Weights;
use super::world::RouteSnapshot;
use crate::model::RevisionId;
use crate::port::Ordinals;

/// The answer of [`next`](super::next).
///
/// Store `state` (and `events`, in the same transaction) if it differs, then carry out the acts in order, then tell the
/// state of the backends' answers ([`TrackState::acted`]), then observe again.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The state to store.
    pub state: TrackState,
    /// What to do. Empty if the track has converged, or waits.
    pub acts: Vec<Act>,
    /// When to decide again at the latest, even if nothing is observed.
    pub wake_at: Option<Timestamp>,
    /// What happened, to be recorded with the state.
    pub events: Vec<Event>,
}

/// A write to a backend. Acts are the difference of what is intended and what is observed, so a crash between storing
/// and acting loses none: the next decision asks again for what is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case")]
pub enum Act {
    /// Create the revision's set with this count. One that exists already is left as it is: the next view shows what is
    /// missing.
    Ensure {
        /// The revision.
        revision: RevisionId,
        /// How many instances.
        count: u32,
        /// The ordinal of the first one; 0 where they have none.
        first: u32,
    },
    /// Change the count of a revision's set. Lowering takes instances that are not ready first, or those whose ordinals are
    /// no longer named, takes each out of the endpoints, lets it drain, then stops it.
    Scale {
        /// The revision.
        revision: RevisionId,
        /// How many instances.
        count: u32,
        /// The ordinal of the first one; 0 where they have none.
        first: u32,
    },
    /// Write the weights of the track's routes, all of them in one atomic change, zeros included.
    Shift {
        /// The weights.
        weights: Weights,
    },
    /// Restore the routes to what they said before they were owned, or remove them, and give up their ownership.
    Unroute {
        /// What they said before.
        snapshot: Option<RouteSnapshot>,
    },
    /// Remove the revision's set, which has no instances left and which no route names.
    Remove {
        /// The revision.
        revision: RevisionId,
    },
    /// Start a run to completion, once for this key.
    Run {
        /// The revision.
        revision: RevisionId,
        /// The key under which it is started once.
        key: StepKey,
    },
    /// Stop a run to completion that still runs.
    StopRun {
        /// Its key.
        key: StepKey,
    },
    /// Ask for a verdict, once for this key.
    Judge {
        /// The revision that is judged.
        revision: RevisionId,
        /// The key under which it is asked once.
        key: StepKey,
        /// What judges, as the plan says.
        judge: String,
    },
}

impl Act {
    /// Whether carrying it out can take ready capacity away or move traffic.
    ///
    /// `observed` is what the backend was told before.
    pub fn is_disruptive(&self, observed: Ordinals) -> bool {
        match self {
            Self::Scale { count, first, .. } | Self::Ensure { count, first, .. } => {
                !Ordinals { first: *first, count: *count }.cover(observed)
            }
            Self::Shift { .. } | Self::Unroute { .. } => true,
            Self::Remove { .. } | Self::Run { .. } | Self::StopRun { .. } | Self::Judge { .. } => false,
        }
    }
}

/// Something worth recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A rollout was started.
    Started {
        /// Which.
        rollout: RolloutId,
        /// Its attempt, from 1.
        attempt: u32,
    },
    /// The phase changed.
    Entered(Phase),
    /// A hold was put on the rollout.
    Held(Hold),
    /// A hold was taken off.
    Released(Hold),
    /// The one write that makes a version the stable one. Storing this decision's state is the commit.
    Committed {
        /// The rollout.
        rollout: RolloutId,
        /// The new stable version; `None` if the component was removed.
        to: Option<TrackVersion>,
        /// The one before.
        from: Option<TrackVersion>,
    },
    /// The rollout is on its way back.
    Aborting(AbortReason),
    /// The declared count changed.
    Scaled {
        /// The count before.
        from: u32,
        /// The count now.
        to: u32,
    },
    /// The app was stopped.
    Stopped,
    /// The app was started again.
    Restarted,
    /// A revision's set was removed.
    Removed(RevisionId),
}
