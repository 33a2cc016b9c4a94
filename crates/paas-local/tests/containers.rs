//! Real containers on this machine, as root and as an ordinary user.
//!
//! This program is the embedding program of the runtime at the same time: the runtime starts it again as its helpers. So
//! it has a `main` of its own, and each test is run by name. As root every test runs twice, the second time in a process
//! of an ordinary user (`paas-test`, made if it is missing, with subordinate ids); as an ordinary user, once.

mod containers {
    pub(crate) mod basics;
    pub(crate) mod failures;
    pub(crate) mod isolation;
    pub(crate) mod machine;
    pub(crate) mod network;
    pub(crate) mod recovery;
}

mod support;

use std::process::ExitCode;

use containers::{basics, failures, isolation, machine, network, recovery};
use libtest_mimic::{Arguments, Trial};
use support::ordinary_user;

fn main() -> ExitCode {
    paas_local::helper_main();
    let arguments = Arguments::from_args();
    let mut cases = Vec::new();
    cases.extend(basics::cases());
    cases.extend(failures::cases());
    cases.extend(isolation::cases());
    cases.extend(network::cases());
    cases.extend(recovery::cases());

    let root = rustix::process::geteuid().is_root();
    let mut trials = Vec::new();
    for case in cases {
        if root {
            trials.push(Trial::test(format!("root::{}", case.name), move || machine::run(case)));
            trials.push(Trial::test(format!("user::{}", case.name), move || {
                ordinary_user::run_again(case.name)
            }));
        } else {
            trials.push(Trial::test(format!("user::{}", case.name), move || machine::run(case)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
