//! The conformance suites on a real cluster.
//!
//! The cluster is the one that `paas-cluster-harness` finds or brings up. Whoever asks for these tests wants them to run: where
//! there is none, or it has no Gateway, they fail and say what is missing.

#![allow(clippy::unwrap_used)] // tests may panic

mod backend;
#[path = "../support/contract.rs"]
mod contract;
mod fixture;
mod least_privilege;
mod on_contract;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use paas_core::conformance::Promise;
use paas_core::conformance::exec::ExecFixture;
use paas_core::conformance::logs::LogsFixture;
use paas_core::conformance::router::RouterFixture;
use paas_core::conformance::runtime::RuntimeFixture;
use paas_core::conformance::surroundings::SurroundingsFixture;

use fixture::{Fixture, Place};

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(4), ..Arguments::from_args() };
    let runtime: Vec<Promise<dyn RuntimeFixture>> = paas_core::runtime_conformance!(list);
    let router: Vec<Promise<dyn RouterFixture>> = paas_core::router_conformance!(list);
    let logs: Vec<Promise<dyn LogsFixture>> = paas_core::logs_conformance!(list);
    let exec: Vec<Promise<dyn ExecFixture>> = paas_core::exec_conformance!(list);
    let surroundings: Vec<Promise<dyn SurroundingsFixture>> = paas_core::surroundings_conformance!(list);
    let mut trials = Vec::new();
    for promise in runtime {
        trials.push(trial("runtime", promise.name, move |it| (promise.check)(it)));
    }
    for promise in router {
        trials.push(trial("router", promise.name, move |it| (promise.check)(it)));
    }
    for promise in logs {
        trials.push(trial("logs", promise.name, move |it| (promise.check)(it)));
    }
    for promise in exec {
        trials.push(trial("exec", promise.name, move |it| (promise.check)(it)));
    }
    for promise in surroundings {
        trials.push(trial("surroundings", promise.name, move |it| (promise.check)(it)));
    }
    trials.extend(backend::trials());
    trials.extend(least_privilege::trials());
    trials.extend(on_contract::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

type Check<'a> = futures::future::LocalBoxFuture<'a, ()>;

fn trial(
    suite: &str,
    name: &str,
    check: impl for<'a> Fn(&'a Fixture) -> Check<'a> + Send + 'static,
) -> Trial {
    let run = move || {
        let place = Place::get()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let fixture = runtime.block_on(Fixture::new(place));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async { tokio::time::timeout(Duration::from_mins(5), check(&fixture)).await })
        }));
        runtime.block_on(fixture.close());
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failed::from("it took longer than five minutes")),
            Err(panic) => Err(match panic.downcast::<String>() {
                Ok(text) => Failed::from(*text),
                Err(other) => Failed::from(*other.downcast::<&str>().unwrap_or(Box::new("it panicked"))),
            }),
        }
    };
    Trial::test(format!("{suite}::{name}"), run)
}
