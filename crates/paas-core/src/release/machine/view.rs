//! What the view says of each revision, and how the state follows it.

use jiff::SignedDuration;

use super::Machine;
use crate::model::RevisionId;
use crate::release::decision::Event;
use crate::release::state::{CountOwner, Hold, RevisionState};

/// How long a refused raise waits before it is tried again.
const RETRY_REFUSED: SignedDuration = SignedDuration::from_secs(30);

/// One revision: intended, and observed. Ready instances above the intended count are about to end and do not count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    pub(super) intended: u32,
    pub(super) total: u32,
    pub(super) draining: u32,
    pub(super) ready: u32,
    pub(super) available: u32,
}

impl Side {
    /// Whether nothing of it runs or shall run.
    pub(super) fn is_gone(self) -> bool {
        self.intended == 0 && self.total == 0 && self.draining == 0
    }
}

impl Machine<'_> {
    /// One side of an exchange; a side that there is not has nothing.
    pub(super) fn side(&mut self, revision: Option<&RevisionId>) -> Side {
        let Some(id) = revision else { return Side::default() };
        let intended = self.state.revisions.get(id).map_or(0, |revision| revision.desired);
        let Some(view) = self.world.revision(id) else { return Side { intended, ..Side::default() } };
        let min_ready = self.plan().map_or(SignedDuration::ZERO, |plan| plan.min_ready.duration());
        let mut available = 0;
        for since in &view.ready_since {
            // An instance that is ready since a future instant was seen by a clock that has jumped back since.
            match since.saturating_add(min_ready) {
                Ok(at) if at <= self.now => available += 1,
                Ok(at) => self.wake(at),
                Err(_) => {}
            }
        }
        Side {
            intended,
            total: view.total,
            draining: view.draining,
            ready: view.ready().min(intended),
            available: available.min(intended),
        }
    }

    /// Lets the state follow the view: intents that were carried out, those that were not, and answers.
    pub(super) fn absorb(&mut self) {
        self.absorb_routes();
        self.absorb_revisions();
        self.absorb_refusal();
        if self.state.count_owner == CountOwner::External
            && let Some(demanded) = self.world.demanded
            && demanded != self.state.count
        {
            self.events.push(Event::Scaled { from: self.state.count, to: demanded });
            self.state.count = demanded;
        }
    }

    fn absorb_routes(&mut self) {
        let routes = &self.world.routes;
        if self.state.weights.is_none() && self.state.snapshot.is_none() {
            self.state.snapshot.clone_from(&routes.snapshot);
        }
        self.state.weights.clone_from(&routes.written);
        if routes.confirmed.is_some() || routes.written.is_none() {
            self.state.confirmed.clone_from(&routes.confirmed);
        }
    }

    pub(super) fn absorb_revisions(&mut self) {
        for (id, view) in &self.world.revisions {
            let known = self
                .state
                .revisions
                .entry(id.clone())
                .or_insert_with(|| RevisionState { desired: view.desired, ..RevisionState::default() });
            known.desired = known.desired.max(view.desired);
        }
        let stable = self.state.stable.as_ref().map(|version| version.revision.clone());
        if !self.state.phase.is_forward() {
            // Nothing new is made once a rollout is over or on its way back, not even what was intended before.
            for (id, revision) in &mut self.state.revisions {
                if Some(id) != stable.as_ref() {
                    revision.desired = self.world.revision(id).map_or(0, |view| view.desired);
                }
            }
        }
        self.bound_intents();
        let target = self.target().filter(|_| self.state.phase.is_forward());
        let world = self.world;
        let mut gone = Vec::new();
        self.state.revisions.retain(|id, revision| {
            let wanted = Some(id) == stable.as_ref() || Some(id) == target.as_ref();
            let stays = revision.desired > 0 || wanted || world.revisions.contains_key(id);
            if !stays {
                gone.push(id.clone());
            }
            stays
        });
        self.events.extend(gone.into_iter().map(Event::Removed));
    }

    fn absorb_refusal(&mut self) {
        let now = self.now;
        // A refusal of instances that are no longer wanted, or that have come meanwhile, is of no interest.
        let refusal = self.world.refusal.as_ref().filter(|refusal| {
            let wanted = self.state.revisions.get(&refusal.revision).map_or(0, |revision| revision.desired);
            wanted > self.world.revision(&refusal.revision).map_or(0, |view| view.total)
        });
        let missing = refusal.map(|refusal| refusal.missing.clone());
        let outdated: Vec<Hold> = self
            .state
            .holds
            .iter()
            .filter(|hold| matches!(hold, Hold::Quota(known) if Some(known) != missing.as_ref()))
            .cloned()
            .collect();
        for hold in outdated {
            self.state.holds.remove(&hold);
            self.events.push(Event::Released(hold));
        }
        let refused = refusal.map(|refusal| &refusal.revision);
        for (id, revision) in &mut self.state.revisions {
            if Some(id) != refused {
                revision.retry_at = None;
            } else if revision.retry_at.is_none() {
                revision.retry_at = now.saturating_add(RETRY_REFUSED).ok();
            }
        }
        if let Some(missing) = missing {
            self.hold(Hold::Quota(missing));
        }
    }

    /// The committed revision.
    pub(super) fn stable(&self) -> Option<RevisionId> {
        self.state.stable.as_ref().map(|version| version.revision.clone())
    }

    /// The revision that the rollout brings.
    pub(super) fn target(&self) -> Option<RevisionId> {
        self.state.rollout.as_ref().and_then(|rollout| rollout.target().cloned())
    }

    /// Makes a revision known, as the youngest, and no longer bound to be removed.
    pub(super) fn adopt(&mut self, id: &RevisionId) {
        let youngest = self.state.revisions.values().map(|revision| revision.order).max().unwrap_or(0);
        let revision = self.state.revisions.entry(id.clone()).or_default();
        revision.keep_until = None;
        revision.order = youngest + 1;
    }

    pub(super) fn set_desired(&mut self, id: &RevisionId, count: u32) {
        self.state.revisions.entry(id.clone()).or_default().desired = count;
    }

    /// Lowers a count, which disturbs.
    pub(super) fn lower(&mut self, id: &RevisionId, count: u32) {
        self.set_desired(id, count);
        self.disturbed = true;
    }

    /// Picks the refused raises that may be tried again now, and puts their next attempt off.
    pub(super) fn retry_refused(&mut self) {
        let now = self.now;
        let mut wakes = Vec::new();
        for (id, revision) in &mut self.state.revisions {
            let Some(at) = revision.retry_at else { continue };
            if at <= now {
                self.retries.push(id.clone());
                revision.retry_at = now.saturating_add(RETRY_REFUSED).ok();
            }
            wakes.extend(revision.retry_at);
        }
        for at in wakes {
            self.wake(at);
        }
    }
}
