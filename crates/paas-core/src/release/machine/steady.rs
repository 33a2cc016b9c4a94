//! What holds in every phase where nothing is exchanged: the stable revision has its count and all traffic, and whatever
//! is not needed goes, gently.

use super::{Flow, Machine};
use crate::model::RevisionId;
use crate::release::decision::Act;
use crate::release::numbers::keep_old;
use crate::release::state::CountOwner;

impl Machine<'_> {
    /// At rest: the stable revision is kept, everything else removed.
    pub(super) fn rest(&mut self) -> Flow {
        let _ = self.keep_stable();
        if !self.disturbed {
            self.prune(&[]);
        }
        Flow::Enough
    }

    /// Keeps the stable revision at its count and in service.
    pub(super) fn keep_stable(&mut self) -> Flow {
        if self.is_run() {
            return Flow::Enough;
        }
        let Some(id) = self.stable() else { return Flow::Enough };
        if self.plan().is_some_and(|plan| plan.steps.is_empty()) && !self.state.revisions.contains_key(&id) {
            // A component of which nothing runs at release time has nothing to keep.
            return Flow::Enough;
        }
        let n = self.count();
        let side = self.side(Some(&id));
        if n == 0 {
            if self.leave_service() && side.intended > 0 {
                self.lower(&id, 0);
            }
            return Flow::Enough;
        }
        if let Some(revision) = self.state.revisions.get_mut(&id) {
            revision.keep_until = None;
        }
        let external = self.state.count_owner == CountOwner::External;
        let exists = self.world.revision(&id).is_some();
        if side.intended < n && !(external && exists) {
            self.set_desired(&id, n);
        }
        self.serve_with(&id, side.ready);
        if side.intended > n && !external && !self.disturbed {
            self.lower(&id, n);
        }
        Flow::Enough
    }

    /// Gives all traffic to one revision. Where it has no ready instance, what serves goes on serving.
    fn serve_with(&mut self, id: &RevisionId, ready: u32) {
        if !self.has_traffic() {
            return;
        }
        let weights = self.named_with_nothing().with(id, self.total_weight());
        if self.state.weights.as_ref() == Some(&weights) {
            return;
        }
        let written = self.state.weights.clone().unwrap_or_default();
        let others_serve = written.shares.iter().any(|(other, share)| {
            *share > 0 && other != id && self.world.revision(other).is_some_and(|view| view.ready() > 0)
        });
        if ready > 0 || !(others_serve || written.is_out_of_service()) {
            self.shift(weights);
        }
    }

    /// Takes all traffic from everything; whether that is in force.
    pub(super) fn leave_service(&mut self) -> bool {
        let Some(written) = &self.state.weights else { return self.state.confirmed.is_none() };
        if !written.is_out_of_service() {
            self.shift(self.named_with_nothing());
            return false;
        }
        self.is_confirmed()
    }

    /// Removes every revision but the stable one, those in `except`, and those that are still kept for a while: the oldest
    /// first, out of the routes before out of existence, one disturbance at a time.
    pub(super) fn prune(&mut self, except: &[RevisionId]) {
        let stable = self.stable();
        let mut others: Vec<(u64, RevisionId)> = self
            .state
            .revisions
            .iter()
            .filter(|(id, _)| Some(*id) != stable.as_ref() && !except.contains(id))
            .map(|(id, revision)| (revision.order, id.clone()))
            .collect();
        others.sort();
        for (_, id) in others {
            let keep_until = self.state.revisions.get(&id).and_then(|revision| revision.keep_until);
            if let Some(until) = keep_until.filter(|until| *until > self.now) {
                self.wake(until);
                continue;
            }
            self.retire(&id);
            if self.disturbed {
                return;
            }
        }
        if stable.is_none()
            && self.state.revisions.is_empty()
            && except.is_empty()
            && self.state.weights.is_some()
        {
            self.state.weights = None;
            self.disturbed = true;
        }
    }

    /// One move towards the end of a revision.
    fn retire(&mut self, id: &RevisionId) {
        if self.state.weight_of(id) > 0 {
            // With a stable revision, its share is `serve_with`'s to give; without one there is nobody to serve.
            if self.state.stable.is_none() {
                let _ = self.leave_service();
            }
            return;
        }
        if self.state.confirmed.as_ref().is_some_and(|confirmed| confirmed.of(id) > 0) {
            return;
        }
        let side = self.side(Some(id));
        if side.intended > 0 {
            let limit = self.retire_limit(side.ready);
            if limit < side.intended {
                self.lower(id, limit);
            }
            return;
        }
        if !side.is_gone() {
            return;
        }
        if let Some(weights) = self.state.weights.clone().filter(|weights| weights.names(id)) {
            self.shift(weights.without(id));
            return;
        }
        let named = self.state.confirmed.as_ref().is_some_and(|confirmed| confirmed.names(id));
        if !named && self.world.revision(id).is_some() {
            self.extra.push(Act::Remove { revision: id.clone() });
        }
    }

    /// Behind a router an instance without a share serves nobody. Without one, instances work until they end, so the
    /// floor counts them.
    fn retire_limit(&mut self, ready: u32) -> u32 {
        let Some(stable) = self.stable().filter(|_| !self.has_traffic()) else { return 0 };
        let n = self.count();
        let floor = self.plan().map_or(n, |plan| plan.margins(n).floor(n));
        let stable = self.side(Some(&stable));
        keep_old(floor, stable.available).min(ready)
    }
}
