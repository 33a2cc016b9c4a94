//! Which ordinals each revision of an ordered track has.
//!
//! The machine counts; what it does not say is which. Of the instances that are declared the stable revision has those from
//! 0 on, the new one those up to the last. What the backend was told of the new one is the measure: its first ordinal
//! falls by what it gains and rises by what it gives back, and never moves because the scale does. Scaling adds and takes the
//! highest, which are the new revision's in the middle of a rollout.

use super::Machine;
use super::round::Goal;
use crate::model::RevisionId;
use crate::port::Ordinals;
use crate::release::world::RevisionView;

impl Machine<'_> {
    fn is_ordered(&self) -> bool {
        self.plan().is_some_and(|plan| plan.ordered)
    }

    /// What the backend was told of a revision that has instances.
    fn told(&self, id: &RevisionId) -> Option<Ordinals> {
        self.world.revision(id).map(RevisionView::ordinals).filter(|told| told.count > 0)
    }

    /// The first ordinal of a revision that shall have `count` instances.
    pub(super) fn first(&self, id: &RevisionId, count: u32) -> u32 {
        let told = self.told(id);
        if !self.is_ordered() {
            return told.map_or(0, |told| told.first);
        }
        if self.stable().as_ref() == Some(id) {
            return 0;
        }
        let n = self.count();
        let gains = self.state.phase.is_forward() && self.target().as_ref() == Some(id);
        match told {
            None if gains => n.saturating_sub(count),
            None => 0,
            // It gains from below, and what is beyond the scale goes from above.
            Some(told) if gains && count > told.count => told.first.min(n.saturating_sub(count)),
            Some(told) if gains => told.first,
            // It gives back from below.
            Some(told) if count < told.count => told.first.max(told.end().min(n).saturating_sub(count)),
            Some(told) => told.first,
        }
    }

    /// Whether a revision that is neither stable nor wanted has ordinals: what was withdrawn gives them up before anything else
    /// gets them.
    pub(super) fn has_ordinals_left(&self, target: &RevisionId) -> bool {
        let stable = self.stable();
        let is_left = |id: &RevisionId| id != target && Some(id) != stable.as_ref();
        self.is_ordered() && self.state.revisions.iter().any(|(id, it)| is_left(id) && it.desired > 0)
    }

    /// What was intended for the new revision under a larger scale, and never came, is intended no longer: its ordinals are
    /// the stable revision's now, or nobody's.
    pub(super) fn bound_intents(&mut self) {
        let (Some(stable), Some(target)) = (self.stable(), self.target()) else { return };
        if !self.is_ordered() || stable == target {
            return;
        }
        let stays = self.state.revisions.get(&stable).map_or(0, |revision| revision.desired);
        let most = self.count().saturating_sub(stays).max(self.told(&target).map_or(0, |told| told.count));
        if let Some(revision) = self.state.revisions.get_mut(&target) {
            revision.desired = revision.desired.min(most);
        }
    }

    /// Fits the goal of the way forward to the ordinals that the gaining side has: whatever is above its first one is its own,
    /// so that no instance is exchanged back because the scale has changed.
    pub(super) fn number(&self, goal: &mut Goal) {
        let (Some(gain), Some(lose)) = (&goal.gain, &goal.lose) else { return };
        let Some(told) = self.told(gain).filter(|_| self.is_ordered()) else { return };
        let above = goal.n.saturating_sub(told.first);
        if told.end() > goal.n {
            goal.gain_target = above;
            let intended = self.state.revisions.get(lose).map_or(0, |revision| revision.desired);
            goal.lose_target = intended.min(goal.n - above);
            goal.beyond = true;
        } else {
            goal.gain_target = goal.gain_target.max(above);
            goal.lose_target = goal.n - goal.gain_target;
        }
    }

    /// How many instances take part in an exchange back: nothing new is made of the side that loses, so that what is above its
    /// last ordinal waits until it has given back all.
    pub(super) fn numbered_back(&self, losing: &RevisionId, n: u32) -> u32 {
        self.told(losing).filter(|_| self.is_ordered()).map_or(n, |told| n.min(told.end()))
    }
}
