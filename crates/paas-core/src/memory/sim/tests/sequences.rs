//! Actions in any order and number, with any parameters: not only the histories that the generator thinks of. They are made up
//! and shortened by proptest.

use std::fmt::Write as _;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use super::super::cluster::Quality;
use super::super::history::History;
use super::super::op::{Op, STALLS, Trouble};
use super::super::*;
use crate::release::Phase;

/// The longest sequence. What nobody arranged gets somewhere only if there is enough of it.
const LONGEST: usize = 120;

fn quality() -> impl Generator<Value = Quality> {
    prop_oneof![
        4 => (0..30_000_u32).prop_map(Quality::Good),
        1 => Just(Quality::Never),
        1 => (1..60_000_u32).prop_map(Quality::Flapping),
    ]
}

fn trouble() -> impl Generator<Value = Trouble> {
    prop_oneof![
        6 => Just(Trouble::None),
        1 => (0..6_u32).prop_map(Trouble::Killed),
        1 => (0..6_u32).prop_map(Trouble::Paused),
        1 => Just(Trouble::LostWrite),
        1 => Just(Trouble::LostAnswer),
    ]
}

fn plan() -> impl Generator<Value = u32> {
    prop_oneof![8 => 0..64_u32, 1 => Just(STALLS)]
}

fn op() -> impl Generator<Value = Op> {
    let user = prop_oneof![
        4 => (quality(), plan(), any::<bool>(), any::<bool>()).prop_map(
            |(quality, strategy, supersede, lockstep)| Op::Deploy { quality, strategy, supersede, lockstep }
        ),
        2 => (plan(), any::<bool>(), any::<bool>())
            .prop_map(|(strategy, supersede, lockstep)| Op::Restart { strategy, supersede, lockstep }),
        2 => (0..6_u32).prop_map(|back| Op::Rollback { back }),
        1 => Just(Op::Withdraw),
        3 => (0..=40_u32).prop_map(Op::Scale),
        2 => Just(Op::Abort),
        1 => Just(Op::Retry),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        2 => Just(Op::Grant),
        1 => Just(Op::Offline),
        1 => Just(Op::Online),
    ];
    let world = prop_oneof![
        2 => (1..8_u32, 1..120_000_u32).prop_map(|(nth, restart)| Op::Kill { nth, restart }),
        1 => proptest::option::of(0..25_u32).prop_map(Op::Quota),
        1 => (0..60_000_u32).prop_map(Op::RouterLag),
        1 => (0..4_u32).prop_map(Op::Verdict),
        1 => Just(Op::Takeover),
    ];
    let reconcile =
        (0..2_usize, 0..8_u32, trouble()).prop_map(|(who, lag, trouble)| Op::Reconcile { who, lag, trouble });
    prop_oneof![
        20 => user,
        10 => world,
        // It ends the history: what comes after it is not looked at.
        1 => any::<bool>().prop_map(|release| Op::Detach { release }),
        30 => prop_oneof![3 => 1..2_000_u32, 1 => 1..700_000_u32].prop_map(Op::Advance),
        60 => prop_oneof![
            1 => reconcile,
            2 => Just(Op::Reconcile { who: 0, lag: 0, trouble: Trouble::None }),
        ],
    ]
}

fn sequence() -> impl Generator<Value = (usize, Vec<Op>)> {
    (0..Kind::ALL.len(), proptest::collection::vec(op(), 1..LONGEST))
}

fn configured(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

/// Runs sequences until one violates an invariant; then what was violated, and the shortest one found that still does.
fn first_violation(simulation: &Simulation, runner: &mut TestRunner) -> Option<(String, Vec<Op>)> {
    let settings: Vec<Setting<'_>> = Kind::ALL.into_iter().map(|kind| simulation.setting(kind)).collect();
    let found = runner.run(&sequence(), |(kind, ops)| match History::run(&settings[kind], &ops).violation {
        None => Ok(()),
        Some(violation) => Err(TestCaseError::fail(violation.to_string())),
    });
    match found {
        Ok(()) => None,
        Err(TestError::Fail(reason, (_, ops))) => Some((reason.message().to_owned(), ops)),
        Err(TestError::Abort(reason)) => panic!("nothing was tested: {reason}"),
    }
}

#[test]
fn any_sequence_of_actions_keeps_every_invariant() {
    let mut runner = TestRunner::new(configured(2_000));
    if let Some((violation, ops)) = first_violation(&Simulation::new(0), &mut runner) {
        let mut told = format!("{violation}; shortened, to be kept in `found`:\n");
        for op in ops {
            let _ = writeln!(told, "  Op::{op:?},");
        }
        panic!("{told}");
    }
}

/// A machine that goes on with a rollout while the router has not confirmed the share before.
struct Hasty;

impl Subject for Hasty {
    fn next(&self, state: &TrackState, world: &World, now: Timestamp) -> Decision {
        let mut hopeful = world.clone();
        if matches!(state.phase, Phase::Step { .. }) {
            hopeful.routes.confirmed.clone_from(&hopeful.routes.written);
        }
        crate::release::next(state, &hopeful, now)
    }
}

#[test]
fn a_wrong_machine_is_caught_by_a_short_sequence() {
    let simulation = Simulation::new(0).with_subject(Arc::new(Hasty));
    let seeded = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(configured(2_000), seeded);
    let (violation, ops) = first_violation(&simulation, &mut runner).expect("it is wrong");
    assert!(ops.len() <= 30, "{violation} is not shortened: {ops:#?}");
}
