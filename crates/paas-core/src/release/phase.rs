//! The phases of a track.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a track is. What holds it, and its clock, are kept apart from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case")]
pub enum Phase {
    /// The stable revision, if there is one, serves everything; no rollout has happened yet.
    Idle,
    /// The plan is accepted; nothing that a user of the app can see has changed.
    Preparing,
    /// In a step of the plan.
    Step {
        /// The step's index, from 0.
        index: usize,
        /// How far it is.
        stage: Stage,
    },
    /// Everything is on the new revision; the commit is due, or waited for.
    Promoting,
    /// Committed; the old revision is kept until its deadline, then removed.
    Draining,
    /// Committed, and nothing else is left.
    Succeeded,
    /// On the way back to the stable revision; the new revision's weight never rises.
    Aborting(AbortStage),
    /// Back on the stable revision, until a retry, a new release or a rollback.
    Aborted,
    /// A newer release has taken the place of this one, which gives its share back to the stable revision first.
    Yielding(AbortStage),
    /// Out of time: it serves what it serves and waits for something to happen.
    Stalled {
        /// Whether it stalled on the way back rather than forward.
        back: bool,
        /// The step to go on with.
        step: usize,
    },
    /// The app is being deleted or taken out of management.
    Detaching,
    /// Nothing of the track is left or owned.
    Detached,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Raising the side that will gain traffic.
    Scale,
    /// Waiting until it is ready, for long enough.
    Ready,
    /// Writing the share of traffic.
    Shift,
    /// Waiting until the router has it.
    Confirm,
    /// Lowering the side that lost traffic.
    Shrink,
    /// Waiting for a verdict.
    Bake,
    /// Waiting for time to pass, or for an approval.
    Hold,
}

impl Stage {
    /// Whether the step's instances and traffic had arrived when this stage began.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Bake | Self::Hold)
    }
}

/// How far the way back is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortStage {
    /// Bringing the stable revision back to its capacity.
    RestoreCapacity,
    /// Moving traffic back, as far as the stable revision's ready instances can take it.
    ShiftBack,
    /// Waiting until the router has it.
    Confirm,
    /// Taking matches and mirrors away.
    Unroute,
    /// Keeping the new revision for an inquiry.
    Delay,
    /// Removing the new revision.
    Shrink,
}

impl Phase {
    /// Whether progress is owed in this phase, so that its clock runs while nothing holds.
    pub fn is_timed(self) -> bool {
        match self {
            Self::Preparing | Self::Promoting => true,
            Self::Step { stage, .. } => !stage.is_settled(),
            Self::Aborting(stage) | Self::Yielding(stage) => stage != AbortStage::Delay,
            _ => false,
        }
    }

    /// Whether the rollout may still change the stable revision: before its commit, and not on the way back.
    pub fn is_forward(self) -> bool {
        matches!(
            self,
            Self::Preparing | Self::Step { .. } | Self::Promoting | Self::Stalled { back: false, .. }
        )
    }

    /// Whether the rollout is giving back what it took.
    pub fn is_back(self) -> bool {
        matches!(self, Self::Aborting(_) | Self::Yielding(_) | Self::Stalled { back: true, .. })
    }

    /// Whether no rollout is under way; a track that drains has committed, so the next rollout may start.
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Idle | Self::Draining | Self::Succeeded | Self::Aborted)
    }

    /// Whether the track is on its way out of management, or out of it.
    pub fn is_leaving(self) -> bool {
        matches!(self, Self::Detaching | Self::Detached)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { index, stage } => write!(f, "Step({index}).{stage:?}"),
            Self::Aborting(stage) => write!(f, "Aborting.{stage:?}"),
            Self::Yielding(stage) => write!(f, "Yielding.{stage:?}"),
            Self::Stalled { .. } => f.write_str("Stalled"),
            other => write!(f, "{other:?}"),
        }
    }
}
