//! How a release takes the place of another: strategies, plans, and the machine that carries them out. Pure: no clock, no
//! I/O, no async.
//!
//! A [`Strategy`] compiles to a [`Plan`]; the machine, [`next`], turns the stored [`TrackState`], a view of the
//! [`World`] and the time into a [`Decision`]: the state to store, the [`Act`]s to carry out, when to look again.
//! [`Command`]s change the state on a user's or the coordinator's behalf. The [`Coordinator`] holds what concerns a rollout as
//! a whole: [`coordinate`] compares it with the tracks' states and answers the commands that are missing.

mod amount;
mod command;
mod coordinator;
mod decision;
mod id;
mod machine;
pub mod numbers;
mod phase;
mod plan;
mod state;
mod strategy;
mod weights;
mod world;

pub use amount::Seconds;
pub use command::{Command, Refused, StartRollout};
pub use coordinator::{
    Coordination, Coordinator, Rollout, RolloutEvent, RolloutPhase, RolloutRefused, RolloutTrack, coordinate,
};
pub use decision::{Act, Decision, Event};
pub use id::{RolloutId, StepKey, TrackVersion};
pub use machine::next;
pub use phase::{AbortStage, Phase, Stage};
pub use plan::{Bake, Mode, PLAN_FORMAT, Plan, PlanError, Reach, Share, Step, StepHold};
pub use state::{
    AbortReason, CommitMode, CountOwner, Detach, Hold, Marks, ProgressClock, RevisionState, TrackRollout,
    TrackState,
};
pub use strategy::{
    Ordered, Recreate, RollbackJump, RollingByBatches, RunOnce, Strategy, StrategyContext, TakeNote,
};
pub use weights::Weights;
pub use world::{Refusal, RevisionView, RouteSnapshot, RouteView, RunView, Token, Verdict, World};
