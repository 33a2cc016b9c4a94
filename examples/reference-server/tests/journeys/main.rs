//! Whole journeys against the real binary with real containers: what a user does, seen from outside.
//!
//! Each starts a server of its own in a directory of its own and leaves nothing behind. As root every journey runs twice:
//! with a server of root, and with one of an ordinary user (`paas-test`, made if it is missing, with subordinate ids); as
//! an ordinary user, once. So it has a `main` of its own, and each journey is run by name.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on fails")]

#[path = "../../../../crates/paas-local/tests/support/slow_registry.rs"]
mod slow_registry;
#[path = "../../../../crates/paas-local/tests/support/user.rs"]
mod user;

#[path = "../support/application.rs"]
mod application;
mod client;
#[path = "../support/journey.rs"]
mod journey;
#[path = "../support/leftovers.rs"]
mod leftovers;
#[path = "../support/load.rs"]
mod load;
#[path = "../support/marks.rs"]
mod marks;
#[path = "../support/outcome.rs"]
mod outcome;
#[path = "../support/platform.rs"]
#[allow(dead_code, reason = "the journeys on clusters use the rest")]
mod platform;
#[path = "../support/sample.rs"]
#[allow(dead_code, reason = "the journeys on clusters use the rest")]
mod sample;
#[path = "../support/specification.rs"]
mod specification;
mod terminal;
#[path = "../support/turn.rs"]
mod turn;
#[path = "../support/wait.rs"]
mod wait;

mod bad_versions;
mod command_line;
mod commands;
mod continuity;
mod disk;
mod existing;
mod faults;
mod interface;
mod jobs;
mod life;
mod limits;
mod memory;
mod reboot;
mod releases;
mod scheduled;
mod secrets;
mod settings;
mod sources;
mod stateful;
mod traffic;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use journey::{Journey, Who};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // What is measured would wait for what others do: see `turn`.
    arguments.test_threads.get_or_insert(2);
    let groups: [(&str, Vec<Journey>); 20] = [
        ("sources", sources::journeys()),
        ("existing", existing::journeys()),
        ("life", life::journeys()),
        ("commands", commands::journeys()),
        ("releases", releases::journeys()),
        ("jobs", jobs::journeys()),
        ("scheduled", scheduled::journeys()),
        ("stateful", stateful::journeys()),
        ("bad_versions", bad_versions::journeys()),
        ("faults", faults::journeys()),
        ("memory", memory::journeys()),
        ("limits", limits::journeys()),
        ("traffic", traffic::journeys()),
        ("disk", disk::journeys()),
        ("reboot", reboot::journeys()),
        ("secrets", secrets::journeys()),
        ("settings", settings::journeys()),
        ("interface", interface::journeys()),
        ("command_line", command_line::journeys()),
        ("continuity", continuity::journeys()),
    ];
    let root = rustix::process::geteuid().is_root();
    if root && let Err(error) = journey::keep_mounts_private() {
        eprintln!("error: failed to keep the mounts of the journeys apart: {error}");
        return ExitCode::FAILURE;
    }
    let mut trials = Vec::new();
    for (group, journeys) in groups {
        for journey in journeys {
            for who in Who::ALL.into_iter().filter(|who| journey.is_for(*who)) {
                let name = format!("{who}::{group}::{}", journey.name);
                // What needs root is not left out without a word where there is none.
                let ignored = journey.ignored || (journey.needs_root(who) && !root);
                trials.push(
                    Trial::test(name, move || {
                        (journey.run)(who);
                        Ok(())
                    })
                    .with_ignored_flag(ignored),
                );
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
