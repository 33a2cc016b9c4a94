//! The release machine in simulation, and machines that ought to be caught.

mod found;
mod mutants;
mod ordered;
mod sequences;

use super::*;

/// As many as a run in continuous integration walks through.
const HISTORIES: u64 = 50_000;

#[test]
fn the_release_machine_keeps_every_invariant() {
    let simulation = Simulation::new(1).with_histories(HISTORIES).from_env();
    let report = simulation.run();
    println!("seed {}: {report}", simulation.seed);
    assert!(report.failure.is_none(), "{report}");
    if report.histories >= HISTORIES {
        assert!(report.median_actions >= 30, "a history is too short: {}", report.median_actions);
        assert_eq!(report.coverage.empty_cells(), [], "nothing went wrong here, though it could have");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = || Simulation::new(11).with_histories(300).run();
    let (first, second) = (run(), run());
    assert_eq!(first.coverage, second.coverage);
    assert_eq!(first.median_actions, second.median_actions);
}
