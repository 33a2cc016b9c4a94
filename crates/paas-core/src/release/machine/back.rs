//! The way back: aborting, yielding to a newer release, and being stuck.

use super::round::{Goal, Move};
use super::{Flow, Machine};
use crate::release::decision::Event;
use crate::release::phase::{AbortStage, Phase, Stage};
use crate::release::state::ProgressClock;

impl Machine<'_> {
    fn back_phase(yields: bool, stage: AbortStage) -> Phase {
        if yields { Phase::Yielding(stage) } else { Phase::Aborting(stage) }
    }

    fn back_goal(&self) -> Option<Goal> {
        let target = self.target()?;
        let stable = self.stable();
        if stable.as_ref() == Some(&target) || !self.state.revisions.contains_key(&target) {
            return None;
        }
        // Without a stable revision there is nothing that the floor could protect.
        let n = if stable.is_some() { self.numbered_back(&target, self.count()) } else { 0 };
        let mut goal = Goal::new(self.plan()?, n, stable, Some(target));
        goal.back = true;
        Some(goal)
    }

    pub(super) fn go_back(&mut self, stage: AbortStage, yields: bool) -> Flow {
        if self.is_run() && !self.stop_run() {
            return Flow::Enough;
        }
        match stage {
            AbortStage::Unroute => self.delay(yields),
            AbortStage::Delay | AbortStage::Shrink => self.give_up(stage, yields),
            _ => {
                let Some(goal) = self.back_goal() else { return self.is_back(yields) };
                let stage = match self.round(&goal) {
                    Move::Done => return self.enter(Self::back_phase(yields, AbortStage::Unroute)),
                    Move::Raised | Move::AwaitReady | Move::Lowered | Move::Held => {
                        AbortStage::RestoreCapacity
                    }
                    Move::Shifted => AbortStage::ShiftBack,
                    Move::AwaitConfirm => AbortStage::Confirm,
                };
                self.state.phase = Self::back_phase(yields, stage);
                Flow::Enough
            }
        }
    }

    /// The new revision serves nobody any more; it may be kept a while for an inquiry.
    fn delay(&mut self, yields: bool) -> Flow {
        let keep = self.plan().map(|plan| plan.keep_aborted).filter(|keep| keep.0 > 0 && !yields);
        let until = keep.map(|keep| keep.after(self.now));
        if let (Some(target), Some(until)) = (self.target(), until) {
            if let Some(revision) = self.state.revisions.get_mut(&target) {
                revision.keep_until = Some(until);
            }
            return self.enter(Phase::Aborting(AbortStage::Delay));
        }
        self.enter(Self::back_phase(yields, AbortStage::Shrink))
    }

    fn give_up(&mut self, stage: AbortStage, yields: bool) -> Flow {
        let Some(target) = self.target() else { return self.is_back(yields) };
        if self.stable().as_ref() == Some(&target) {
            return self.is_back(yields);
        }
        let keep = self.state.revisions.get(&target).and_then(|revision| revision.keep_until);
        if stage == AbortStage::Delay && keep.is_none_or(|until| until <= self.now) {
            return self.enter(Self::back_phase(yields, AbortStage::Shrink));
        }
        let _ = self.rest();
        let exists = self.world.revision(&target).is_some();
        let intended = self.state.revisions.get(&target).is_some_and(|revision| revision.desired > 0);
        if stage == AbortStage::Shrink && !exists && !intended && !self.disturbed {
            return self.is_back(yields);
        }
        Flow::Enough
    }

    /// Nothing of the rollout is left. The aborted state is kept; a newer release that waited takes its place.
    fn is_back(&mut self, yields: bool) -> Flow {
        self.state.clock = ProgressClock::default();
        if !yields {
            return self.enter(Phase::Aborted);
        }
        let Some(next) = self.state.next.take() else { return self.enter(Phase::Aborted) };
        self.events.push(Event::Started { rollout: next.rollout.clone(), attempt: next.attempt });
        super::commands::begin(&mut self.state, *next, self.now);
        Flow::Again
    }

    /// Stuck: it serves what it serves, and goes on as soon as something moves.
    pub(super) fn stalled(&mut self, back: bool, step: usize) -> Flow {
        if back {
            let yields = self.state.next.is_some();
            return match self.back_goal() {
                None => self.resume(Self::back_phase(yields, AbortStage::Shrink)),
                Some(goal) => match self.round(&goal) {
                    Move::AwaitReady | Move::AwaitConfirm | Move::Held => Flow::Enough,
                    _ => {
                        let phase = Self::back_phase(yields, AbortStage::RestoreCapacity);
                        self.state.clock = ProgressClock::default();
                        self.state.phase = phase;
                        Flow::Enough
                    }
                },
            };
        }
        let goal = self.stalled_goal(step);
        match goal {
            Some(goal) => {
                let _ = self.round(&goal);
            }
            None => {
                let _ = self.keep_stable();
            }
        }
        Flow::Enough
    }

    fn stalled_goal(&self, step: usize) -> Option<Goal> {
        let (target, stable) = (self.target()?, self.stable());
        if self.is_run() || stable.as_ref() == Some(&target) || !self.state.revisions.contains_key(&target) {
            return None;
        }
        let plan = self.plan()?;
        let n = self.count();
        let mut goal = Goal::new(plan, n, Some(target.clone()), stable);
        let intended = self.state.revisions.get(&target).map_or(0, |revision| revision.desired);
        let reach = plan.step(step).map_or(n, |step| step.reach.of(n));
        goal.gain_target = reach.min(intended);
        goal.lose_target = n - goal.gain_target.min(n);
        goal.advance = false;
        self.number(&mut goal);
        Some(goal)
    }

    /// Goes on, with a fresh clock.
    pub(super) fn resume(&mut self, phase: Phase) -> Flow {
        self.state.clock = ProgressClock::default();
        self.enter(phase)
    }

    /// What a stalled rollout goes on with.
    pub(super) fn resumed_step(step: usize) -> Phase {
        Phase::Step { index: step, stage: Stage::Scale }
    }
}
