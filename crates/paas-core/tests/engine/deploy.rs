use jiff::SignedDuration;
use paas_core::action::{Deploy, DeployChange, EnvChange, RequestOptions};
use paas_core::engine::{AppState, RolloutRecord};
use paas_core::model::{OnRunning, ReleaseNumber, ReleaseState};
use paas_core::port::ListOptions;
use paas_core::port::Store as _;
use paas_core::{EnvRef, ErrorKind};
use serde_json::json;

use crate::support::{Lab, at, name, one, spec, spec_of, web};

fn env() -> EnvRef {
    at().env_ref()
}

async fn policy(lab: &Lab, on_running: OnRunning) {
    let change = EnvChange { on_running: Some(on_running), ..EnvChange::default() };
    lab.session.update_env(&env(), change).await.unwrap();
}

#[tokio::test]
async fn a_deploy_becomes_the_current_release_with_instances_counts_and_access_points() {
    let mut lab = Lab::ready().await;
    let started = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap();
    assert_eq!(started.number, ReleaseNumber(1));
    assert!(started.components.values().all(|component| component.changed));
    let status = lab.session.status(&at()).await.unwrap();
    assert_eq!(status.state, AppState::Releasing);
    lab.settle().await;
    assert_eq!(lab.current().await, Some(1));
    assert_eq!((lab.count("web"), lab.count("api")), (2, 1));
    let release = lab.session.release(&at(), ReleaseNumber(1)).await.unwrap();
    assert!(matches!(release.state, ReleaseState::Committed { .. }));
    assert_eq!(release.components[&web()].instances, 2);
    assert_eq!(lab.session.get_routes(&at()).await.unwrap().routes, spec().routes);
}

#[tokio::test]
async fn every_fault_of_a_specification_is_told_at_once_and_nothing_is_stored() {
    let lab = Lab::ready().await;
    let before = lab.store.revision().await.unwrap();
    let bad = spec_of(json!({
        "components": [{ "name": "web", "image": "", "ports": [{ "name": "http", "number": 0 }] }],
        "routes": [{ "name": "main", "component": "nothing" }]
    }));
    let error = lab.session.deploy(&at(), Deploy::spec(bad)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let paths: Vec<&str> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    for path in ["components[0].image", "components[0].ports[0].number", "routes[0].component"] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
    assert_eq!(lab.store.revision().await.unwrap(), before);
}

#[tokio::test]
async fn every_image_that_cannot_be_resolved_is_told_with_its_path() {
    let lab = Lab::ready().await;
    lab.images.refuse("shop/web:1", ErrorKind::NotFound);
    lab.images.refuse("shop/api:1", ErrorKind::Unavailable);
    let error = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.report());
    let paths: Vec<&str> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["components[0].image", "components[1].image"]);
    lab.images.refuse("shop/web:1", ErrorKind::Unavailable);
    let error = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "a retry can help if nothing else is wrong");
    assert_eq!(error.faults().len(), 2);
}

#[tokio::test]
async fn an_image_without_a_command_is_refused_unless_one_is_given() {
    let mut lab = Lab::ready().await;
    lab.images.push("shop/web:1", paas_core::memory::Image::new().without_command());
    let error = lab.session.deploy(&at(), Deploy::spec(one(&json!({})))).await.unwrap_err();
    assert_eq!(error.faults()[0].path, "components[0].command");
    lab.release(one(&json!({ "command": ["/web"] }))).await;
    assert_eq!(lab.current().await, Some(1));
}

#[tokio::test]
async fn missing_settings_and_secrets_are_faults_with_their_paths() {
    let lab = Lab::ready().await;
    let wants = one(&json!({
        "env": { "A": { "config": "LEVEL" }, "B": { "secret": "TOKEN" } },
        "files": [{ "path": "/etc/c", "config": "FILE" }]
    }));
    let error = lab.session.deploy(&at(), Deploy::spec(wants)).await.unwrap_err();
    let paths: Vec<&str> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, [r#"components[0].env["A"]"#, r#"components[0].env["B"]"#, "components[0].files[0]"]);
}

#[tokio::test]
async fn new_images_keep_the_digests_of_the_other_components() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    // The tag of the other component moves meanwhile.
    lab.images.push("shop/api:1", paas_core::memory::Image::new());
    let first = lab.session.release(&at(), ReleaseNumber(1)).await.unwrap();
    let started = lab.session.deploy(&at(), Deploy::image(web(), "shop/web:2")).await.unwrap();
    assert!(started.components[&web()].changed);
    assert!(!started.components["api"].changed);
    lab.settle().await;
    let second = lab.session.release(&at(), ReleaseNumber(2)).await.unwrap();
    assert_eq!(second.version.digests["api"], first.version.digests["api"]);
    assert_ne!(second.version.digests[&web()], first.version.digests[&web()]);
    let unknown = Deploy::image(name("nothing"), "x");
    let error = lab.session.deploy(&at(), unknown).await.unwrap_err();
    assert_eq!(error.faults()[0].path, r#"change.images["nothing"]"#);
}

#[tokio::test]
async fn equal_content_gives_an_equal_revision_and_replaces_no_instance() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    let before = lab.instances("web");
    let started = lab.release(spec()).await;
    assert!(started.components.values().all(|component| !component.changed));
    assert_eq!(lab.instances("web"), before);
    assert_eq!(lab.current().await, Some(2));
}

#[tokio::test]
async fn the_expected_release_must_be_the_newest() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    let stale = Deploy { expected: Some(ReleaseNumber(0)), ..Deploy::current() };
    let error = lab.session.deploy(&at(), stale).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let fresh = Deploy { expected: Some(ReleaseNumber(1)), ..Deploy::current() };
    lab.session.deploy(&at(), fresh).await.unwrap();
}

#[tokio::test]
async fn a_dry_run_answers_and_stores_nothing() {
    let lab = Lab::ready().await;
    let before = lab.store.revision().await.unwrap();
    let dry = lab.session.with(RequestOptions { dry_run: true, ..RequestOptions::default() });
    let started = dry.deploy(&at(), Deploy::spec(spec())).await.unwrap();
    assert_eq!(started.number, ReleaseNumber(1));
    assert_eq!(lab.store.revision().await.unwrap(), before);
}

#[tokio::test]
async fn a_release_under_way_refuses_another_one_by_default() {
    let lab = Lab::ready().await;
    lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap();
    let error = lab.session.deploy(&at(), Deploy::spec(spec())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.report().contains("abort it"), "{}", error.report());
}

#[tokio::test]
async fn what_is_committed_and_clears_up_is_current_and_the_release_that_waits_for_it_is_the_one_under_way() {
    let mut lab = Lab::ready().await;
    policy(&lab, OnRunning::Reject).await;
    lab.release(spec()).await;
    lab.session.deploy(&at(), Deploy::image(web(), "shop/web:2")).await.unwrap();
    while lab.current().await != Some(2) {
        assert!(lab.step().await, "the release does not come to its commit");
    }
    // Its old instances still go: it is current, and nothing more is to be said of it.
    assert!(is_active(&lab, 2).await, "it still clears up");
    let status = lab.session.status(&at()).await.unwrap();
    assert_eq!(status.rollout, None);
    assert_eq!(status.current.as_ref().map(|release| release.number), Some(ReleaseNumber(2)));
    assert_ne!(status.state, AppState::Releasing);

    lab.clock.advance(SignedDuration::from_mins(5));
    let waiting = lab.session.deploy(&at(), Deploy::image(web(), "shop/web:3")).await.unwrap();
    assert!(waiting.queued);
    assert!(is_active(&lab, 2).await, "the one before still clears up");
    let status = lab.session.status(&at()).await.unwrap();
    assert_eq!(status.state, AppState::Releasing);
    assert_eq!(status.current.as_ref().map(|release| release.number), Some(ReleaseNumber(2)));
    let rollout = status.rollout.unwrap();
    assert_eq!((rollout.release, rollout.state.as_str()), (ReleaseNumber(3), "running"));
    assert_eq!(rollout.from, Some(ReleaseNumber(2)));
    assert_eq!(rollout.queue, [], "it does not wait for itself");
    let release = lab.session.release(&at(), ReleaseNumber(3)).await.unwrap();
    assert_eq!(rollout.started_at, release.created_at);
    lab.settle().await;
    assert_eq!(lab.current().await, Some(3));
}

/// Whether a release is the one that the tracks carry out, or clear up after.
async fn is_active(lab: &Lab, number: u64) -> bool {
    let key = RolloutRecord::key_of(&at());
    let record = lab.services().collections().get::<RolloutRecord>(&key).await.unwrap();
    record.and_then(|it| it.value.coordinator.active).is_some_and(|it| it.release == ReleaseNumber(number))
}

#[tokio::test]
async fn queued_releases_begin_one_after_the_other() {
    let mut lab = Lab::ready().await;
    policy(&lab, OnRunning::Queue).await;
    for n in ["1", "2", "3"] {
        let deploy = Deploy::spec(one(&json!({ "env": { "N": n } })));
        let started = lab.session.deploy(&at(), deploy).await.unwrap();
        assert_eq!(started.queued, n != "1");
    }
    let waiting = lab.session.release(&at(), ReleaseNumber(3)).await.unwrap();
    assert_eq!(waiting.state, ReleaseState::Queued);
    let status = lab.session.status(&at()).await.unwrap();
    assert_eq!(status.rollout.unwrap().queue, [ReleaseNumber(2), ReleaseNumber(3)]);
    lab.settle().await;
    assert_eq!(lab.current().await, Some(3));
    for n in 1..=3 {
        let release = lab.session.release(&at(), ReleaseNumber(n)).await.unwrap();
        assert!(matches!(release.state, ReleaseState::Committed { .. }), "{n}: {:?}", release.state);
    }
}

#[tokio::test]
async fn a_superseding_release_takes_the_place_of_the_one_under_way() {
    let mut lab = Lab::ready().await;
    policy(&lab, OnRunning::Supersede).await;
    lab.release(one(&json!({}))).await;
    let bad = lab.session.deploy(&at(), Deploy::spec(one(&json!({ "env": { "N": "bad" } })))).await.unwrap();
    lab.broken.insert(bad.components[&web()].revision.clone());
    lab.settle().await;
    assert_eq!(lab.current().await, Some(1));
    lab.session.deploy(&at(), Deploy::spec(one(&json!({ "env": { "N": "good" } })))).await.unwrap();
    let old = lab.session.release(&at(), ReleaseNumber(2)).await.unwrap();
    assert!(
        matches!(&old.state, ReleaseState::Aborted { reason, .. } if reason.contains("release 3")),
        "{:?}",
        old.state
    );
    lab.settle().await;
    assert_eq!(lab.current().await, Some(3));
    assert_eq!(lab.instances("web").len(), 1, "nothing of the superseded release is left");
}

#[tokio::test]
async fn a_release_that_never_becomes_ready_is_aborted_by_hand_and_tried_again() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({ "instances": { "count": 3 } }))).await;
    let bad = one(&json!({ "instances": { "count": 3 }, "env": { "N": "bad" } }));
    let bad = lab.session.deploy(&at(), Deploy::spec(bad)).await.unwrap();
    let revision = bad.components[&web()].revision.clone();
    lab.broken.insert(revision.clone());
    lab.settle().await;
    let status = lab.session.status(&at()).await.unwrap();
    assert_eq!(status.state, AppState::Releasing);
    lab.session.abort(&at(), "it does not start").await.unwrap();
    lab.settle().await;
    lab.clock.advance(SignedDuration::from_secs(60));
    lab.settle().await;
    let release = lab.session.release(&at(), ReleaseNumber(2)).await.unwrap();
    let ReleaseState::Aborted { reason, .. } = &release.state else { panic!("{:?}", release.state) };
    assert!(reason.contains("it does not start"), "{reason}");
    assert_eq!(lab.count("web"), 3);
    // A second abort, with nothing under way, does nothing.
    lab.session.abort(&at(), "again").await.unwrap();
    lab.broken.clear();
    lab.session.retry(&at()).await.unwrap();
    lab.settle().await;
    assert_eq!(lab.current().await, Some(2));
    assert_eq!(lab.instances("web"), [(revision, 3)].into());
}

#[tokio::test]
async fn the_deadline_aborts_a_release_without_progress() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({}))).await;
    let deploy = Deploy::spec(one(&json!({ "env": { "N": "bad" } })));
    let bad = lab.session.deploy(&at(), deploy).await.unwrap();
    lab.broken.insert(bad.components[&web()].revision.clone());
    lab.settle().await;
    lab.clock.advance(SignedDuration::from_secs(601));
    lab.settle().await;
    lab.clock.advance(SignedDuration::from_secs(60));
    lab.settle().await;
    let release = lab.session.release(&at(), ReleaseNumber(2)).await.unwrap();
    assert!(matches!(release.state, ReleaseState::Aborted { .. }), "{:?}", release.state);
    assert_eq!(lab.current().await, Some(1));
    let status = lab.session.status(&at()).await.unwrap();
    assert!(
        status.reasons.iter().any(|reason| reason.contains("release 2 was aborted")),
        "{:?}",
        status.reasons
    );
}

#[tokio::test]
async fn a_paused_release_goes_on_when_it_is_resumed() {
    let mut lab = Lab::ready().await;
    lab.release(one(&json!({}))).await;
    lab.session.deploy(&at(), Deploy::spec(one(&json!({ "env": { "N": "2" } })))).await.unwrap();
    lab.session.pause(&at()).await.unwrap();
    lab.settle().await;
    assert_eq!(lab.current().await, Some(1));
    assert!(lab.session.status(&at()).await.unwrap().rollout.unwrap().paused);
    lab.session.resume(&at()).await.unwrap();
    lab.settle().await;
    assert_eq!(lab.current().await, Some(2));
    let error = lab.session.pause(&at()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_component_that_the_release_lacks_is_removed() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    lab.release(one(&json!({}))).await;
    assert_eq!((lab.count("web"), lab.count("api")), (2, 0), "the live count survives");
    let status = lab.session.status(&at()).await.unwrap();
    let names: Vec<String> = status.components.iter().map(|component| component.name.to_string()).collect();
    assert_eq!(names, ["web"]);
}

#[tokio::test]
async fn a_job_runs_with_the_release() {
    let mut lab = Lab::ready().await;
    let with_job = spec_of(json!({ "components": [
        { "name": "web", "image": "shop/web:1", "ports": [{ "name": "http", "number": 8080 }], "depends_on": [{ "component": "migrate" }] },
        { "name": "migrate", "image": "shop/migrate:1", "kind": "job" }
    ] }));
    lab.release(with_job).await;
    assert_eq!(lab.current().await, Some(1));
}

#[tokio::test]
async fn a_restart_makes_new_instances_of_equal_content() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    let (web_before, api_before) = (lab.instances("web"), lab.instances("api"));
    let started = lab.session.restart(&at(), Some(&web())).await.unwrap();
    assert!(started.components[&web()].changed);
    lab.settle().await;
    assert_ne!(lab.instances("web"), web_before);
    assert_eq!(lab.instances("api"), api_before);
    // The next deploy keeps the restarted instances.
    let again = lab.release(spec()).await;
    assert!(!again.components[&web()].changed);
}

#[tokio::test]
async fn nothing_is_written_when_nothing_is_to_be_done() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    let before = lab.store.revision().await.unwrap();
    lab.settle().await;
    lab.session.status(&at()).await.unwrap();
    lab.session.releases(&at(), paas_core::action::PageOptions::default()).await.unwrap();
    assert_eq!(lab.store.revision().await.unwrap(), before);
}

#[tokio::test]
async fn settings_reach_instances_with_a_release_of_what_was_declared_last() {
    let mut lab = Lab::ready().await;
    let set = |value: &str| paas_core::action::ConfigChange {
        set: [("LEVEL".to_owned(), value.to_owned())].into(),
        ..Default::default()
    };
    lab.session.set_config(&at(), set("1")).await.unwrap();
    lab.release(one(&json!({ "env": { "LEVEL": { "config": "LEVEL" } } }))).await;
    lab.session.set_config(&at(), set("2")).await.unwrap();
    let started = lab.session.deploy(&at(), Deploy::new(DeployChange::Current)).await.unwrap();
    assert!(started.components[&web()].changed);
    lab.settle().await;
    let release = lab.session.release(&at(), ReleaseNumber(2)).await.unwrap();
    assert_eq!(release.config, 2);
    let diff = lab.session.diff(&at(), ReleaseNumber(1), ReleaseNumber(2)).await.unwrap();
    assert_eq!(diff.changes.len(), 1, "{diff:?}");
    assert_eq!((diff.changes[0].path.as_str(), &diff.changes[0].after), ("config.LEVEL", &Some(json!("2"))));
    let templates =
        lab.store.list(&ListOptions { kind: "template".into(), ..ListOptions::default() }).await.unwrap();
    assert_eq!(templates.documents.len(), 2);
}

#[tokio::test]
async fn what_was_aborted_is_not_what_the_next_release_builds_on() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    lab.session.deploy(&at(), Deploy::image(web(), "shop/web:bad")).await.unwrap();
    lab.session.abort(&at(), "").await.unwrap();
    lab.settle().await;
    lab.clock.advance(SignedDuration::from_secs(60));
    lab.settle().await;
    lab.session.deploy(&at(), Deploy::image(name("api"), "shop/api:2")).await.unwrap();
    lab.settle().await;
    let release = lab.session.release(&at(), ReleaseNumber(3)).await.unwrap();
    let images: Vec<&str> = release.version.spec.components.iter().map(|it| it.image.as_str()).collect();
    assert_eq!(images, ["shop/web:1", "shop/api:2"]);
    // A component that only the aborted release lacked can still be scaled.
    lab.session.deploy(&at(), Deploy::spec(one(&json!({})))).await.unwrap();
    lab.session.abort(&at(), "").await.unwrap();
    lab.settle().await;
    lab.clock.advance(SignedDuration::from_secs(60));
    lab.settle().await;
    lab.session.scale(&at(), &name("api"), 3).await.unwrap();
    lab.settle().await;
    assert_eq!(lab.count("api"), 3);
}
