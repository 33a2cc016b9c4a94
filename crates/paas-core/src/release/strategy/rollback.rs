//! The way back to a kept release: one jump.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Strategy, StrategyContext};
use crate::model::{Amount, Percent};
use crate::release::amount::Seconds;
use crate::release::plan::{Plan, PlanError, Reach, Share, Step};

/// One step to everything, without bake or hold: all instances of the target at once beside the old ones, as far as
/// the surge lets them, then the traffic, then the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct RollbackJump {
    /// How many instances more than declared may run meanwhile; as many as are declared, if nothing is said.
    pub max_surge: Amount,
    /// How many of the declared instances may be missing meanwhile.
    pub max_unavailable: Amount,
    /// How long the instances that were left are kept after the commit.
    pub warm_window: Seconds,
}

impl Default for RollbackJump {
    fn default() -> Self {
        Self {
            max_surge: Amount::Percent(Percent::ALL),
            max_unavailable: Amount::ZERO,
            warm_window: Seconds::ZERO,
        }
    }
}

impl Strategy for RollbackJump {
    fn name(&self) -> &'static str {
        "rollback"
    }

    fn compile(&self, context: &StrategyContext) -> Result<Plan, PlanError> {
        let mut plan = Plan {
            steps: vec![Step { reach: Reach::All, share: Share::ByCapacity, bake: None, hold: None }],
            max_surge: self.max_surge,
            max_unavailable: self.max_unavailable,
            warm_window: if context.traffic { self.warm_window } else { Seconds::ZERO },
            ..context.plan(self.name())
        };
        plan.may_interrupt = plan.margins(1).floor(1) == 0;
        plan.validate()?;
        Ok(plan)
    }
}
