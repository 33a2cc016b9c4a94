//! Recreate: the old instances end before the new ones start.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Strategy, StrategyContext};
use crate::model::{Amount, Percent};
use crate::release::plan::{Mode, Plan, PlanError, Reach, Share, Step};

/// Ends all old instances, then starts the new ones: for components of which two versions must never run at once. It
/// interrupts, and says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct Recreate {}

impl Strategy for Recreate {
    fn name(&self) -> &'static str {
        "recreate"
    }

    fn compile(&self, context: &StrategyContext) -> Result<Plan, PlanError> {
        let plan = Plan {
            mode: Mode::Exclusive,
            steps: vec![Step { reach: Reach::All, share: Share::ByCapacity, bake: None, hold: None }],
            max_surge: Amount::ZERO,
            max_unavailable: Amount::Percent(Percent::ALL),
            may_interrupt: true,
            ..context.plan(self.name())
        };
        plan.validate()?;
        Ok(plan)
    }
}
