//! The promises of [`Admission`].

use std::sync::Arc;

use async_trait::async_trait;

use super::{app, ok};
use crate::error::{ErrorKind, Result};
use crate::model::AppSpec;
use crate::name::AppEnv;
use crate::port::{Admission, AdmissionRequest};

/// What somebody wants to store.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Who.
    pub actor: String,
    /// Where.
    pub at: AppEnv,
    /// What.
    pub spec: AppSpec,
}

impl Submission {
    /// The submission of a user to an application of the suite.
    pub fn new(spec: AppSpec) -> Self {
        Self { actor: "user:conformance".to_owned(), at: app("admission"), spec }
    }
}

/// A specification that must be refused.
#[derive(Debug, Clone)]
pub struct Refused {
    /// What is refused.
    pub submission: Submission,
    /// The path of each field that breaks a rule, with the rule's name, in order; empty if the request is denied as a whole.
    pub faults: Vec<(String, String)>,
}

/// An admission under test.
#[async_trait]
pub trait AdmissionFixture: Send + Sync {
    /// The admission.
    fn admission(&self) -> Arc<dyn Admission>;

    /// What it admits, at least one: as they are or amended.
    fn admitted(&self) -> Vec<Submission>;

    /// What it amends, each with what it makes of it; empty if it amends nothing.
    fn amended(&self) -> Vec<(Submission, AppSpec)>;

    /// What it refuses, at least one; one that breaks several rules at once should be among them.
    fn refused(&self) -> Vec<Refused>;

    /// Makes the rules unreadable, if that is possible; returns whether it was.
    async fn break_down(&self) -> bool;
}

/// Defines a test for each promise of [`Admission`](crate::port::Admission): attributes of the tests, then an expression for the
/// fixture.
#[macro_export]
macro_rules! admission_conformance {
    ($($form:tt)*) => {
        $crate::conformance_tests! { admission, [$($form)*],
            what_keeps_the_rules_is_admitted,
            what_is_amended_is_what_the_rules_say,
            amending_is_idempotent,
            a_refusal_names_every_path_and_rule,
            a_denial_gives_a_reason,
            the_same_request_has_the_same_answer,
            a_failure_to_find_out_is_an_error,
        }
    };
}

async fn admit(fixture: &dyn AdmissionFixture, submission: &Submission) -> Result<AppSpec> {
    let request = AdmissionRequest { actor: &submission.actor, at: &submission.at };
    fixture.admission().admit(&request, submission.spec.clone()).await
}

/// What breaks no rule is admitted.
pub async fn what_keeps_the_rules_is_admitted(fixture: &dyn AdmissionFixture) {
    let all = fixture.admitted();
    assert!(!all.is_empty(), "the fixture names nothing that is admitted");
    for submission in all {
        ok(admit(fixture, &submission).await);
    }
}

/// Amending makes what the rules say of a specification, and nothing else.
pub async fn what_is_amended_is_what_the_rules_say(fixture: &dyn AdmissionFixture) {
    for (submission, expected) in fixture.amended() {
        assert_ne!(submission.spec, expected, "the fixture says that it is amended");
        assert_eq!(ok(admit(fixture, &submission).await), expected);
    }
}

/// Admitting what was admitted changes nothing.
pub async fn amending_is_idempotent(fixture: &dyn AdmissionFixture) {
    let amended = fixture.amended().into_iter().map(|(submission, _)| submission);
    for submission in fixture.admitted().into_iter().chain(amended) {
        let once = ok(admit(fixture, &submission).await);
        let again = Submission { spec: once.clone(), ..submission };
        assert_eq!(ok(admit(fixture, &again).await), once);
    }
}

/// A refusal by rules is `Invalid`; every fault names the path of the field and the rule.
pub async fn a_refusal_names_every_path_and_rule(fixture: &dyn AdmissionFixture) {
    let all = fixture.refused();
    assert!(!all.is_empty(), "the fixture names nothing that is refused");
    for Refused { submission, faults: expected } in all {
        if expected.is_empty() {
            continue;
        }
        let error = admit(fixture, &submission).await.expect_err("it breaks rules");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.report());
        let paths: Vec<&str> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
        let wanted: Vec<&str> = expected.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, wanted, "every fault has its path: {}", error.report());
        for (fault, (_, rule)) in error.faults().iter().zip(&expected) {
            assert!(fault.message.contains(rule), "{fault} does not name the rule {rule}");
        }
    }
}

/// What is denied as a whole is `Denied`, with a reason.
pub async fn a_denial_gives_a_reason(fixture: &dyn AdmissionFixture) {
    for Refused { submission, faults } in fixture.refused() {
        if !faults.is_empty() {
            continue;
        }
        let error = admit(fixture, &submission).await.expect_err("it is denied");
        assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
        let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(!reason.trim().is_empty(), "it gives no reason: {}", error.report());
    }
}

/// The same request has the same answer: asking changes nothing.
pub async fn the_same_request_has_the_same_answer(fixture: &dyn AdmissionFixture) {
    let amended = fixture.amended().into_iter().map(|(submission, _)| submission);
    let refused = fixture.refused().into_iter().map(|refused| refused.submission);
    let all: Vec<Submission> = fixture.admitted().into_iter().chain(amended).chain(refused).collect();
    let told = |answer: Result<AppSpec>| answer.map_err(|error| (error.kind(), error.faults().to_vec()));
    let mut first = Vec::new();
    for submission in &all {
        first.push(told(admit(fixture, submission).await));
    }
    // In the opposite order, so that an answer that depends on what was asked before differs.
    for (submission, first) in all.iter().zip(first).rev() {
        assert_eq!(told(admit(fixture, submission).await), first, "{submission:?}");
    }
}

/// A failure to find out is an error that is no refusal, and never an admittance.
pub async fn a_failure_to_find_out_is_an_error(fixture: &dyn AdmissionFixture) {
    let submissions = fixture.admitted();
    if !fixture.break_down().await {
        return;
    }
    for submission in submissions {
        let error = admit(fixture, &submission).await.expect_err("rules that cannot be read admit nothing");
        let refusal = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Denied);
        assert!(!refusal, "nothing was refused: {}", error.report());
    }
}
