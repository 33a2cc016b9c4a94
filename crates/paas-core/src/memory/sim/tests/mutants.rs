//! Machines with one guard taken away. Each must be caught, and by the predicate that is there for it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::*;
use crate::release::{Act, Hold, Phase, Token};

type Next = fn(&TrackState, &World, Timestamp) -> Decision;
type Apply = fn(&TrackState, &Command, Timestamp) -> Result<(TrackState, Vec<Event>), Refused>;

/// A machine that is wrong in one way.
struct Mutant {
    next: Next,
    apply: Apply,
}

impl Subject for Mutant {
    fn next(&self, state: &TrackState, world: &World, now: Timestamp) -> Decision {
        (self.next)(state, world, now)
    }

    fn apply(
        &self,
        state: &TrackState,
        command: &Command,
        now: Timestamp,
    ) -> Result<(TrackState, Vec<Event>), Refused> {
        (self.apply)(state, command, now)
    }
}

fn right(state: &TrackState, world: &World, now: Timestamp) -> Decision {
    crate::release::next(state, world, now)
}

fn obey(state: &TrackState, command: &Command, now: Timestamp) -> Result<(TrackState, Vec<Event>), Refused> {
    state.apply(command, now)
}

/// The invariants that catch this machine first, over several seeds.
fn caught(next: Next, apply: Apply) -> BTreeSet<Invariant> {
    let subject = Arc::new(Mutant { next, apply });
    let runs = (0..6).map(|run| {
        Simulation::new(1 + run * 10_000).with_histories(2_000).with_subject(subject.clone()).run()
    });
    runs.filter_map(|report| report.failure).map(|failure| failure.violation.invariant).collect()
}

#[track_caller]
fn must_be_caught(next: Next, apply: Apply, by: &[Invariant]) {
    let found = caught(next, apply);
    assert!(by.iter().any(|invariant| found.contains(invariant)), "caught by {found:?}, and not by {by:?}");
}

#[test]
fn deciding_on_a_view_before_the_own_write_is_caught() {
    let next: Next = |state, world, now| {
        let stale = World { observed_at: Token(u64::MAX), ..world.clone() };
        right(state, &stale, now)
    };
    must_be_caught(next, obey, &[Invariant::FreshView]);
}

#[test]
fn taking_started_for_ready_is_caught() {
    let next: Next = |state, world, now| {
        let mut hopeful = world.clone();
        for view in hopeful.revisions.values_mut() {
            view.ready_since.resize(view.total as usize, Timestamp::UNIX_EPOCH);
        }
        right(state, &hopeful, now)
    };
    must_be_caught(
        next,
        obey,
        &[Invariant::ShareNeedsReady, Invariant::ReadyFloor, Invariant::ShareFitsCapacity],
    );
}

#[test]
fn shrinking_before_the_router_confirmed_is_caught() {
    let next: Next = |state, world, now| {
        let mut hopeful = world.clone();
        hopeful.routes.confirmed.clone_from(&hopeful.routes.written);
        right(state, &hopeful, now)
    };
    must_be_caught(next, obey, &[Invariant::ShiftBeforeShrink, Invariant::NoNamedShrink]);
}

#[test]
fn lowering_by_one_too_many_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        for act in &mut decision.acts {
            if let Act::Scale { revision, count, .. } = act
                && world.revision(revision).is_some_and(|view| view.desired > *count)
                && decision.state.phase.is_forward()
            {
                *count = count.saturating_sub(1);
                let lowered = *count;
                if let Some(intended) = decision.state.revisions.get_mut(revision) {
                    intended.desired = lowered;
                }
            }
        }
        decision
    };
    must_be_caught(
        next,
        obey,
        &[Invariant::ReadyFloor, Invariant::ShiftBeforeShrink, Invariant::NoNamedShrink],
    );
}

#[test]
fn two_disturbances_at_once_are_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        let disturbs = decision.acts.iter().any(|act| matches!(act, Act::Shift { .. }));
        if disturbs && let Some((id, view)) = world.revisions.iter().find(|(_, view)| view.desired > 1) {
            decision.acts.push(Act::Scale { revision: id.clone(), count: view.desired - 1, first: 0 });
        }
        decision
    };
    must_be_caught(next, obey, &[Invariant::OneDisturbance]);
}

#[test]
fn a_weight_lost_in_rounding_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        for act in &mut decision.acts {
            if let Act::Shift { weights } = act
                && let Some(share) = weights.shares.values_mut().find(|share| **share > 0)
            {
                *share -= 1;
            }
        }
        decision
    };
    must_be_caught(next, obey, &[Invariant::WeightsWhole]);
}

#[test]
fn leaving_a_zero_out_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        for act in &mut decision.acts {
            if let Act::Shift { weights } = act {
                weights.shares.retain(|_, share| *share > 0);
            }
        }
        decision
    };
    must_be_caught(next, obey, &[Invariant::ExplicitZero]);
}

#[test]
fn advancing_through_a_hold_is_caught() {
    let next: Next = |state, world, now| {
        let free = TrackState { holds: BTreeSet::new(), ..state.clone() };
        let mut decision = right(&free, world, now);
        if decision.state.phase.is_forward() {
            decision.state.holds.extend(state.holds.iter().cloned());
        }
        decision
    };
    must_be_caught(next, obey, &[Invariant::HoldsStopAdvancing]);
}

#[test]
fn a_deadline_that_runs_during_holds_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        let late = state.rollout.as_ref().is_some_and(|rollout| {
            state.phase.is_forward() && now > rollout.plan.progress_deadline.after(rollout.started_at)
        });
        if late && !state.holds.is_empty() && decision.state.phase.is_forward() {
            let reason = crate::release::AbortReason::Deadline(Vec::new());
            if let Ok((aborted, events)) = state.apply(&Command::Abort { reason }, now) {
                decision = Decision { state: aborted, acts: Vec::new(), wake_at: None, events };
            }
        }
        decision
    };
    must_be_caught(next, obey, &[Invariant::DeadlineOwed]);
}

#[test]
fn writing_when_converged_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        if decision.acts.is_empty()
            && state.phase == Phase::Succeeded
            && let Some(weights) = &world.routes.written
        {
            decision.acts.push(Act::Shift { weights: weights.clone() });
        }
        decision
    };
    must_be_caught(next, obey, &[Invariant::ConvergedIsQuiet, Invariant::Converges]);
}

#[test]
fn going_on_after_an_abort_is_caught() {
    let next: Next = |state, world, now| {
        if state.phase == Phase::Aborted
            && let Ok((again, events)) = state.apply(&Command::Retry, now)
        {
            return Decision { state: again, acts: Vec::new(), wake_at: None, events };
        }
        right(state, world, now)
    };
    must_be_caught(next, obey, &[Invariant::TerminalSticky]);
}

#[test]
fn committing_without_saying_so_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        decision.events.retain(|event| !matches!(event, Event::Committed { .. }));
        decision
    };
    must_be_caught(next, obey, &[Invariant::Baseline]);
}

#[test]
fn a_refusal_that_nobody_is_told_of_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        decision.state.holds.retain(|hold| !matches!(hold, Hold::Quota(_)));
        decision
    };
    must_be_caught(next, obey, &[Invariant::RefusalIsHold]);
}

#[test]
fn removing_what_a_route_still_names_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        let named = decision.acts.iter().position(|act| {
            matches!(act, Act::Shift { weights }
                if world.routes.written.as_ref().is_some_and(|written| written.shares.len() > weights.shares.len()))
        });
        if let Some(index) = named
            && let Some(id) =
                world.revisions.keys().find(|id| Some(*id) != state.stable.as_ref().map(|it| &it.revision))
        {
            decision.acts[index] = Act::Remove { revision: id.clone() };
        }
        decision
    };
    must_be_caught(next, obey, &[Invariant::NoNamedShrink]);
}

#[test]
fn keeping_the_routes_when_leaving_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        for act in &mut decision.acts {
            if let Act::Unroute { snapshot } = act {
                *snapshot = None;
            }
        }
        decision
    };
    must_be_caught(next, obey, &[Invariant::Restored]);
}

#[test]
fn an_abort_of_nothing_that_does_something_is_caught() {
    let apply: Apply = |state, command, now| match command {
        Command::Abort { .. } if state.phase == Phase::Succeeded => {
            let mut wrong = state.clone();
            wrong.count = 0;
            Ok((wrong, Vec::new()))
        }
        other => state.apply(other, now),
    };
    must_be_caught(right, apply, &[Invariant::AbortIdempotent]);
}

#[test]
fn a_scale_event_that_ends_a_rollout_is_caught() {
    let apply: Apply = |state, command, now| {
        let (mut after, events) = state.apply(command, now)?;
        if matches!(command, Command::Scale { .. }) && state.phase.is_forward() {
            after.phase = Phase::Succeeded;
        }
        Ok((after, events))
    };
    must_be_caught(right, apply, &[Invariant::ScaleChangesCounts]);
}

#[test]
fn an_abort_that_never_ends_is_caught() {
    let next: Next = |state, world, now| {
        let mut decision = right(state, world, now);
        if decision.state.phase == Phase::Aborted && state.phase.is_back() {
            decision.state.phase = state.phase;
        }
        decision
    };
    must_be_caught(next, obey, &[Invariant::Converges, Invariant::ConvergedIsQuiet]);
}
