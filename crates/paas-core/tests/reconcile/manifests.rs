//! Applications of manifests: what users do with them, on a cluster in memory.

use std::collections::BTreeMap;

use paas_core::action::{Deploy, RollbackTarget};
use paas_core::engine::Outcome;
use paas_core::memory::Image;
use paas_core::model::{AppSpec, Keep, ReleaseNumber};
use paas_core::port::{RunInput, SecretValue};
use paas_core::{ComponentName, Error, ErrorKind};
use serde_json::{Value, json};

use crate::harness::*;

const NAME: &str = "objects";

/// An application of a deployment with this image and of config maps with these names.
fn spec_of(image: &str, config_maps: &[&str]) -> AppSpec {
    let mut objects = vec![json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": 2, "template": { "spec": { "containers": [{ "name": "web", "image": image }] } } }
    })];
    objects.extend(config_maps.iter().map(
        |name| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "b" } }),
    ));
    with(objects)
}

fn with(objects: Vec<Value>) -> AppSpec {
    let component = json!({ "name": NAME, "kind": "manifests", "manifests": objects });
    serde_json::from_value(json!({
        "components": [component],
        "strategy": { "type": "recreate", "progress_deadline_seconds": 30 }
    }))
    .unwrap()
}

fn component() -> ComponentName {
    NAME.parse().unwrap()
}

fn objects(world: &World) -> BTreeMap<String, String> {
    let objects = world.cluster.objects(&track(NAME));
    objects.into_iter().map(|(name, revision)| (name, revision.to_string())).collect()
}

fn names(world: &World) -> Vec<String> {
    objects(world).into_keys().collect()
}

fn faults(error: &Error) -> Vec<String> {
    error.faults().iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_release_makes_changes_and_removes_objects_and_a_rollback_returns_them() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    assert_eq!(
        release(&platform, Deploy::spec(spec_of("web:1", &["kept", "left"]))).await,
        Outcome::Succeeded
    );
    assert_eq!(names(&world), ["ConfigMap/kept", "ConfigMap/left", "Deployment/web"]);
    assert_eq!(
        release(&platform, Deploy::spec(spec_of("web:2", &["kept", "new"]))).await,
        Outcome::Succeeded
    );
    world
        .until("what is left goes", async || {
            names(&world) == ["ConfigMap/kept", "ConfigMap/new", "Deployment/web"]
        })
        .await;
    let session = session(&platform);
    let changes = session.diff(&at(), ReleaseNumber(1), ReleaseNumber(2)).await.unwrap().changes;
    let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
    assert!(paths.contains(&"components.objects.manifests.ConfigMap/left.kind"), "{paths:?}");
    assert!(
        paths
            .contains(&"components.objects.manifests.Deployment/web.spec.template.spec.containers.web.image")
    );
    let back = session.rollback(&at(), RollbackTarget::Previous, Keep::default()).await.unwrap();
    let outcome = session.wait_released(&at(), back.number, PATIENCE).await.unwrap();
    assert_eq!(outcome, Outcome::Succeeded);
    world
        .until("as before", async || names(&world) == ["ConfigMap/kept", "ConfigMap/left", "Deployment/web"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_version_goes_back_to_the_objects_before() {
    let world = World::new();
    world.images.push("web:bad", Image::new().never_ready());
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec_of("web:1", &["left"]))).await;
    let before = objects(&world);
    let outcome = release(&platform, Deploy::spec(spec_of("web:bad", &["new"]))).await;
    assert!(matches!(outcome, Outcome::Aborted { .. }), "{outcome:?}");
    world.until("the objects before", async || objects(&world) == before).await;
    world.until("an instance is ready", async || world.ready(NAME).await == (1, 1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_for_manifests_is_refused_with_the_remedy() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec_of("web:1", &[]))).await;
    let session = session(&platform);
    let scaled = session.scale(&at(), &component(), 3).await.unwrap_err();
    assert!(faults(&scaled)[0].contains("replicas"), "{scaled:?}");
    let stopped = session.stop(&at(), None).await.unwrap_err();
    assert_eq!((stopped.kind(), stopped.remedy().is_some()), (ErrorKind::Unsupported, true));
    let run = session.run(&at(), &component(), Some(vec!["true".into()]), RunInput::None).await.unwrap_err();
    assert_eq!(run.kind(), ErrorKind::Unsupported);
    // A restart is a release of the same objects under another revision.
    let before = objects(&world);
    let restarted = session.restart(&at(), None).await.unwrap();
    session.wait_released(&at(), restarted.number, PATIENCE).await.unwrap();
    assert_ne!(objects(&world), before);
    assert_eq!(names(&world), ["Deployment/web"]);
}

#[tokio::test(start_paused = true)]
async fn values_of_secrets_are_named_and_never_recorded() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    let secret = |data: Value| {
        let mut object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "db" } });
        object.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
        with(vec![object])
    };
    let session = session(&platform);
    let plain = secret(json!({ "data": { "password": "aGk=" }, "stringData": { "user": "root" } }));
    let refused = session.deploy(&at(), Deploy::spec(plain)).await.unwrap_err();
    let told = faults(&refused).join("\n");
    assert!(told.contains("components[0].manifests[0] Secret/db.data: holds values (password)"), "{told}");
    assert!(
        told.contains("Secret/db.stringData.user: holds a value; set it by `paas secret set APP db.user`"),
        "{told}"
    );
    let named = || secret(json!({ "stringData": { "password": { "secret": "db.password" } } }));
    let missing = session.deploy(&at(), Deploy::spec(named())).await.unwrap_err();
    assert!(faults(&missing)[0].contains("there is no secret db.password"), "{missing:?}");
    session.set_secret(&at(), "db.password", SecretValue::new("hunter2")).await.unwrap();
    assert_eq!(release(&platform, Deploy::spec(named())).await, Outcome::Succeeded);
    let before = objects(&world);
    // Another value is another revision, although the objects say the same.
    session.set_secret(&at(), "db.password", SecretValue::new("hunter3")).await.unwrap();
    assert_eq!(release(&platform, Deploy::current()).await, Outcome::Succeeded);
    assert_ne!(objects(&world), before);
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_the_objects_is_named_at_once() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    let config_map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
    let mut wrong = with(vec![
        config_map.clone(),
        config_map,
        json!({ "kind": "Service", "metadata": { "name": "A_b" } }),
    ]);
    wrong.components[0].image = "web:1".to_owned();
    let refused = session(&platform).deploy(&at(), Deploy::spec(wrong)).await.unwrap_err();
    assert_eq!(
        faults(&refused),
        [
            "components[0].image: a component of manifests says this in its objects; remove it here",
            "components[0].manifests[1] ConfigMap/a: is already object 0 of the list; remove one of them",
            "components[0].manifests[2] Service/A_b.apiVersion: is missing; every object has one",
            "components[0].manifests[2] Service/A_b.metadata.name: \"A_b\" is not a name; use lower-case letters, \
             digits, hyphens and dots, at most 253",
        ]
    );
    let much = "x".repeat(300 * 1024);
    let large = with(vec![
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "a": much } }),
    ]);
    let refused = session(&platform).deploy(&at(), Deploy::spec(large)).await.unwrap_err();
    assert!(faults(&refused)[0].contains("at most 262144 are allowed"), "{refused:?}");
}
