use paas_core::ErrorKind;
use paas_core::action::{ConfigChange, Deploy, RollbackTarget};
use paas_core::model::{Keep, ReleaseNumber, ReleaseOrigin, ReleaseState};
use paas_core::port::SecretValue;
use serde_json::{Value, json};

use crate::support::{Lab, at, one, web};

fn to(number: u64) -> RollbackTarget {
    RollbackTarget::Number(ReleaseNumber(number))
}

fn setting(value: &str) -> ConfigChange {
    ConfigChange { set: [("LEVEL".to_owned(), value.to_owned())].into(), ..ConfigChange::default() }
}

fn with_setting(image: &str) -> Value {
    json!({ "image": image, "env": { "LEVEL": { "config": "LEVEL" } } })
}

#[tokio::test]
async fn a_rollback_returns_to_the_exact_record_without_a_lookup() {
    let mut lab = Lab::ready().await;
    lab.session.set_config(&at(), setting("1")).await.unwrap();
    let first = lab.release(one(&with_setting("shop/web:1"))).await;
    lab.session.set_config(&at(), setting("2")).await.unwrap();
    lab.release(one(&with_setting("shop/web:2"))).await;
    // No image can be looked up any more, and its tag has moved.
    for image in ["shop/web:1", "shop/web:2"] {
        lab.images.refuse(image, ErrorKind::Unavailable);
    }
    let back = lab.session.rollback(&at(), RollbackTarget::Previous, Keep::Nothing).await.unwrap();
    assert_eq!(back.number, ReleaseNumber(3));
    assert_eq!(back.components[&web()].revision, first.components[&web()].revision);
    lab.settle().await;
    assert_eq!(lab.current().await, Some(3));
    let release = lab.session.release(&at(), ReleaseNumber(3)).await.unwrap();
    assert_eq!(release.origin, ReleaseOrigin::Rollback { to: ReleaseNumber(1), keep: Keep::Nothing });
    assert_eq!(release.config, 1);
}

#[tokio::test]
async fn a_rollback_may_keep_todays_configuration_or_todays_images() {
    let mut lab = Lab::ready().await;
    lab.session.set_config(&at(), setting("1")).await.unwrap();
    lab.release(one(&with_setting("shop/web:1"))).await;
    lab.session.set_config(&at(), setting("2")).await.unwrap();
    lab.release(one(&with_setting("shop/web:2"))).await;
    lab.session.rollback(&at(), to(1), Keep::Config).await.unwrap();
    lab.settle().await;
    let release = lab.session.release(&at(), ReleaseNumber(3)).await.unwrap();
    assert_eq!((release.version.spec.components[0].image.as_str(), release.config), ("shop/web:1", 2));
    lab.session.deploy(&at(), Deploy::image(web(), "shop/web:4")).await.unwrap();
    lab.settle().await;
    lab.session.rollback(&at(), to(1), Keep::Images).await.unwrap();
    lab.settle().await;
    let release = lab.session.release(&at(), ReleaseNumber(5)).await.unwrap();
    assert_eq!((release.version.spec.components[0].image.as_str(), release.config), ("shop/web:4", 1));
    assert_eq!(lab.current().await, Some(5));
}

#[tokio::test]
async fn a_revoked_secret_is_not_restored_and_the_rollback_says_so() {
    let mut lab = Lab::ready().await;
    let uses = json!({ "env": { "TOKEN": { "secret": "TOKEN" } } });
    lab.session.set_secret(&at(), "TOKEN", SecretValue::new("first")).await.unwrap();
    let first = lab.release(one(&uses)).await;
    lab.session.set_secret(&at(), "TOKEN", SecretValue::new("second")).await.unwrap();
    let second = lab.release(one(&uses)).await;
    lab.session.revoke_secret(&at(), "TOKEN", 1).await.unwrap();
    let back = lab.session.rollback(&at(), to(1), Keep::Nothing).await.unwrap();
    assert_eq!(back.notes.len(), 1, "{:?}", back.notes);
    assert!(back.notes[0].contains("version 1 of secret TOKEN was revoked"), "{}", back.notes[0]);
    assert_ne!(back.components[&web()].revision, first.components[&web()].revision);
    assert_eq!(back.components[&web()].revision, second.components[&web()].revision);
    lab.settle().await;
    lab.session.revoke_secret(&at(), "TOKEN", 2).await.unwrap();
    let error = lab.session.rollback(&at(), to(1), Keep::Nothing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.report().contains("Set secret TOKEN to a new value"), "{}", error.report());
}

#[tokio::test]
async fn a_rollback_keeps_the_live_count_until_its_commit_and_then_applies_the_recorded_one() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({ "instances": { "count": 2 } }))).await;
    lab.session.scale(&at(), &web(), 5).await.unwrap();
    lab.settle().await;
    lab.release(one(&json!({ "instances": { "count": 2 }, "env": { "N": "2" } }))).await;
    assert_eq!(lab.count("web"), 5, "the live count survives a release");
    lab.session.rollback(&at(), to(1), Keep::Nothing).await.unwrap();
    let status = lab.session.status(&at()).await.unwrap();
    assert_eq!(status.components[0].count, 5);
    lab.settle().await;
    let status = lab.session.status(&at()).await.unwrap();
    assert_eq!((status.components[0].count, lab.count("web")), (2, 2));
}

#[tokio::test]
async fn a_count_declared_during_a_rollback_outlives_its_commit() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({ "instances": { "count": 2 } }))).await;
    lab.release(one(&json!({ "instances": { "count": 2 }, "env": { "N": "2" } }))).await;
    lab.session.rollback(&at(), to(1), Keep::Nothing).await.unwrap();
    lab.session.scale(&at(), &web(), 7).await.unwrap();
    lab.settle().await;
    let status = lab.session.status(&at()).await.unwrap();
    assert_eq!((status.components[0].count, lab.count("web")), (7, 7));
}

#[tokio::test]
async fn what_was_never_current_cannot_be_returned_to() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({}))).await;
    let error = lab.session.rollback(&at(), RollbackTarget::Previous, Keep::Nothing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    lab.session.deploy(&at(), Deploy::spec(one(&json!({ "env": { "N": "2" } })))).await.unwrap();
    lab.session.abort(&at(), "").await.unwrap();
    lab.settle().await;
    lab.clock.advance(jiff::SignedDuration::from_secs(60));
    lab.settle().await;
    let release = lab.session.release(&at(), ReleaseNumber(2)).await.unwrap();
    assert!(matches!(release.state, ReleaseState::Aborted { .. }));
    let error = lab.session.rollback(&at(), to(2), Keep::Nothing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.report().contains("returned to: 1"), "{}", error.report());
    let error = lab.session.rollback(&at(), to(9), Keep::Nothing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn access_points_follow_the_release_that_is_current_but_those_added_by_hand_stay() {
    let mut lab = Lab::ready().await;
    let with_route = |host: &str, n: &str| {
        let mut spec = one(&json!({ "env": { "N": n } }));
        spec.routes =
            serde_json::from_value(json!([{ "name": "main", "host": host, "component": "web" }])).unwrap();
        spec
    };
    let hosts = async |lab: &Lab| {
        let routes = lab.session.get_routes(&at()).await.unwrap().routes;
        let mut hosts: Vec<String> = routes.into_iter().filter_map(|route| route.host).collect();
        hosts.sort();
        hosts
    };
    lab.release(with_route("a.example", "1")).await;
    let hand = serde_json::from_value(json!({ "name": "hand", "host": "hand.example", "component": "web" }))
        .unwrap();
    lab.session.add_route(&at(), hand).await.unwrap();
    lab.session.deploy(&at(), Deploy::spec(with_route("b.example", "2"))).await.unwrap();
    assert_eq!(hosts(&lab).await, ["a.example", "hand.example"], "until the commit nothing changes");
    lab.settle().await;
    assert_eq!(hosts(&lab).await, ["b.example", "hand.example"]);
    lab.session.rollback(&at(), to(1), Keep::Nothing).await.unwrap();
    lab.settle().await;
    assert_eq!(hosts(&lab).await, ["a.example", "hand.example"]);
}
