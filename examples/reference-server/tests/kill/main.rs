//! The server is killed before and after every write to its store and every mutation of its backends, in a deploy, a
//! release, a scaling, a rollback and a delete: with its real store and key file, on the containers and the gateway of one
//! machine, and on a Kubernetes cluster: the API server in memory behind a proxy, or a real one when `PAAS_KILL_CLUSTER` asks
//! for it.
//!
//! Two more things are done to it: its cluster is broken in every way that an API server can be (`faults`), and it is paused past
//! its lease while another server takes over (`fencing`). And once nothing at all is done to it (`idle`).
//!
//! This program is the server, too, with somebody beside it who kills it at a point that was agreed on; therefore it has a
//! `main` of its own. The test is a client of it, as a user's would be: it sends its request again, under the same key,
//! when the server is back. Nothing else is done about the kill, and the end must be that of an undisturbed run.

#![allow(clippy::unwrap_used)] // tests

#[path = "../../../../crates/paas-local/tests/support/user.rs"]
mod user;

mod account;
mod client;
mod end;
mod faults;
mod fencing;
mod gate;
mod idle;
mod killer;
mod plan;
mod point;
mod process;
mod run;
mod serve;
mod story;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use run::Kills;
use world::Place;

/// At how many points of each story the server of an ordinary user is killed. What it writes is what root's writes; what differs
/// is how containers are made and found again.
const ORDINARY: usize = 5;

fn main() -> ExitCode {
    paas_local::helper_main();
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, directory, journal, backend] = &words[..]
        && word == serve::WORD
    {
        return serve::main(directory.as_ref(), journal.as_ref(), backend);
    }
    let mut arguments = Arguments::from_args();
    // Each has servers enough for the whole machine: what counts time would count that of the others.
    arguments.test_threads = Some(1);
    let root = rustix::process::geteuid().is_root();
    let trial = |name: &str, kills: Kills| Trial::test(name, move || run::points(kills));
    let every = |place: Place| Kills { place, ordinary: false, bound: None };
    let mut trials = vec![
        trial("a_server_killed_at_any_point_of_a_story_ends_the_same", every(Place::Machine))
            .with_ignored_flag(!root),
        trial(
            "an_ordinary_users_server_killed_at_points_of_a_story_ends_the_same",
            Kills { place: Place::Machine, ordinary: true, bound: Some(ORDINARY) },
        ),
        trial("a_server_killed_at_any_point_on_kubernetes_ends_the_same", every(Place::Fake)),
    ];
    if let Ok(asked) = std::env::var(world::CLUSTER_VARIABLE) {
        let kills = Kills { place: Place::Cluster, ordinary: false, bound: asked.parse().ok() };
        trials.push(trial("a_server_killed_at_any_point_on_a_real_cluster_ends_the_same", kills));
    }
    trials.push(idle::trial());
    trials.extend(faults::trials());
    trials.extend(fencing::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
