//! What every implementation of a port must do: one test per sentence of its contract.
//!
//! A backend implements the suite's fixture (how to make an instance that is ready, one that crashes, …) and lists the
//! tests with the suite's macro; each runs on a fixture of its own:
//!
//! ```text
//! paas_core::runtime_conformance!(#[tokio::test] => MyFixture::new().await);
//! ```
//!
//! Programs with a `main` of their own get the tests as a list instead, with `paas_core::runtime_conformance!(list)`:
//! see [`Promise`].
//!
//! The fixture states the capabilities that the backend must have; a backend that claims less fails. A test for a
//! capability that is not required and not claimed checks that it is refused as unsupported instead.

// The suites are tests: they fail by panicking, with a message that says what was promised.
#![allow(clippy::unused_async)] // a promise that needs no waiting is a test like the others

pub mod admission;
pub mod authorizer;
pub mod exec;
pub mod key_ring;
pub mod logs;
pub mod registry;
pub mod router;
pub mod runtime;
pub mod store;
pub mod surroundings;

use std::fmt::Debug;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use tokio::time::{Instant, sleep};

use crate::error::{ErrorKind, Result};
use crate::model::RevisionId;
use crate::name::{AppEnv, ClusterName, ComponentKey, TrackKey};

/// One promise of a suite, for programs that run their tests themselves.
///
/// ```text
/// let promises: Vec<Promise<dyn RuntimeFixture>> = paas_core::runtime_conformance!(list);
/// ```
#[derive(Debug)]
pub struct Promise<F: ?Sized> {
    /// The promise, as the name of a test.
    pub name: &'static str,
    /// Panics, with what was promised, if the fixture's backend does not keep it.
    pub check: for<'a> fn(&'a F) -> LocalBoxFuture<'a, ()>,
}

impl<F: ?Sized> Clone for Promise<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: ?Sized> Copy for Promise<F> {}

/// What the macros of the suites make of their promises: with `#[attribute] => fixture` a test function for each, with
/// `list` a vector of [`Promise`]s.
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
    (@each $suite:ident, $attributes:tt, $fixture:expr, $($name:ident),*) => {
        $($crate::conformance_tests! { @one $suite, $attributes, $fixture, $name })*
    };
    ($suite:ident, [list], $($name:ident),* $(,)?) => {
        vec![$($crate::conformance::Promise {
            name: stringify!($name),
            check: |fixture| Box::pin($crate::conformance::$suite::$name(fixture)),
        }),*]
    };
    ($suite:ident, [$(#[$attribute:meta])* => $fixture:expr], $($name:ident),* $(,)?) => {
        $crate::conformance_tests! { @each $suite, [$(#[$attribute])*], $fixture, $($name),* }
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
