//! Rolling by batches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Strategy, StrategyContext};
use crate::model::Amount;
use crate::release::amount::Seconds;
use crate::release::plan::{Plan, PlanError, Reach, Share, Step, StepHold};

/// Exchanges instances batch by batch: the new ones up and ready, their share of the traffic shifted and confirmed, then
/// as many old ones down.
///
/// ```
/// use paas_core::model::Amount;
/// use paas_core::release::{RollingByBatches, Strategy, StrategyContext};
///
/// let batches = vec![Amount::Count(1), "30%".parse().unwrap()];
/// let rolling = RollingByBatches { batches, ..Default::default() };
/// let plan = rolling.compile(&StrategyContext::new(true)).unwrap();
/// let reached: Vec<u32> = plan.steps.iter().map(|step| step.reach.of(10)).collect();
/// assert_eq!(reached, [1, 4, 10]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct RollingByBatches {
    /// The batches, as counts or percentages of the declared count; whatever remains is one last batch.
    pub batches: Vec<Amount>,
    /// How long to wait between batches.
    pub pause: Seconds,
    /// How many instances more than declared may run meanwhile. Rounds up.
    pub max_surge: Amount,
    /// How many of the declared instances may be missing meanwhile. Rounds down; if it and the surge are both zero,
    /// one may be missing.
    pub max_unavailable: Amount,
    /// How long old instances that are left at the commit are kept for a fast rollback.
    pub warm_window: Seconds,
}

impl Default for RollingByBatches {
    fn default() -> Self {
        Self {
            batches: Vec::new(),
            pause: Seconds::ZERO,
            max_surge: Amount::Count(1),
            max_unavailable: Amount::ZERO,
            warm_window: Seconds::ZERO,
        }
    }
}

/// A step for each batch and one for the rest, with a pause between them.
pub(super) fn steps(batches: &[Amount], pause: Seconds) -> Vec<Step> {
    let hold = (pause > Seconds::ZERO).then_some(StepHold::Pause(pause));
    let batch = |reach, hold| Step { reach, share: Share::ByCapacity, bake: None, hold };
    let mut steps: Vec<Step> = (1..=batches.len())
        .map(|count| batch(Reach::Batches(batches[..count].to_vec()), hold.clone()))
        .collect();
    steps.push(batch(Reach::All, None));
    steps
}

impl Strategy for RollingByBatches {
    fn name(&self) -> &'static str {
        "rolling"
    }

    fn compile(&self, context: &StrategyContext) -> Result<Plan, PlanError> {
        let mut plan = Plan {
            steps: steps(&self.batches, self.pause),
            max_surge: self.max_surge,
            max_unavailable: self.max_unavailable,
            // Old instances of a worker would go on taking work from the queue, so none is kept warm.
            warm_window: if context.traffic { self.warm_window } else { Seconds::ZERO },
            ..context.plan(self.name())
        };
        plan.may_interrupt = plan.margins(1).floor(1) == 0;
        plan.validate()?;
        Ok(plan)
    }
}
