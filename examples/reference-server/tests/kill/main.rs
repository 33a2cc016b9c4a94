//! The server is killed before and after every write to its store and every mutation of its backends, in a deploy, a
//! release, a rollback and a delete: with its real store, key file, containers and gateway.
//!
//! This program is the server, too, with somebody beside it who kills it at a point that was agreed on; therefore it has a
//! `main` of its own. The test is a client of it, as a user's would be: it sends its request again, under the same key,
//! when the server is back. Nothing else is done about the kill, and the end must be that of an undisturbed run.

#![allow(clippy::unwrap_used)] // tests

mod client;
mod end;
mod killer;
mod machine;
mod plan;
mod point;
mod process;
mod run;
mod serve;
mod story;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    paas_local::helper_main();
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, directory, journal] = &words[..]
        && word == serve::WORD
    {
        return serve::main(directory.as_ref(), journal.as_ref());
    }
    let arguments = Arguments::from_args();
    let root = rustix::process::geteuid().is_root();
    let trial = Trial::test("a_server_killed_at_any_point_of_a_story_ends_the_same", run::every_point);
    libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(!root)]).exit_code()
}
