//! The difference between what is intended and what is observed.

use super::Machine;
use crate::release::decision::Act;

impl Machine<'_> {
    /// Raises first, so that nothing is taken away before what replaces it was asked for.
    pub(super) fn acts(&self) -> Vec<Act> {
        let mut raises = Vec::new();
        let mut reductions = Vec::new();
        for (id, revision) in &self.state.revisions {
            let waits = revision.retry_at.is_some() && !self.retries.contains(id);
            let count = revision.desired;
            let first = self.first(id, count);
            match self.world.revision(id) {
                None if count > 0 && !waits => {
                    raises.push(Act::Ensure { revision: id.clone(), count, first });
                }
                Some(view) if count > view.desired && !waits => {
                    raises.push(Act::Scale { revision: id.clone(), count, first });
                }
                Some(view) if count < view.desired => {
                    reductions.push(Act::Scale { revision: id.clone(), count, first });
                }
                Some(view)
                    if count > 0 && count == view.desired && first != view.first && !self.disturbed =>
                {
                    reductions.push(Act::Scale { revision: id.clone(), count, first });
                }
                _ => {}
            }
        }
        raises.extend(self.route_act());
        raises.extend(reductions);
        raises.extend(self.extra.iter().cloned());
        raises
    }

    fn route_act(&self) -> Option<Act> {
        match (&self.state.weights, &self.world.routes.written) {
            (Some(weights), written) if written.as_ref() != Some(weights) => {
                Some(Act::Shift { weights: weights.clone() })
            }
            (None, Some(_)) => Some(Act::Unroute { snapshot: self.state.snapshot.clone() }),
            _ => None,
        }
    }
}
