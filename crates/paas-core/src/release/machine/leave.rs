//! Leaving: the app is deleted, or taken out of management.

use super::{Flow, Machine};
use crate::release::phase::Phase;
use crate::release::state::Detach;

impl Machine<'_> {
    /// Routes are restored first, then instances end, then their sets go, then nothing is owned any more.
    pub(super) fn detach(&mut self) -> Flow {
        if self.is_run() && !self.stop_run() {
            return Flow::Enough;
        }
        if self.state.weights.is_some() {
            self.state.weights = None;
            self.disturbed = true;
            return Flow::Enough;
        }
        if self.world.routes.written.is_some() || self.world.routes.confirmed.is_some() {
            return Flow::Enough;
        }
        if self.state.detach == Some(Detach::Release) {
            self.state.revisions.clear();
        } else {
            self.prune(&[]);
        }
        if self.state.revisions.is_empty() && !self.disturbed {
            self.state.phase = Phase::Detached;
        }
        Flow::Enough
    }
}
