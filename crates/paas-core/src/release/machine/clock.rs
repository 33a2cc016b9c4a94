//! The clock of progress.

use jiff::{SignedDuration, Timestamp};

use super::Machine;
use crate::release::phase::{AbortStage, Phase, Stage};
use crate::release::state::{AbortReason, CommitMode, Marks};

/// A phase without its stage: what a clock is for.
fn timed_part(phase: Phase) -> Phase {
    match phase {
        Phase::Step { index, .. } => Phase::Step { index, stage: Stage::Scale },
        Phase::Aborting(_) => Phase::Aborting(AbortStage::RestoreCapacity),
        Phase::Yielding(_) => Phase::Yielding(AbortStage::RestoreCapacity),
        other => other,
    }
}

impl Machine<'_> {
    /// Whether progress can be owed now. Holds stop an advance only, so they stop no clock on the way back; and a track that
    /// only waits for the coordinator owes nothing.
    fn owes_progress(&self) -> bool {
        let waits =
            self.state.rollout.as_ref().is_some_and(|rollout| {
                rollout.ready || rollout.commit == CommitMode::Lockstep { granted: true }
            });
        let held = self.is_held() && self.state.phase.is_forward();
        (self.state.phase.is_timed() || matches!(self.state.phase, Phase::Step { .. })) && !held && !waits
    }

    fn marks(&mut self) -> Marks {
        let back = self.state.phase.is_back();
        let (stable, target) = (self.stable(), self.target());
        let (gain, lose) = if back { (stable, target) } else { (target, stable) };
        let updated = self.side(gain.as_ref());
        let old = self.side(lose.as_ref());
        let weight = match (&self.state.confirmed, &gain) {
            (Some(confirmed), Some(gain)) => confirmed.of(gain),
            _ => 0,
        };
        Marks {
            updated: updated.total.min(updated.intended),
            ready: updated.ready,
            available: updated.available,
            old: Some(old.total.saturating_add(old.draining)),
            weight,
        }
    }

    /// Takes note of progress, and of time that is out.
    pub(super) fn tick(&mut self) {
        let part = timed_part(self.state.phase);
        if self.state.clock.of != Some(part) {
            return;
        }
        let seen = self.marks();
        let progressed = self.state.clock.best.raise_to(seen);
        if let (Phase::Stalled { back: false, step }, true) = (self.state.phase, progressed) {
            let _ = self.resume(Self::resumed_step(step));
            return;
        }
        if progressed {
            self.state.clock.remaining = None;
            if self.state.clock.deadline.is_some() {
                self.state.clock.deadline = Some(self.deadline());
            }
        }
        let out = self.state.clock.deadline.is_some_and(|deadline| self.now > deadline);
        if out && self.owes_progress() {
            self.time_is_out();
        }
    }

    fn deadline(&self) -> Timestamp {
        self.plan().map_or(Timestamp::MAX, |plan| plan.progress_deadline.after(self.now))
    }

    fn time_is_out(&mut self) {
        self.state.clock.deadline = None;
        let back = self.state.phase.is_back();
        let aborts = self.plan().is_some_and(|plan| plan.abort_on_deadline);
        if !back && aborts {
            let _ = self.abort(AbortReason::Deadline(self.failing()));
            return;
        }
        let last = self.plan().map_or(0, |plan| plan.steps.len().saturating_sub(1));
        let step = if let Phase::Step { index, .. } = self.state.phase { index } else { last };
        self.state.phase = Phase::Stalled { back, step };
    }

    /// Why the instances of the new revision fail, as far as it was seen.
    fn failing(&self) -> Vec<String> {
        let view = self.target().and_then(|target| self.world.revision(&target));
        let mut reasons = view.map(|view| view.failing.clone()).unwrap_or_default();
        reasons.sort();
        reasons.dedup();
        reasons
    }

    /// Starts, stops or goes on with the clock, as the phase that was arrived at demands.
    pub(super) fn arm(&mut self) {
        let part = timed_part(self.state.phase);
        let watched = self.state.phase.is_timed()
            || matches!(self.state.phase, Phase::Stalled { .. } | Phase::Step { .. });
        if !watched {
            self.state.clock = crate::release::state::ProgressClock::default();
            return;
        }
        if self.state.clock.of != Some(part) {
            let best = self.marks();
            self.state.clock =
                crate::release::state::ProgressClock { of: Some(part), best, ..Default::default() };
        }
        if !self.owes_progress() || !(self.state.phase.is_timed() || self.behind) {
            if let Some(deadline) = self.state.clock.deadline.take() {
                let left = deadline.duration_since(self.now).max(SignedDuration::ZERO);
                self.state.clock.remaining = Some(left);
            }
            return;
        }
        let deadline = match (self.state.clock.deadline, self.state.clock.remaining.take()) {
            (Some(deadline), _) => deadline,
            (None, Some(left)) => self.now.saturating_add(left).unwrap_or(Timestamp::MAX),
            (None, None) => self.deadline(),
        };
        self.state.clock.deadline = Some(deadline);
        // Deadlines are strict: time is out past the instant, not at it.
        self.wake(deadline.saturating_add(SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX));
    }
}

impl Marks {
    /// Takes over what is better, and tells whether anything is.
    fn raise_to(&mut self, seen: Self) -> bool {
        let before = *self;
        self.updated = self.updated.max(seen.updated);
        self.ready = self.ready.max(seen.ready);
        self.available = self.available.max(seen.available);
        self.weight = self.weight.max(seen.weight);
        self.old = match (self.old, seen.old) {
            (Some(best), Some(now)) => Some(best.min(now)),
            (best, now) => best.or(now),
        };
        *self != before
    }
}
