//! Components that run to completion, and those that run nothing at release time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Strategy, StrategyContext};
use crate::release::amount::Seconds;
use crate::release::plan::{Mode, Plan, PlanError, Reach, Share, Step};

/// A job that belongs to the release: it is started once per attempt, and its exit status decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct RunOnce {
    /// How long the run may take; an hour unless said otherwise.
    pub deadline: Seconds,
}

impl Default for RunOnce {
    fn default() -> Self {
        Self { deadline: Seconds(3600) }
    }
}

impl Strategy for RunOnce {
    fn name(&self) -> &'static str {
        "run"
    }

    fn compile(&self, context: &StrategyContext) -> Result<Plan, PlanError> {
        let plan = Plan {
            mode: Mode::Run,
            traffic: false,
            progress_deadline: self.deadline,
            steps: vec![Step { reach: Reach::All, share: Share::ByCapacity, bake: None, hold: None }],
            ..context.plan(self.name())
        };
        plan.validate()?;
        Ok(plan)
    }
}

/// A release that only replaces what runs next: for scheduled jobs, and for components that are being removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct TakeNote {}

impl Strategy for TakeNote {
    fn name(&self) -> &'static str {
        "note"
    }

    fn compile(&self, context: &StrategyContext) -> Result<Plan, PlanError> {
        let plan = context.plan(self.name());
        plan.validate()?;
        Ok(plan)
    }
}
