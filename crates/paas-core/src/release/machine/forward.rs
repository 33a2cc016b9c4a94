//! Forward: preparing, the steps, the commit, and what is left after it.

use super::round::{Goal, Move};
use super::{Flow, Machine};
use crate::release::decision::{Act, Event};
use crate::release::phase::{Phase, Stage};
use crate::release::plan::{Mode, StepHold};
use crate::release::state::{AbortReason, CommitMode, Hold, ProgressClock};
use crate::release::world::Verdict;

impl Machine<'_> {
    pub(super) fn prepare(&mut self) -> Flow {
        if self.is_held() {
            return self.keep_stable();
        }
        let Some(rollout) = &self.state.rollout else { return self.enter(Phase::Idle) };
        let last = rollout.plan.steps.len().checked_sub(1);
        let is_run = rollout.plan.mode == Mode::Run;
        let Some(last) = last else { return self.enter(Phase::Promoting) };
        let Some(target) = self.target() else { return self.enter(Phase::Promoting) };
        if is_run {
            return self.enter(Phase::Step { index: 0, stage: Stage::Scale });
        }
        if self.stable().as_ref() == Some(&target) {
            return self.enter(Phase::Promoting);
        }
        if self.has_ordinals_left(&target) {
            self.prune(&[target]);
            return Flow::Enough;
        }
        self.adopt(&target);
        // With nothing to replace there is nothing to do gradually.
        let index = if self.state.stable.is_none() { last } else { 0 };
        self.enter(Phase::Step { index, stage: Stage::Scale })
    }

    /// The goal of a step for today's count. A hold freezes it where it is, except that a step which had arrived
    /// follows the scale.
    fn step_goal(&self, index: usize, settled: bool) -> Option<Goal> {
        let plan = self.plan()?;
        let step = plan.step(index)?;
        let n = self.count();
        let advance = settled || !self.is_held();
        let mut goal = Goal::new(plan, n, self.target(), self.stable());
        goal.advance = advance;
        goal.gain_target = if goal.lose.is_some() { step.reach.of(n) } else { n };
        if !advance {
            let intended = |id| self.state.revisions.get(id).map_or(0, |revision| revision.desired);
            goal.gain_target = goal.gain_target.min(goal.gain.as_ref().map_or(0, intended));
        }
        goal.lose_target = n - goal.gain_target.min(n);
        goal.leave_rest = index + 1 == plan.steps.len();
        self.number(&mut goal);
        Some(goal)
    }

    pub(super) fn step(&mut self, index: usize, stage: Stage) -> Flow {
        if self.is_run() {
            return self.await_run(index);
        }
        let settled = stage.is_settled();
        let Some(goal) = self.step_goal(index, settled) else { return self.enter(Phase::Promoting) };
        let made = self.round(&goal);
        if made == Move::Done {
            return if settled { self.settled(index, stage) } else { self.arrived(index) };
        }
        self.behind = settled;
        if !settled {
            let stage = match made {
                Move::Raised => Stage::Scale,
                Move::AwaitReady => Stage::Ready,
                Move::Shifted => Stage::Shift,
                Move::AwaitConfirm => Stage::Confirm,
                Move::Lowered => Stage::Shrink,
                Move::Held | Move::Done => stage,
            };
            self.state.phase = Phase::Step { index, stage };
        }
        Flow::Enough
    }

    /// Instances and traffic of a step have arrived.
    fn arrived(&mut self, index: usize) -> Flow {
        if self.is_held() {
            return Flow::Enough;
        }
        let bakes = self.plan().and_then(|plan| plan.step(index)).is_some_and(|step| step.bake.is_some());
        if bakes { self.enter(Phase::Step { index, stage: Stage::Bake }) } else { self.enter_hold(index) }
    }

    fn settled(&mut self, index: usize, stage: Stage) -> Flow {
        if stage == Stage::Bake {
            return self.bake(index);
        }
        if self.is_held() {
            return Flow::Enough;
        }
        let steps = self.plan().map_or(0, |plan| plan.steps.len());
        if index + 1 < steps {
            return self.enter(Phase::Step { index: index + 1, stage: Stage::Scale });
        }
        self.enter(Phase::Promoting)
    }

    /// Only a completed pass on this very revision, in this attempt, advances.
    fn bake(&mut self, index: usize) -> Flow {
        let (Some(key), Some(revision)) = (self.state.step_key(index), self.target()) else {
            return Flow::Enough;
        };
        let judge = self.plan().and_then(|plan| plan.step(index)).and_then(|step| step.bake.clone());
        let Some(judge) = judge else { return self.enter_hold(index) };
        match self.world.verdict(&key) {
            None => self.extra.push(Act::Judge { revision, key, judge: judge.judge }),
            Some(Verdict::Pending) => {}
            Some(Verdict::Inconclusive) => self.hold(Hold::Inconclusive),
            Some(Verdict::Fail(why)) => return self.abort(AbortReason::Bake(why.clone())),
            Some(Verdict::Pass) if self.is_held() => {}
            Some(Verdict::Pass) => return self.enter_hold(index),
        }
        Flow::Enough
    }

    /// Begins to wait for what the step says; a step that changed nothing at today's count is not waited for.
    fn enter_hold(&mut self, index: usize) -> Flow {
        let n = self.count();
        let plan = self.plan();
        let reach = |index: usize| plan.and_then(|plan| plan.step(index)).map(|step| step.reach.of(n));
        let before = index.checked_sub(1).and_then(reach).unwrap_or(0);
        let hold = plan.and_then(|plan| plan.step(index)).and_then(|step| step.hold.clone());
        let moved = reach(index).is_some_and(|reached| reached > before);
        match hold {
            Some(StepHold::Pause(pause)) if moved => {
                let until = pause.after(self.now);
                self.hold(Hold::StepPause(until));
                self.wake(until);
            }
            Some(StepHold::Approval(name)) => self.hold(Hold::Approval(name)),
            _ => {}
        }
        self.enter(Phase::Step { index, stage: Stage::Hold })
    }

    pub(super) fn promote(&mut self) -> Flow {
        let Some(rollout) = &self.state.rollout else { return self.enter(Phase::Idle) };
        let lockstep = rollout.commit;
        if lockstep == (CommitMode::Lockstep { granted: true }) {
            return self.commit();
        }
        let last = rollout.plan.steps.len().checked_sub(1);
        let same = self.stable() == self.target();
        let exchanges = !self.is_run() && !same && self.target().is_some();
        let arrived = match last {
            Some(last) if exchanges => {
                let goal = self.step_goal(last, true);
                goal.is_none_or(|goal| self.round(&goal) == Move::Done)
            }
            _ => {
                let _ = self.keep_stable();
                true
            }
        };
        let ready = arrived && !self.is_held() && lockstep != CommitMode::Independent;
        if let Some(rollout) = &mut self.state.rollout {
            rollout.ready = ready;
        }
        if arrived && !self.is_held() && lockstep == CommitMode::Independent {
            return self.commit();
        }
        Flow::Enough
    }

    /// The one write: stable becomes the new version. It happens when this decision's state is stored.
    fn commit(&mut self) -> Flow {
        let Some(rollout) = &mut self.state.rollout else { return self.enter(Phase::Idle) };
        rollout.committed = true;
        rollout.ready = false;
        let event = Event::Committed {
            rollout: rollout.id.clone(),
            to: rollout.to.clone(),
            from: self.state.stable.clone(),
        };
        let warm = rollout.plan.warm_window;
        let target = rollout.to.clone();
        let count = rollout.count_on_commit;
        let old = self.stable().filter(|old| Some(old) != target.as_ref().map(|version| &version.revision));
        if let Some(old) = old
            && warm.0 > 0
            && target.is_some()
            && let Some(revision) = self.state.revisions.get_mut(&old)
        {
            revision.keep_until = Some(warm.after(self.now));
        }
        self.state.stable = target;
        self.state.holds.clear();
        self.state.clock = ProgressClock::default();
        self.events.push(event);
        if let Some(recorded) = count {
            self.follow_record(recorded);
        }
        self.enter(Phase::Draining)
    }

    /// The recorded count takes effect with the commit, but never below what the load demands now.
    fn follow_record(&mut self, recorded: u32) {
        let count = recorded.max(self.world.demanded.unwrap_or(0));
        if count != self.state.count && self.state.count_owner == crate::release::state::CountOwner::Engine {
            self.events.push(Event::Scaled { from: self.state.count, to: count });
            self.state.count = count;
        }
    }

    pub(super) fn drain(&mut self) -> Flow {
        let flow = self.rest();
        let stable = self.stable();
        let alone = self.state.revisions.keys().all(|id| Some(id) == stable.as_ref());
        if alone && !self.disturbed {
            self.state.phase = Phase::Succeeded;
        }
        flow
    }
}
