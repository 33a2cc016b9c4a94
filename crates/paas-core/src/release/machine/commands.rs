//! Commands: pure functions on the state.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::begin_abort;
use crate::release::command::{Command, Refused, StartRollout};
use crate::release::decision::Event;
use crate::release::phase::{AbortStage, Phase, Stage};
use crate::release::state::{AbortReason, CommitMode, Detach, Hold, ProgressClock, TrackRollout, TrackState};

/// Puts a rollout in place, at its beginning. A retry, a rollback and a release all start here, clean.
pub(super) fn begin(state: &mut TrackState, start: StartRollout, now: Timestamp) {
    state.rollout = Some(TrackRollout {
        id: start.rollout,
        attempt: start.attempt,
        from: state.stable.clone(),
        to: start.to,
        plan: start.plan,
        commit: start.commit,
        count_on_commit: start.count_on_commit,
        ready: false,
        committed: false,
        aborted: None,
        actor: start.actor,
        reason: start.reason,
        started_at: now,
    });
    if let Some(target) = state.rollout.as_ref().and_then(|rollout| rollout.target().cloned())
        && let Some(revision) = state.revisions.get_mut(&target)
    {
        // A version that comes back is wanted from now on, even while something holds the rollout.
        revision.keep_until = None;
    }
    state.next = None;
    state.holds = start.holds;
    state.clock = ProgressClock::default();
    state.phase = Phase::Preparing;
}

impl TrackState {
    /// Applies a command: the new state, which may equal this one, and what happened. Acts follow from
    /// [`next`](crate::release::next).
    ///
    /// # Errors
    /// [`Refused`], and nothing has changed.
    pub fn apply(&self, command: &Command, now: Timestamp) -> Result<(Self, Vec<Event>), Refused> {
        let mut state = self.clone();
        let mut events = Vec::new();
        if self.phase.is_leaving() && !matches!(command, Command::Detach { .. }) {
            return Err(Refused::Detaching);
        }
        match command {
            Command::Start(start) => state.start(start, now, &mut events)?,
            Command::Supersede(start) => state.supersede(start, now, &mut events)?,
            Command::Scale { count } => state.scale(*count, &mut events),
            Command::Abort { reason } => state.abort(reason, &mut events)?,
            Command::Pause => state.put_hold(Hold::UserPause, &mut events)?,
            Command::Resume => state.resume(&mut events),
            Command::Approve { name } => state.lift(&Hold::Approval(name.clone()), &mut events),
            Command::Hold { hold } => state.put_hold(hold.clone(), &mut events)?,
            Command::Satisfied { component } => state.lift(&Hold::Dependency(component.clone()), &mut events),
            Command::Lift { hold } => state.lift(hold, &mut events),
            Command::Retry => state.retry(now, &mut events)?,
            Command::GrantCommit { rollout } => state.grant(rollout),
            Command::Offline => state.stop(&mut events),
            Command::Online => state.restart(&mut events),
            Command::Detach { mode } => state.leave(*mode, &mut events),
        }
        if state != *self {
            state.generation += 1;
        }
        Ok((state, events))
    }

    fn is_this(&self, start: &StartRollout) -> bool {
        let started = self
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.id == start.rollout && rollout.attempt == start.attempt);
        let waits = self
            .next
            .as_ref()
            .is_some_and(|next| next.rollout == start.rollout && next.attempt == start.attempt);
        started || waits
    }

    fn start(
        &mut self,
        start: &StartRollout,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Result<(), Refused> {
        start.plan.validate()?;
        if self.is_this(start) {
            return Ok(());
        }
        if self.phase.is_at_rest() {
            events.push(Event::Started { rollout: start.rollout.clone(), attempt: start.attempt });
            begin(self, start.clone(), now);
            return Ok(());
        }
        let returns = start.to.is_some()
            && start.to.as_ref().map(|to| &to.revision)
                == self.stable.as_ref().map(|stable| &stable.revision);
        if returns && self.next.is_none() {
            self.give_way(AbortReason::Returned, start, events);
            return Ok(());
        }
        Err(self.under_way())
    }

    fn under_way(&self) -> Refused {
        match &self.rollout {
            Some(rollout) => Refused::UnderWay { rollout: rollout.id.clone(), phase: self.phase },
            None => Refused::NothingUnderWay,
        }
    }

    /// The rollout under way goes back; `next` starts when it is back.
    fn give_way(&mut self, reason: AbortReason, next: &StartRollout, events: &mut Vec<Event>) {
        if self.phase.is_forward() {
            begin_abort(self, events, reason);
        }
        // What was already on its way back goes on from where it is, without being kept for an inquiry.
        let stage = if let Phase::Aborting(stage) | Phase::Yielding(stage) = self.phase {
            stage
        } else {
            AbortStage::RestoreCapacity
        };
        let stage = if stage == AbortStage::Delay { AbortStage::Shrink } else { stage };
        if let Some(target) = self.rollout.as_ref().and_then(|rollout| rollout.target().cloned())
            && let Some(revision) = self.revisions.get_mut(&target)
        {
            revision.keep_until = None;
        }
        self.phase = Phase::Yielding(stage);
        self.clock = ProgressClock::default();
        self.next = Some(Box::new(next.clone()));
    }

    fn supersede(
        &mut self,
        start: &StartRollout,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Result<(), Refused> {
        start.plan.validate()?;
        if self.is_this(start) {
            return Ok(());
        }
        if self.phase.is_at_rest() {
            return self.start(start, now, events);
        }
        let target = self.rollout.as_ref().and_then(|rollout| rollout.target());
        let same = target.is_some() && target == start.to.as_ref().map(|to| &to.revision);
        if same && self.phase.is_forward() {
            // The same instances, under a newer release: nothing has to be given back first.
            events.push(Event::Started { rollout: start.rollout.clone(), attempt: start.attempt });
            begin(self, start.clone(), now);
            return Ok(());
        }
        self.give_way(AbortReason::Superseded(start.rollout.clone()), start, events);
        Ok(())
    }

    fn scale(&mut self, count: u32, events: &mut Vec<Event>) {
        if count == self.count {
            return;
        }
        let before = self.effective_count();
        events.push(Event::Scaled { from: self.count, to: count });
        self.count = count;
        self.count_changed(before, events);
    }

    /// More or fewer instances are a new task for the clock, and none at all are no proof of a version.
    fn count_changed(&mut self, before: u32, events: &mut Vec<Event>) {
        let now = self.effective_count();
        if before == now {
            return;
        }
        self.clock = ProgressClock::default();
        if now == 0 && self.phase.is_forward() && self.phase != Phase::Preparing {
            if self.holds.insert(Hold::NothingRuns) {
                events.push(Event::Held(Hold::NothingRuns));
            }
        } else if now > 0 {
            self.lift(&Hold::NothingRuns, events);
        }
    }

    fn abort(&mut self, reason: &AbortReason, events: &mut Vec<Event>) -> Result<(), Refused> {
        let yields =
            matches!(self.phase, Phase::Yielding(_)) || (self.phase.is_back() && self.next.is_some());
        if yields {
            // What waited its turn is given up; what yields is on its way back already.
            self.next = None;
            if let Phase::Yielding(stage) = self.phase {
                self.phase = Phase::Aborting(stage);
                self.clock = ProgressClock::default();
            }
            return Ok(());
        }
        if self.phase == Phase::Draining
            && let Some(rollout) = self.rollout.as_ref().filter(|rollout| rollout.committed)
        {
            return Err(Refused::Committed { rollout: rollout.id.clone(), to: rollout.from.clone() });
        }
        let granted = self
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.commit == CommitMode::Lockstep { granted: true });
        if self.phase.is_forward() && granted {
            let rollout = self.rollout.as_ref().map(|rollout| (rollout.id.clone(), rollout.from.clone()));
            if let Some((rollout, to)) = rollout {
                return Err(Refused::Committed { rollout, to });
            }
        }
        if self.phase.is_forward() {
            begin_abort(self, events, reason.clone());
        }
        Ok(())
    }

    fn put_hold(&mut self, hold: Hold, events: &mut Vec<Event>) -> Result<(), Refused> {
        if !self.phase.is_forward() {
            return Err(Refused::NothingUnderWay);
        }
        if self.holds.insert(hold.clone()) {
            events.push(Event::Held(hold));
        }
        Ok(())
    }

    fn lift(&mut self, hold: &Hold, events: &mut Vec<Event>) {
        if self.holds.remove(hold) {
            events.push(Event::Released(hold.clone()));
        }
    }

    fn resume(&mut self, events: &mut Vec<Event>) {
        if let Phase::Stalled { back: false, step } = self.phase {
            self.phase = Phase::Step { index: step, stage: Stage::Scale };
            self.clock = ProgressClock::default();
        }
        if let (Phase::Step { index, stage: Stage::Bake }, true) =
            (self.phase, self.holds.contains(&Hold::Inconclusive))
        {
            // The user takes the missing verdict on themselves.
            self.phase = Phase::Step { index, stage: Stage::Hold };
        }
        let lifted: BTreeSet<Hold> = self
            .holds
            .iter()
            .filter(|hold| matches!(hold, Hold::UserPause | Hold::StepPause(_) | Hold::Inconclusive))
            .cloned()
            .collect();
        for hold in lifted {
            self.lift(&hold, events);
        }
    }

    fn retry(&mut self, now: Timestamp, events: &mut Vec<Event>) -> Result<(), Refused> {
        if !self.phase.is_at_rest() && !self.phase.is_back() {
            return Err(self.under_way());
        }
        let Some(rollout) =
            self.rollout.as_ref().filter(|rollout| self.phase == Phase::Aborted && rollout.aborted.is_some())
        else {
            return Err(Refused::NothingToRetry);
        };
        let start = StartRollout {
            rollout: rollout.id.clone(),
            attempt: rollout.attempt + 1,
            to: rollout.to.clone(),
            plan: rollout.plan.clone(),
            commit: match rollout.commit {
                CommitMode::Independent => CommitMode::Independent,
                CommitMode::Lockstep { .. } => CommitMode::Lockstep { granted: false },
            },
            holds: BTreeSet::new(),
            count_on_commit: rollout.count_on_commit,
            actor: rollout.actor.clone(),
            reason: rollout.reason.clone(),
        };
        events.push(Event::Started { rollout: start.rollout.clone(), attempt: start.attempt });
        begin(self, start, now);
        Ok(())
    }

    fn grant(&mut self, id: &crate::release::id::RolloutId) {
        let forward = self.phase.is_forward();
        if let Some(rollout) = self.rollout.as_mut().filter(|rollout| rollout.id == *id && forward)
            && rollout.commit == (CommitMode::Lockstep { granted: false })
        {
            rollout.commit = CommitMode::Lockstep { granted: true };
        }
    }

    fn stop(&mut self, events: &mut Vec<Event>) {
        if self.offline {
            return;
        }
        let before = self.effective_count();
        self.offline = true;
        events.push(Event::Stopped);
        self.count_changed(before, events);
    }

    fn restart(&mut self, events: &mut Vec<Event>) {
        if !self.offline {
            return;
        }
        let before = self.effective_count();
        self.offline = false;
        events.push(Event::Restarted);
        self.count_changed(before, events);
    }

    fn leave(&mut self, mode: Detach, events: &mut Vec<Event>) {
        if self.phase == Phase::Detached
            || (self.phase == Phase::Detaching && self.detach == Some(Detach::Delete))
        {
            return;
        }
        if self.phase.is_forward()
            && let Some(rollout) = &mut self.rollout
        {
            rollout.aborted = Some(AbortReason::Detached);
            events.push(Event::Aborting(AbortReason::Detached));
        }
        self.detach = Some(mode);
        self.stable = None;
        self.next = None;
        self.holds.clear();
        self.clock = ProgressClock::default();
        for revision in self.revisions.values_mut() {
            revision.keep_until = None;
        }
        self.phase = Phase::Detaching;
    }
}
