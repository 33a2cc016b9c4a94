//! Journeys with the real binary on real Kubernetes clusters: those that `paas-cluster-harness` finds or brings up.
//!
//! They are those of one machine where the promise is the same, so they share what `tests/journeys` is made of.

#![allow(clippy::unwrap_used, reason = "a journey that cannot go on fails")]
#![allow(dead_code, unused_macros, unused_imports, reason = "the other journeys use the rest")]

#[path = "../support/application.rs"]
mod application;
#[path = "../support/journey.rs"]
mod journey;
#[path = "../support/leftovers.rs"]
mod leftovers;
#[path = "../support/marks.rs"]
mod marks;
#[path = "../support/outcome.rs"]
mod outcome;
#[path = "../support/platform.rs"]
mod platform;
#[path = "../support/sample.rs"]
mod sample;
#[path = "../support/specification.rs"]
mod specification;
#[path = "../support/turn.rs"]
mod turn;
#[path = "../../../../crates/paas-local/tests/support/user.rs"]
mod user;
#[path = "../support/wait.rs"]
mod wait;

mod continuity;
mod existing;
mod inside;
mod life;
mod load;
mod partition;
mod place;
mod stateful;
mod volumes;
mod work;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Clusters and servers share the machine, and what is under load has all of it (`Turn`).
    arguments.test_threads = Some(2);
    let journeys: [(&str, fn()); 11] = [
        ("life::an_application_of_three_components_works_together", life::works_together),
        ("life::a_bad_version_holds_and_says_why", life::a_bad_version_holds),
        ("life::the_oldest_of_ten_releases_comes_back", life::the_oldest_of_ten_comes_back),
        ("work::a_scheduled_job_runs_by_its_schedule", work::runs_by_its_schedule),
        ("work::a_command_reads_its_input", work::a_command_reads_its_input),
        ("existing::objects_live_like_an_application", existing::objects_live_like_an_application),
        ("stateful::the_data_of_each_ordinal_survives", stateful::the_data_of_each_ordinal_survives),
        ("partition::one_of_two_clusters_is_away_during_a_release", partition::one_cluster_is_away),
        ("inside::one_server_comes_back_with_everything", inside::one_server),
        ("inside::one_of_several_servers_finishes_the_release", inside::several_servers),
        ("continuity::no_request_fails", continuity::no_request_fails),
    ];
    let trials = journeys.into_iter().map(|(name, journey)| {
        Trial::test(name, move || {
            place::find()?;
            journey();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
