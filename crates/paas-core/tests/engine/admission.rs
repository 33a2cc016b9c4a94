//! What the engine makes of an admission's answer, and of none.

use std::sync::Arc;
use std::time::Duration;

use paas_core::action::{Deploy, PageOptions, RequestOptions, RollbackTarget};
use paas_core::memory::{FaultAction, Faults, Intercepted, MemoryAdmission};
use paas_core::model::{AppSpec, Keep};
use paas_core::port::{Admission, Scope};
use paas_core::tenancy::{AuditRecord, AuditResult};
use paas_core::{Actor, ErrorKind};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Lab, at, one, spec};

/// A platform with rules about images, whose admission can be made to fail.
async fn lab() -> (Lab, Arc<MemoryAdmission>, Arc<Faults>) {
    let admission =
        Arc::new(MemoryAdmission::new().with_image_prefix("shop/").with_default_env("STAGE", "test"));
    let faults = Arc::new(Faults::new());
    let wrapped: Arc<dyn Admission> = admission.clone();
    let wrapped = Arc::new(Intercepted::new(wrapped, vec![faults.clone() as _]));
    let lab = Lab::with(|builder| builder.admission(wrapped)).await;
    lab.populate().await;
    (lab, admission, faults)
}

fn foreign() -> AppSpec {
    let mut foreign = spec();
    "elsewhere/api:1".clone_into(&mut foreign.components[1].image);
    foreign
}

/// Everything that is stored but the audit trail.
fn stored(lab: &Lab) -> Vec<String> {
    let documents = lab.store.dump().into_iter();
    documents
        .filter(|document| !document.key.kind.starts_with("audit"))
        .map(|document| format!("{} {} {}", document.key, document.modified, document.body))
        .collect()
}

async fn trail(lab: &Lab) -> Vec<AuditRecord> {
    lab.session.audit(Scope::AppEnv(at()), PageOptions::default()).await.unwrap().items
}

#[tokio::test]
async fn a_refused_deploy_stores_nothing_and_is_audited_with_path_and_rule() {
    let (mut lab, _, _) = lab().await;
    lab.release(spec()).await;
    let (before, known) = (stored(&lab), trail(&lab).await.len());
    let error = lab.session.deploy(&at(), Deploy::spec(foreign())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.faults()[0].path, "components[1].image");
    assert_eq!(stored(&lab), before);
    let audited = trail(&lab).await;
    assert_eq!(audited.len(), known + 1);
    assert_eq!((audited[0].actor.as_str(), audited[0].action.as_str()), ("user:root", "app.deploy"));
    let AuditResult::Denied { reason, .. } = &audited[0].result else { panic!("{:?}", audited[0]) };
    for part in ["components[1].image", "allowed_images", "elsewhere/api:1"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(lab.current().await, Some(1));
}

#[tokio::test]
async fn a_dry_run_that_is_refused_is_no_attempt() {
    let (lab, _, _) = lab().await;
    let known = trail(&lab).await.len();
    let dry = lab.session.with(RequestOptions { dry_run: true, ..RequestOptions::default() });
    let error = dry.deploy(&at(), Deploy::spec(foreign())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(trail(&lab).await.len(), known);
}

#[tokio::test]
async fn a_wrong_specification_is_refused_by_the_platform_and_no_denial() {
    let (lab, _, _) = lab().await;
    let known = trail(&lab).await.len();
    let error = lab.session.deploy(&at(), Deploy::spec(one(&json!({ "env": { "no name": "x" } })))).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(trail(&lab).await.len(), known);
}

#[tokio::test]
async fn a_frozen_environment_takes_no_new_specification_and_still_goes_back() {
    let (mut lab, admission, _) = lab().await;
    lab.release(spec()).await;
    lab.release(one(&json!({}))).await;
    admission.freeze(at().env_ref(), "the year ends");
    let before = stored(&lab);
    let error = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.report().contains("the year ends"), "{}", error.report());
    assert_eq!(stored(&lab), before);
    let newest = &trail(&lab).await[0];
    assert!(
        matches!(&newest.result, AuditResult::Denied { reason, .. } if reason.contains("the year ends")),
        "{newest:?}"
    );
    // What was admitted once is released again without a question.
    lab.session.rollback(&at(), RollbackTarget::Previous, Keep::Config).await.unwrap();
    lab.settle().await;
    lab.session.restart(&at(), None).await.unwrap();
    lab.settle().await;
    assert_eq!(lab.current().await, Some(4));
    admission.thaw(&at().env_ref());
    lab.release(spec()).await;
    assert_eq!(lab.current().await, Some(5));
}

#[tokio::test]
async fn what_is_stored_is_what_was_admitted() {
    let (mut lab, _, _) = lab().await;
    let started = lab.release(spec()).await;
    let release = lab.session.release(&at(), started.number).await.unwrap();
    for component in &release.version.spec.components {
        assert!(component.env.contains_key("STAGE"), "{component:?}");
    }
    // Admitting that again changes nothing: there is nothing new to release.
    let again = lab.release(release.version.spec.clone()).await;
    let again = lab.session.release(&at(), again.number).await.unwrap();
    assert_eq!(again.version, release.version);
    assert_eq!(again.components, release.components, "the revisions are the same");
}

#[tokio::test]
async fn an_admission_that_cannot_find_out_or_whose_answer_is_lost_admits_nothing() {
    let (mut lab, admission, faults) = lab().await;
    let before = stored(&lab);
    admission.set_unavailable(true);
    let error = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    admission.set_unavailable(false);
    faults.always("admission.admit", FaultAction::FailAfter(ErrorKind::Unavailable));
    let error = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.report().contains(&at().to_string()), "{}", error.report());
    assert_eq!(stored(&lab), before);
    assert!(trail(&lab).await.iter().all(|record| record.result == AuditResult::Done), "nobody was refused");
    faults.clear();
    lab.release(spec()).await;
    assert_eq!(lab.current().await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_admission_that_hangs_is_given_up() {
    let (mut lab, _, faults) = lab().await;
    let before = stored(&lab);
    faults.always("admission", FaultAction::Hang);
    let begun = Instant::now();
    let error = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(error.report().contains("Nothing was stored"), "{}", error.report());
    assert_eq!(stored(&lab), before);
    faults.clear();
    lab.release(spec()).await;
    assert_eq!(lab.current().await, Some(1));
}

#[tokio::test]
async fn refusals_are_recorded_within_the_bound_of_their_actor() {
    let (lab, _, _) = lab().await;
    let before = trail(&lab).await.len();
    for _ in 0..50 {
        lab.session.deploy(&at(), Deploy::spec(foreign())).await.unwrap_err();
    }
    let page = PageOptions { limit: Some(500), after: None };
    let audited = lab.session.audit(Scope::AppEnv(at()), page).await.unwrap();
    assert_eq!(audited.items.len(), before + 20);
    assert_eq!(audited.broken, None);
    assert_eq!(audited.items[0].actor, Actor::user("root").id());
}
