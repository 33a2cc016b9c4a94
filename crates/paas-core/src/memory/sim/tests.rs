//! The release machine in simulation, and machines that ought to be caught.

use super::*;

#[test]
fn the_release_machine_keeps_every_invariant() {
    let report = Simulation::new(1).with_histories(50_000).from_env().run();
    println!("{report}");
    assert!(report.failure.is_none(), "{report}");
}

#[test]
#[ignore]
fn explore() {
    let mut seed = 1;
    for _ in 0..400 {
        let report = Simulation::new(seed).with_histories(3000).run();
        match report.failure {
            Some(failure) => {
                seed = failure.seed + 1;
                println!("{failure}");
            }
            None => seed += 3000,
        }
        if seed > 30000 { break }
    }
}
