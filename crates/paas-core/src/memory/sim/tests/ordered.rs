//! Tracks whose instances have ordinals.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::*;
use crate::release::{Act, PlanError};

/// Less than what the other plans get: the machine is the same, and has been walked through with those.
const HISTORIES: u64 = 20_000;

/// A strategy that always makes this plan, in the context that it is asked for.
#[derive(Debug)]
struct Made(fn(Plan) -> Plan, Ordered);

impl Strategy for Made {
    fn name(&self) -> &'static str {
        "made"
    }

    fn compile(&self, context: &StrategyContext) -> Result<Plan, PlanError> {
        let plan = (self.0)(self.1.compile(context)?);
        plan.validate()?;
        Ok(plan)
    }
}

fn batches(batches: &[&str]) -> Ordered {
    let batches = batches.iter().map(|batch| batch.parse().expect("an amount")).collect();
    Ordered { batches, pause: Seconds::ZERO }
}

fn judged(mut plan: Plan) -> Plan {
    let bake = Some(Bake { judge: "errors".to_owned() });
    for step in &mut plan.steps {
        step.bake.clone_from(&bake);
    }
    plan.steps[0].hold = Some(StepHold::Approval("go".to_owned()));
    plan
}

fn simulation(seed: u64) -> Simulation {
    let as_is: fn(Plan) -> Plan = |plan| plan;
    let plans: Vec<Made> = vec![
        Made(as_is, Ordered::default()),
        Made(as_is, batches(&["1"])),
        Made(as_is, Ordered { pause: Seconds(60), ..batches(&["1", "30%"]) }),
        Made(judged, batches(&["50%"])),
        Made(|plan| Plan { abort_on_deadline: false, min_ready: Seconds(3), ..plan }, Ordered::default()),
        Made(|plan| Plan { max_unavailable: Amount::Count(2), ..plan }, Ordered::default()),
        Made(
            |plan| Plan {
                mode: Mode::Exclusive,
                max_unavailable: Amount::Percent(crate::model::Percent::ALL),
                ..plan
            },
            Ordered::default(),
        ),
    ];
    plans.into_iter().fold(Simulation::new(seed), |simulation, plan| simulation.with_strategy(Arc::new(plan)))
}

#[test]
fn the_release_machine_keeps_every_invariant_of_ordinals() {
    let simulation = simulation(1).with_histories(HISTORIES).from_env();
    let report = simulation.run();
    println!("seed {}: {report}", simulation.seed);
    assert!(report.failure.is_none(), "{report}");
}

fn caught(next: fn(&TrackState, &World, Timestamp) -> Decision) -> BTreeSet<Invariant> {
    struct Wrong(fn(&TrackState, &World, Timestamp) -> Decision);
    impl Subject for Wrong {
        fn next(&self, state: &TrackState, world: &World, now: Timestamp) -> Decision {
            (self.0)(state, world, now)
        }
    }
    let subject = Arc::new(Wrong(next));
    let runs = (0..4)
        .map(|run| simulation(1 + run * 10_000).with_histories(1_000).with_subject(subject.clone()).run());
    runs.filter_map(|report| report.failure).map(|failure| failure.violation.invariant).collect()
}

fn change_first(decision: &mut Decision, change: impl Fn(u32, u32) -> u32) {
    for act in &mut decision.acts {
        if let Act::Ensure { count, first, .. } | Act::Scale { count, first, .. } = act {
            *first = change(*first, *count);
        }
    }
}

#[test]
fn counting_every_revision_from_zero_is_caught() {
    let found = caught(|state, world, now| {
        let mut decision = crate::release::next(state, world, now);
        change_first(&mut decision, |_, _| 0);
        decision
    });
    assert!(found.contains(&Invariant::OrdinalOnce), "{found:?}");
}

#[test]
fn moving_the_ordinals_with_the_scale_is_caught() {
    let found = caught(|state, world, now| {
        let mut decision = crate::release::next(state, world, now);
        let n = state.effective_count();
        let target = state.rollout.as_ref().and_then(|rollout| rollout.target()).cloned();
        for act in &mut decision.acts {
            if let Act::Scale { revision, count, first } = act
                && decision.state.phase.is_forward()
                && Some(&*revision) == target.as_ref()
            {
                *first = n.saturating_sub(*count).saturating_add(1);
            }
        }
        decision
    });
    assert!(!found.is_empty(), "an instance that serves may not go because the scale has changed");
}
