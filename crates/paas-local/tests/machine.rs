//! The machine as runtime, router, exec and logs: the conformance suites and its own promises, with real containers and a real
//! gateway, as root and as an ordinary user.
//!
//! As `containers.rs`, this program is the embedding program of the runtime at the same time, and has a `main` of its own.

#[allow(clippy::unused_self)] // fixtures answer as their traits ask
mod machine {
    pub(crate) mod behaviour;
    pub(crate) mod commands;
    pub(crate) mod conformance;
    pub(crate) mod fixture;
    pub(crate) mod image;
    pub(crate) mod interactive;
    pub(crate) mod owners;
    pub(crate) mod printed;
    pub(crate) mod probes;
    pub(crate) mod pulls;
    pub(crate) mod streams;
    pub(crate) mod survival;
}

#[path = "support/slow_registry.rs"]
mod slow_registry;
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use machine::fixture::Fixture;
use machine::{behaviour, commands, fixture, image, interactive, owners, printed, probes, pulls, survival};
use paas_core::conformance::Promise;
use support::ordinary_user;

fn main() -> ExitCode {
    paas_local::helper_main();
    if let Some(folder) = commands::folder_of_a_server() {
        commands::be_a_server(&folder);
    }
    let arguments = Arguments::from_args();
    let suites: [(&str, Vec<Promise<Fixture>>); 13] = [
        ("runtime", paas_core::runtime_conformance!(list)),
        ("router", paas_core::router_conformance!(list)),
        ("exec", paas_core::exec_conformance!(list)),
        ("logs", paas_core::logs_conformance!(list)),
        ("surroundings", paas_core::surroundings_conformance!(list)),
        ("behaviour", behaviour::promises()),
        ("commands", commands::promises()),
        ("probes", probes::promises()),
        ("pulls", pulls::promises()),
        ("printed", printed::promises()),
        ("interactive", interactive::promises()),
        ("owners", owners::promises()),
        ("survival", survival::promises()),
    ];
    let root = rustix::process::geteuid().is_root();
    let mut trials = Vec::new();
    for (suite, promises) in suites {
        for promise in promises {
            let name = format!("{suite}::{}", promise.name);
            if root {
                trials.push(Trial::test(format!("root::{name}"), move || fixture::run(promise)));
                trials.push(Trial::test(format!("user::{name}"), move || {
                    // An ordinary user may not write to the build directory.
                    image::of_the_tests();
                    ordinary_user::run_again(&name)
                }));
            } else {
                trials.push(Trial::test(format!("user::{name}"), move || fixture::run(promise)));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
