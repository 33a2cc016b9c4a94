//! What follows the end of an instance, by the restart policy of its template.

use super::super::ok;
use super::{Case, EPOCH, RuntimeFixture, Workload};
use crate::error::ErrorKind;
use crate::model::{RestartPolicy, Template};
use crate::port::{InstancePhase, SetObservation, SetSpec};

/// How often the instance that is started again has to be, until the others count as left alone.
const STARTS: u32 = 2;

/// With the policy `always` an instance is started again however it ended.
pub async fn with_the_policy_always_every_end_is_followed_by_a_start(fixture: &dyn RuntimeFixture) {
    for (code, name) in [(0, "always-success"), (3, "always-failure")] {
        let case = Case::new(fixture, name);
        if let Some(spec) = ensure(&case, RestartPolicy::Always, code).await {
            let set = until_started_again(&case, &spec).await;
            assert_eq!(code_of(&set), Some(code));
            case.clean().await;
        }
    }
}

/// With the policy `on_failure` an instance is started again if it failed, and stays as it is after a success.
pub async fn with_the_policy_on_failure_only_a_failure_is_followed_by_a_start(fixture: &dyn RuntimeFixture) {
    let failing = Case::new(fixture, "on-failure-failure");
    let succeeding = Case::new(fixture, "on-failure-success");
    let Some(success) = ensure(&succeeding, RestartPolicy::OnFailure, 0).await else { return };
    until_exited(&succeeding, &success, 0).await;
    // The one that is started again measures the time: what was to be started beside it would have been.
    if let Some(failure) = ensure(&failing, RestartPolicy::OnFailure, 3).await {
        let set = until_started_again(&failing, &failure).await;
        assert_eq!(code_of(&set), Some(3));
    }
    assert_left_alone(&succeeding, &success).await;
    failing.clean().await;
    succeeding.clean().await;
}

/// With the policy `never` an instance stays ended, whether it succeeded or failed.
pub async fn with_the_policy_never_no_end_is_followed_by_a_start(fixture: &dyn RuntimeFixture) {
    let (good, bad) = (Case::new(fixture, "never-success"), Case::new(fixture, "never-failure"));
    let measure = Case::new(fixture, "never-measure");
    let Some(success) = ensure(&good, RestartPolicy::Never, 0).await else { return };
    let Some(failure) = ensure(&bad, RestartPolicy::Never, 3).await else { return };
    let ended = until_exited(&good, &success, 0).await;
    assert_eq!(ended.instances[0].failure, None, "a success is no failure");
    let ended = until_exited(&bad, &failure, 3).await;
    let told = ended.instances[0].failure.as_ref().expect("an instance that failed and stays so says why");
    assert!(told.message.contains('3'), "the message names the exit code: {told:?}");
    if let Some(again) = ensure(&measure, RestartPolicy::Always, 3).await {
        until_started_again(&measure, &again).await;
    }
    assert_left_alone(&good, &success).await;
    assert_left_alone(&bad, &failure).await;
    for case in [good, bad, measure] {
        case.clean().await;
    }
}

/// Makes a set of one instance that ends with a code; nothing where its policy is refused, which is checked instead.
async fn ensure(case: &Case<'_>, restart: RestartPolicy, code: i32) -> Option<SetSpec> {
    let mut spec = case.spec("r1", Workload::Ends(code), 1).await;
    spec.template = Template { restart, ..spec.template };
    let answer = case.runtime.ensure(EPOCH, &spec).await;
    if case.fixture.restart_policies().contains(&restart) {
        ok(answer);
        let refusals = case.runtime.refusals(&spec.template);
        assert_eq!(refusals, Vec::new(), "what is not refused has no refusals");
        return Some(spec);
    }
    let error = answer.expect_err("a restart policy that the backend lacks is refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.report());
    assert!(
        error.faults().iter().any(|fault| fault.path == "restart"),
        "it names the field: {}",
        error.report()
    );
    let refusals = case.runtime.refusals(&spec.template);
    assert!(refusals.iter().any(|fault| fault.path == "restart"), "it is refused before, too: {refusals:?}");
    assert_eq!(case.set("r1").await, None, "nothing was made");
    None
}

fn code_of(set: &SetObservation) -> Option<i32> {
    set.instances.first().and_then(|instance| instance.last_exit.as_ref()).and_then(|exit| exit.code)
}

async fn until_started_again(case: &Case<'_>, spec: &SetSpec) -> SetObservation {
    let name = spec.key.revision.as_str();
    case.until("starts after its ends", name, |set| set.instances.iter().any(|it| it.restarts >= STARTS))
        .await
}

async fn until_exited(case: &Case<'_>, spec: &SetSpec, code: i32) -> SetObservation {
    let exited = |set: &SetObservation| {
        set.instances.len() == 1
            && set.instances[0].phase == InstancePhase::Exited
            && code_of(set) == Some(code)
    };
    case.until("an instance that has ended and stays so", spec.key.revision.as_str(), exited).await
}

async fn assert_left_alone(case: &Case<'_>, spec: &SetSpec) {
    let set = case.set(spec.key.revision.as_str()).await.expect("the set stays until it is removed");
    let phases: Vec<_> = set.instances.iter().map(|it| (it.phase, it.restarts)).collect();
    assert_eq!(phases, [(InstancePhase::Exited, 0)], "{set:#?}");
    assert_eq!(set.desired, 1, "an instance that has ended still counts");
}
