//! Strategies: what a user chooses, compiled to a [`Plan`].

mod ordered;
mod recreate;
mod rollback;
mod rolling;
mod run;

use serde::{Deserialize, Serialize};

use super::amount::Seconds;
use super::plan::{Plan, PlanError};
use crate::model::StrategySpec;

pub use ordered::Ordered;
pub use recreate::Recreate;
pub use rollback::RollbackJump;
pub use rolling::RollingByBatches;
pub use run::{RunOnce, TakeNote};

/// What a strategy may know of the track it compiles a plan for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrategyContext {
    /// Whether the component is reached through a router that splits traffic between revisions. A worker is not, and
    /// gets no step that shifts or confirms.
    pub traffic: bool,
    /// How long an instance must have been ready before it counts.
    pub min_ready: Seconds,
    /// How long a phase may go without progress; ten minutes by default.
    pub progress_deadline: Seconds,
    /// Whether a missed deadline aborts; it does by default.
    pub abort_on_deadline: bool,
    /// How long an aborted revision is kept; 30 seconds by default.
    pub keep_aborted: Seconds,
}

impl StrategyContext {
    /// The context of a component with the usual policies.
    pub fn new(traffic: bool) -> Self {
        Self {
            traffic,
            min_ready: Seconds::ZERO,
            progress_deadline: Seconds(600),
            abort_on_deadline: true,
            keep_aborted: Seconds(30),
        }
    }

    /// An empty plan that carries this context's policies.
    pub fn plan(&self, strategy: &str) -> Plan {
        Plan {
            min_ready: self.min_ready,
            progress_deadline: self.progress_deadline,
            abort_on_deadline: self.abort_on_deadline,
            keep_aborted: self.keep_aborted,
            ..Plan::new(strategy, self.traffic)
        }
    }
}

/// How a new revision takes the place of the old one.
///
/// An embedder implements it to add a strategy; the simulator (`memory::sim`) shows whether the plans hold.
pub trait Strategy: std::fmt::Debug + Send + Sync {
    /// The name that users see.
    fn name(&self) -> &str;

    /// Compiles the plan for one track.
    ///
    /// # Errors
    /// What [`Plan::validate`] says of the plan.
    fn compile(&self, context: &StrategyContext) -> Result<Plan, PlanError>;
}

impl StrategySpec {
    /// Compiles the declared strategy for one track; the declared times take the place of the context's. What is aborted
    /// goes at once: it serves nobody any more, why it failed is told, and the next release need not wait for it.
    ///
    /// # Errors
    /// What [`Plan::validate`] says of the plan.
    pub fn compile(&self, context: &StrategyContext) -> Result<Plan, PlanError> {
        let timed = |deadline: u32, min_ready: u32| StrategyContext {
            progress_deadline: Seconds(deadline),
            min_ready: Seconds(min_ready),
            keep_aborted: Seconds::ZERO,
            ..*context
        };
        match self {
            Self::Rolling {
                batches,
                pause_seconds,
                max_surge,
                max_unavailable,
                progress_deadline_seconds,
                min_ready_seconds,
            } => RollingByBatches {
                batches: batches.clone(),
                pause: Seconds(*pause_seconds),
                max_surge: *max_surge,
                max_unavailable: *max_unavailable,
                warm_window: Seconds::ZERO,
            }
            .compile(&timed(*progress_deadline_seconds, *min_ready_seconds)),
            Self::Recreate { progress_deadline_seconds, min_ready_seconds } => {
                Recreate {}.compile(&timed(*progress_deadline_seconds, *min_ready_seconds))
            }
        }
    }
}
