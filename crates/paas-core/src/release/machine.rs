//! The track machine: from the stored state, a view of the world and the time to the next decision.
//!
//! Every decision starts from what is observed. An intended raise that the view does not show is asked for again; an
//! intended reduction or shift that it does not show is *reconsidered*, because the world may have changed since, so a
//! crash between storing and acting never carries out yesterday's reduction. At most one act of a decision can disturb,
//! and the next one waits until the view shows it.

mod acts;
mod back;
mod clock;
mod commands;
mod forward;
mod leave;
mod ordinals;
mod round;
mod run;
mod steady;
mod view;

use jiff::Timestamp;

use super::decision::{Act, Decision, Event};
use super::phase::{AbortStage, Phase};
use super::plan::{Mode, Plan};
use super::state::{AbortReason, Hold, TrackState};
use super::world::World;
use crate::model::RevisionId;

/// Decides what comes next for one track.
///
/// Level-triggered: it never asks why it was called, and called again with the same arguments it answers the same. On a
/// track that has converged it answers an equal state and no act. A view older than the track's own last write is not
/// decided upon: the answer is the same state, and no act.
#[must_use = "a decision does nothing until it is stored and carried out"]
pub fn next(state: &TrackState, world: &World, now: Timestamp) -> Decision {
    let unchanged = || Decision { state: state.clone(), acts: Vec::new(), wake_at: None, events: Vec::new() };
    if world.observed_at < state.written || state.phase == Phase::Detached {
        return unchanged();
    }
    let mut machine = Machine::new(state.clone(), world, now);
    machine.seen_again();
    machine.absorb();
    machine.expire_holds();
    machine.tick();
    machine.drive();
    machine.arm();
    machine.retry_refused();
    machine.finish(state)
}

/// One decision in the making.
struct Machine<'w> {
    state: TrackState,
    world: &'w World,
    now: Timestamp,
    wake_at: Option<Timestamp>,
    events: Vec<Event>,
    /// Acts that are no difference of counts or weights.
    extra: Vec<Act>,
    /// Refused raises that are tried again now.
    retries: Vec<RevisionId>,
    /// Whether a step that had arrived lacks instances or traffic again.
    behind: bool,
    /// Whether this decision disturbs already.
    disturbed: bool,
}

/// Whether the phase that was entered can be worked on at once, or the decision is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Again,
    Enough,
}

impl<'w> Machine<'w> {
    fn new(state: TrackState, world: &'w World, now: Timestamp) -> Self {
        Self {
            state,
            world,
            now,
            wake_at: None,
            events: Vec::new(),
            extra: Vec::new(),
            retries: Vec::new(),
            behind: false,
            disturbed: false,
        }
    }

    /// The cluster can be seen. What time passed while it could not is nobody's fault: the clock starts anew.
    fn seen_again(&mut self) {
        if self.state.away.take().is_some() {
            self.state.clock = super::state::ProgressClock::default();
        }
    }

    /// Works on the phase, and on those it leads to without an act. A phase is never entered twice in one decision,
    /// so the bound is never met by a plan that is valid; it keeps a broken one from spinning.
    fn drive(&mut self) {
        let steps = self.state.rollout.as_ref().map_or(0, |rollout| rollout.plan.steps.len());
        for _ in 0..steps.saturating_mul(3).saturating_add(16) {
            if self.work() == Flow::Enough {
                return;
            }
        }
    }

    fn work(&mut self) -> Flow {
        match self.state.phase {
            Phase::Idle | Phase::Succeeded | Phase::Aborted => self.rest(),
            Phase::Preparing => self.prepare(),
            Phase::Step { index, stage } => self.step(index, stage),
            Phase::Promoting => self.promote(),
            Phase::Draining => self.drain(),
            Phase::Aborting(stage) => self.go_back(stage, false),
            Phase::Yielding(stage) => self.go_back(stage, true),
            Phase::Stalled { back, step } => self.stalled(back, step),
            Phase::Detaching => self.detach(),
            Phase::Detached => Flow::Enough,
        }
    }

    /// Enters a phase, to be worked on at once.
    fn enter(&mut self, phase: Phase) -> Flow {
        self.state.phase = phase;
        Flow::Again
    }

    /// The effective count of instances.
    fn count(&self) -> u32 {
        self.state.effective_count()
    }

    fn is_held(&self) -> bool {
        !self.state.holds.is_empty()
    }

    fn plan(&self) -> Option<&Plan> {
        self.state.rollout.as_ref().map(|rollout| &rollout.plan)
    }

    fn has_traffic(&self) -> bool {
        self.plan().is_some_and(|plan| plan.traffic)
    }

    fn total_weight(&self) -> u32 {
        self.plan().map_or(super::numbers::DEFAULT_TOTAL_WEIGHT, |plan| plan.total_weight)
    }

    fn is_run(&self) -> bool {
        self.plan().is_some_and(|plan| plan.mode == Mode::Run)
    }

    fn wake(&mut self, at: Timestamp) {
        if at > self.now {
            self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
        }
    }

    fn hold(&mut self, hold: Hold) {
        if self.state.holds.insert(hold.clone()) {
            self.events.push(Event::Held(hold));
        }
    }

    fn expire_holds(&mut self) {
        let now = self.now;
        let (over, stay): (Vec<Hold>, Vec<Hold>) = std::mem::take(&mut self.state.holds)
            .into_iter()
            .partition(|hold| matches!(hold, Hold::StepPause(until) if *until <= now));
        self.state.holds = stay.into_iter().collect();
        self.events.extend(over.into_iter().map(Event::Released));
        let pauses: Vec<Timestamp> = self
            .state
            .holds
            .iter()
            .filter_map(|hold| if let Hold::StepPause(until) = hold { Some(*until) } else { None })
            .collect();
        for until in pauses {
            self.wake(until);
        }
    }

    /// Turns back, for this reason.
    fn abort(&mut self, reason: AbortReason) -> Flow {
        begin_abort(&mut self.state, &mut self.events, reason);
        self.absorb_revisions();
        Flow::Again
    }

    fn finish(self, before: &TrackState) -> Decision {
        let acts = self.acts();
        let mut events = self.events;
        if self.state.phase != before.phase {
            events.push(Event::Entered(self.state.phase));
        }
        Decision { state: self.state, acts, wake_at: self.wake_at, events }
    }
}

/// Puts a rollout that has not committed on its way back. The holds end: they stop advancing only.
fn begin_abort(state: &mut TrackState, events: &mut Vec<Event>, reason: AbortReason) {
    if let Some(rollout) = &mut state.rollout {
        rollout.aborted = Some(reason.clone());
        rollout.ready = false;
    }
    state.holds.clear();
    state.clock = super::state::ProgressClock::default();
    state.phase = Phase::Aborting(AbortStage::RestoreCapacity);
    events.push(Event::Aborting(reason));
}

#[cfg(test)]
mod tests;
