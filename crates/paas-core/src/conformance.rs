//! What every implementation of a port must do: one test per sentence of its contract.
//!
//! A backend implements the suite's fixture (how to make an instance that is ready, one that crashes, …) and lists the
//! tests with the suite's macro; each runs on a fixture of its own:
//!
//! ```text
//! paas_core::runtime_conformance!(#[tokio::test] => MyFixture::new().await);
//! ```
//!
//! The fixture states the capabilities that the backend must have; a backend that claims less fails. A test for a
//! capability that is not required and not claimed checks that it is refused as unsupported instead.

// The suites are tests: they fail by panicking, with a message that says what was promised.
#![allow(clippy::unused_async)] // a promise that needs no waiting is a test like the others

pub mod authorizer;
pub mod exec;
pub mod key_ring;
pub mod logs;
pub mod registry;
pub mod router;
pub mod runtime;
pub mod store;

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::{ErrorKind, Result};
use crate::model::RevisionId;
use crate::name::{AppEnv, ClusterName, ComponentKey, TrackKey};

/// Defines one test function per test of a suite; used by the macros of the suites.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    (@one $suite:ident, [$(#[$attribute:meta])*], $fixture:expr, $name:ident) => {
        $(#[$attribute])*
        async fn $name() {
            let fixture = $fixture;
            $crate::conformance::$suite::$name(&fixture).await;
        }
    };
    ($suite:ident, $attributes:tt, $fixture:expr, $($name:ident),* $(,)?) => {
        $($crate::conformance_tests! { @one $suite, $attributes, $fixture, $name })*
    };
}

/// The application that the tests of a suite use; `name` is its own per test, so that tests do not meet.
pub fn app(name: &str) -> AppEnv {
    AppEnv {
        org: "conformance".parse().expect("the name is valid"),
        env: "test".parse().expect("the name is valid"),
        app: name.parse().expect("tests choose valid names"),
    }
}

fn component(name: &str) -> ComponentKey {
    app(name).component("web".parse().expect("the name is valid"))
}

fn track(name: &str, cluster: ClusterName) -> TrackKey {
    component(name).on(cluster)
}

fn revision(name: &str) -> RevisionId {
    RevisionId::new(name).expect("tests choose valid names")
}

/// Asks until the answer is there or patience ends; then fails with what was waited for and what was seen last.
async fn eventually<T, S: Debug>(
    what: &str,
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let end = Instant::now() + patience;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) => {
                assert!(Instant::now() < end, "waited {patience:?} for: {what}; last seen: {seen:#?}");
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
}

#[track_caller]
fn expect_kind<T: Debug>(answer: Result<T>, kind: ErrorKind, promise: &str) {
    match answer {
        Ok(answer) => panic!("{promise}: expected {kind}, but it succeeded with {answer:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{promise}: {}", error.report()),
    }
}

#[track_caller]
fn ok<T>(answer: Result<T>) -> T {
    answer.unwrap_or_else(|error| panic!("{}", error.report()))
}
