//! Histories that once violated an invariant, kept as their actions: a seed says nothing to a later generator.

use super::super::cluster::Quality;
use super::super::history::History;
use super::super::op::{Op, Trouble};
use super::super::*;

/// What was violated, the kind of component, and the history.
fn found() -> Vec<(&'static str, Kind, Vec<Op>)> {
    vec![("a held rollback left its target due to be deleted", Kind::Service, held_rollback())]
}

#[test]
fn what_was_found_once_stays_mended() {
    for (fault, kind, ops) in found() {
        let simulation = Simulation::new(0);
        let violation = History::run(&simulation.setting(kind), &ops).violation;
        assert!(violation.is_none(), "{fault}: {}", violation.map_or_else(String::new, |it| it.to_string()));
    }
}

fn held_rollback() -> Vec<Op> {
    let reconcile = || Op::Reconcile { who: 0, lag: 0, trouble: Trouble::None };
    vec![
        Op::Deploy { quality: Quality::Good(20), strategy: 3, supersede: false, lockstep: false },
        Op::Kill { nth: 2, restart: 50 },
        reconcile(),
        Op::Advance(5000),
        reconcile(),
        Op::Advance(1),
        reconcile(),
        Op::Advance(1000),
        Op::Reconcile { who: 0, lag: 0, trouble: Trouble::LostWrite },
        Op::Advance(20),
        Op::Retry,
        reconcile(),
        Op::Advance(20),
        reconcile(),
        reconcile(),
        Op::Advance(1000),
        reconcile(),
        Op::Advance(20),
        reconcile(),
        Op::Advance(20),
        reconcile(),
        Op::Deploy { quality: Quality::Good(0), strategy: 20, supersede: true, lockstep: false },
        reconcile(),
        Op::Advance(1000),
        Op::Reconcile { who: 0, lag: 3, trouble: Trouble::Paused(2) },
        Op::Verdict(0),
        reconcile(),
        Op::Advance(20),
        reconcile(),
        Op::Advance(20),
        Op::Reconcile { who: 1, lag: 0, trouble: Trouble::None },
        reconcile(),
        Op::Advance(1000),
        reconcile(),
        Op::Advance(20),
        Op::Reconcile { who: 0, lag: 1, trouble: Trouble::None },
        reconcile(),
        Op::Advance(1000),
        reconcile(),
        Op::Advance(5000),
        reconcile(),
        Op::Advance(1),
        reconcile(),
        Op::Advance(300_000),
        Op::Advance(100),
        Op::Reconcile { who: 0, lag: 0, trouble: Trouble::Killed(1) },
        reconcile(),
        Op::Advance(5000),
        reconcile(),
        Op::Advance(1000),
        Op::Reconcile { who: 1, lag: 0, trouble: Trouble::LostAnswer },
        reconcile(),
        Op::Advance(1),
        reconcile(),
        Op::Advance(5000),
        reconcile(),
        Op::Advance(1),
        Op::Reconcile { who: 1, lag: 3, trouble: Trouble::Paused(2) },
        Op::Kill { nth: 2, restart: 50 },
        Op::Advance(5000),
        Op::Rollback { back: 1 },
        Op::Advance(31000),
        Op::Advance(601_000),
        Op::Pause,
        Op::Advance(20),
        Op::Reconcile { who: 0, lag: 0, trouble: Trouble::LostAnswer },
        Op::Scale(5),
        Op::Rollback { back: 0 },
        Op::Advance(5000),
        reconcile(),
        Op::Advance(1),
        reconcile(),
        Op::Advance(1000),
        reconcile(),
        Op::Online,
        Op::Advance(31000),
        Op::Resume,
    ]
}
