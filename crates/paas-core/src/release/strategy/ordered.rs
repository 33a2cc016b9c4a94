//! Ordinal by ordinal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Strategy, StrategyContext};
use crate::model::Amount;
use crate::release::amount::Seconds;
use crate::release::plan::{Plan, PlanError};

/// Exchanges instances that have ordinals, the highest first: one old instance ends, its successor of the same ordinal
/// starts and is ready before the next one ends. It interrupts a component that has one instance.
///
/// ```
/// use paas_core::model::Amount;
/// use paas_core::release::{Ordered, Strategy, StrategyContext};
///
/// let ordered = Ordered { batches: vec![Amount::Count(1)], ..Default::default() };
/// let plan = ordered.compile(&StrategyContext::new(true)).unwrap();
/// assert_eq!(plan.peak(3), 3);
/// assert_eq!(plan.margins(3).floor(3), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct Ordered {
    /// The batches, as counts or percentages of the declared count; whatever remains is one last batch. The first batch has
    /// the highest ordinals.
    pub batches: Vec<Amount>,
    /// How long to wait between batches.
    pub pause: Seconds,
}

impl Strategy for Ordered {
    fn name(&self) -> &'static str {
        "ordered"
    }

    fn compile(&self, context: &StrategyContext) -> Result<Plan, PlanError> {
        let plan = Plan {
            ordered: true,
            steps: super::rolling::steps(&self.batches, self.pause),
            max_surge: Amount::ZERO,
            max_unavailable: Amount::Count(1),
            // What is kept would keep its ordinals from whoever follows.
            warm_window: Seconds::ZERO,
            keep_aborted: Seconds::ZERO,
            may_interrupt: true,
            ..context.plan(self.name())
        };
        plan.validate()?;
        Ok(plan)
    }
}
