//! A run to completion: started once per attempt, and its exit status decides.

use super::{Flow, Machine};
use crate::release::decision::Act;
use crate::release::phase::{Phase, Stage};
use crate::release::state::AbortReason;
use crate::release::world::RunView;

impl Machine<'_> {
    pub(super) fn await_run(&mut self, index: usize) -> Flow {
        let (Some(key), Some(revision)) = (self.state.step_key(index), self.target()) else {
            return self.enter(Phase::Promoting);
        };
        self.state.phase = Phase::Step { index, stage: Stage::Ready };
        match self.world.run(&key) {
            Some(RunView::Succeeded) | None if self.is_held() => {}
            Some(RunView::Succeeded) => return self.enter(Phase::Promoting),
            Some(RunView::Failed(why)) => return self.abort(AbortReason::Run(why.clone())),
            // How a lost run ended is unknown, and unknown is not success.
            Some(RunView::Lost) => return self.abort(AbortReason::Run("the run was lost".to_owned())),
            Some(RunView::Running) => {}
            None => self.extra.push(Act::Run { revision, key }),
        }
        Flow::Enough
    }

    /// Whether no run of this rollout is left running; one that is gets stopped.
    pub(super) fn stop_run(&mut self) -> bool {
        let Some(key) = self.state.step_key(0) else { return true };
        if self.world.run(&key) == Some(&RunView::Running) {
            self.extra.push(Act::StopRun { key });
            return false;
        }
        true
    }
}
