use std::sync::Arc;

use paas_core::action::{CreateApp, Deploy, NewApp, NewOrg, PageOptions, RequestOptions};
use paas_core::port::{Scope, Store as _};
use paas_core::tenancy::{AuditRecord, AuditResult, verify_chain};
use paas_core::{Actor, ErrorKind};

use crate::support::{Lab, at, name, spec};

fn org() -> Scope {
    Scope::Org { org: at().org }
}

async fn trail(lab: &Lab, scope: Scope) -> Vec<AuditRecord> {
    let page = PageOptions { limit: Some(500), after: None };
    let page = lab.session.audit(scope, page).await.unwrap();
    assert_eq!(page.broken, None);
    page.items
}

#[tokio::test]
async fn every_change_is_recorded_with_actor_object_and_result() {
    let lab = Lab::ready().await;
    lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap();
    let newest = &trail(&lab, org()).await[0];
    assert_eq!((newest.actor.as_str(), newest.action.as_str()), ("user:root", "app.deploy"));
    assert_eq!(newest.scope, Scope::AppEnv(at()));
    assert_eq!(newest.result, AuditResult::Done);
    assert_eq!(newest.detail["images"]["web"], "shop/web:1");
}

#[tokio::test]
async fn the_chain_shows_what_was_changed_left_out_or_replaced() {
    let lab = Lab::ready().await;
    let mut records = trail(&lab, org()).await;
    records.reverse();
    assert!(records.len() >= 3);
    verify_chain(&records).unwrap();
    let mut changed = records.clone();
    changed[1].actor = "user:somebody-else".to_owned();
    assert_eq!(verify_chain(&changed).unwrap_err().sequence, 2);
    let mut shorter = records.clone();
    shorter.remove(1);
    assert_eq!(verify_chain(&shorter).unwrap_err().sequence, 3);
    let mut replaced = records.clone();
    replaced[0].actor = "user:somebody-else".to_owned();
    replaced[0].hash = replaced[0].expected_hash().unwrap();
    assert_eq!(verify_chain(&replaced).unwrap_err().sequence, 2);
}

#[tokio::test]
async fn denials_are_recorded_and_bounded() {
    let lab = Lab::ready().await;
    let mallory = lab.platform.session(Actor::user("mallory"));
    for _ in 0..100 {
        mallory.delete_org(&at().org).await.unwrap_err();
    }
    // What concerns no organisation that exists is in the platform's chain.
    lab.platform.session(Actor::user("eve")).get_org(&name("nothing")).await.unwrap_err();
    let denials = |records: &[AuditRecord]| {
        records.iter().filter(|record| matches!(record.result, AuditResult::Denied { .. })).count()
    };
    assert_eq!(denials(&trail(&lab, org()).await), 20);
    assert_eq!(denials(&trail(&lab, Scope::Platform).await), 1);
}

#[tokio::test]
async fn appends_of_many_at_once_make_one_whole_chain() {
    let lab = Lab::ready().await;
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let session = lab.session.clone();
            tokio::spawn(async move {
                let new = NewApp::new(name(&format!("app-{n}")));
                session.create_app(&at().org, new).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut records = trail(&lab, org()).await;
    records.reverse();
    verify_chain(&records).unwrap();
    assert_eq!(records.iter().filter(|record| record.action == "app.create").count(), 41);
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_answer_and_another_one_under_its_id_a_conflict() {
    let lab = Lab::ready().await;
    let once = RequestOptions { request_id: Some("r-1".to_owned()), ..RequestOptions::default() };
    let session = lab.session.with(once.clone());
    let first = session.deploy(&at(), Deploy::spec(spec())).await.unwrap();
    let before = lab.store.revision().await.unwrap();
    let again = session.deploy(&at(), Deploy::spec(spec())).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(lab.store.revision().await.unwrap(), before);
    let error = session.deploy(&at(), Deploy::current()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = session.create_org(NewOrg::new(name("late"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn equal_requests_at_once_are_carried_out_once() {
    let lab = Lab::ready().await;
    let session = Arc::new(lab.session.clone());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let session = Arc::clone(&session);
            tokio::spawn(async move {
                let options = RequestOptions { request_id: Some("same".to_owned()), ..Default::default() };
                let action = CreateApp { org: at().org, new: NewApp::new(name("twice")) };
                session.perform_with(action, options).await.unwrap().revision
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_change_of_what_somebody_else_changed_is_refused() {
    let lab = Lab::ready().await;
    let org = lab.session.get_org(&at().org).await.unwrap();
    let change = || paas_core::action::OrgChange { display_name: Some("Acme".to_owned()) };
    let options = RequestOptions { expected_revision: Some(org.revision), ..RequestOptions::default() };
    let session = lab.session.with(options);
    let updated = session.update_org(&at().org, change()).await.unwrap();
    assert!(updated.revision > org.revision);
    let error = session.update_org(&at().org, change()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(lab.session.get_org(&at().org).await.unwrap().revision, updated.revision);
}
