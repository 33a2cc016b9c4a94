//! Sets of manifests: objects of Kubernetes that somebody else wrote.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret};
use paas_core::ErrorKind;
use paas_core::memory::Image;
use paas_core::model::{ComponentKind, Manifest, ResolvedValue, SecretFingerprint, SecretRef};
use paas_core::port::{Epoch, Runtime as _, SetKey, SetSpec};
use paas_k8s::kube::Api;
use paas_k8s::kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::fixture::{CANARY, DOMAIN, Fixture, ok, revision, track};

/// The namespace of the environment of these tests.
async fn namespace(fixture: &Fixture) -> String {
    let all: Api<Namespace> = Api::all(fixture.fake.client());
    let found = all.list(&ListParams::default()).await.unwrap().items;
    found
        .into_iter()
        .find_map(|it| it.metadata.name.filter(|name| name.starts_with("test-org-test")))
        .unwrap()
}

fn image(fixture: &Fixture, reference: &str, image: Image) -> String {
    format!("{reference}@{}", fixture.fake.images().push(reference, image))
}

fn ready(fixture: &Fixture) -> String {
    image(fixture, "shop", Image::new().with_ready_after(Duration::from_millis(20)))
}

fn workload(kind: &str, name: &str, image: &str, replicas: u32) -> Value {
    let labels = json!({ "app": name });
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name, "labels": labels },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "app", "image": image }] }
            }
        }
    })
}

fn config_map(name: &str, value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "key": value } })
}

fn set(fixture: &Fixture, name: &str, objects: Vec<Value>) -> SetSpec {
    let track = track("shop");
    let mut template = fixture.ready(&track.component);
    template.kind = ComponentKind::Manifests;
    template.image.clear();
    template.digest.clear();
    template.ports.clear();
    template.env.clear();
    template.manifests =
        objects.into_iter().map(|object| serde_json::from_value::<Manifest>(object).unwrap()).collect();
    SetSpec {
        key: SetKey { track, revision: revision(name) },
        template,
        count: 1,
        first: 0,
        labels: BTreeMap::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn objects_are_applied_as_they_are_with_the_platforms_labels() {
    let fixture = Fixture::new().await;
    let mut web = workload("Deployment", "web", &ready(&fixture), 2);
    web["metadata"]["labels"]["app.kubernetes.io/name"] = json!("theirs");
    let spec = set(&fixture, "r1", vec![web, config_map("settings", "a")]);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    let seen = fixture.until_ready(&spec.key, 1).await;
    assert_eq!(seen.failure, None);
    let api: Api<Deployment> = Api::namespaced(fixture.fake.client(), &namespace(&fixture).await);
    let made = api.get("web").await.unwrap();
    let labels = made.metadata.labels.clone().unwrap();
    assert_eq!(labels["app.kubernetes.io/name"], "theirs", "labels that tools share are the author's");
    assert_eq!(labels[&format!("{DOMAIN}/revision")], "r1");
    let pod = made.spec.unwrap().template;
    let labels = pod.metadata.unwrap().labels.unwrap();
    assert_eq!(labels[&format!("{DOMAIN}/role")], "instance");
    assert!(!labels.contains_key(&format!("{DOMAIN}/revision")), "another object's change replaces no pod");
    let spec_of_pod = pod.spec.unwrap();
    assert_eq!(spec_of_pod.security_context.unwrap().run_as_non_root, Some(true), "as the level asks");
    assert_eq!(spec_of_pod.automount_service_account_token, Some(false));
    // Converged means no write.
    let writes = fixture.fake.writes();
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    ok(fixture.cluster.observe(&spec.key.track).await);
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert_eq!(fixture.fake.writes(), writes);
    assert!(ok(fixture.cluster.tracks().await).contains(&spec.key.track));
}

#[tokio::test(start_paused = true)]
async fn a_set_waits_for_every_workload_and_says_which_pod_fails() {
    let fixture = Fixture::new().await;
    let bad = image(&fixture, "bad", Image::new().never_ready());
    let objects = vec![
        workload("Deployment", "web", &ready(&fixture), 1),
        workload("StatefulSet", "db", &bad, 1),
        workload("Deployment", "missing", "nowhere:1@sha256:00", 1),
    ];
    let spec = set(&fixture, "r1", objects);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    let told = |set: &paas_core::port::SetObservation| {
        set.instances.iter().find_map(|it| it.failure.clone()).map(|it| it.reason)
    };
    let seen = fixture.until(&spec.key, |set| told(set).as_deref() == Some("image_not_found")).await;
    assert_eq!((seen.ready(), seen.instances.len()), (0, 1));
    let message = seen.instances[0].failure.clone().unwrap().message;
    assert!(message.starts_with("missing-"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_well_is_ready_and_another_one_runs_anew() {
    let fixture = Fixture::new().await;
    let job = |arguments: &str| {
        let image = image(
            &fixture,
            "job",
            Image::new().with_end(Duration::from_millis(20), paas_core::memory::Ending::Exit(0)),
        );
        json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "migrate" }, "spec": { "template": {
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "m", "image": image, "args": [arguments] }] } } } })
    };
    let first = set(&fixture, "r1", vec![job("one")]);
    ok(fixture.cluster.ensure(Epoch(1), &first).await);
    fixture.until_ready(&first.key, 1).await;
    let api: Api<Job> = Api::namespaced(fixture.fake.client(), &namespace(&fixture).await);
    let before = api.get("migrate").await.unwrap().metadata.uid;
    ok(fixture.cluster.scale(Epoch(1), &first.key, 0.into()).await);
    let second = set(&fixture, "r2", vec![job("two")]);
    ok(fixture.cluster.ensure(Epoch(1), &second).await);
    fixture.until_ready(&second.key, 1).await;
    assert_ne!(api.get("migrate").await.unwrap().metadata.uid, before, "what a Job runs never changes");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_made_is_reported_and_left_alone() {
    let fixture = Fixture::new().await;
    let spec = set(&fixture, "r1", vec![config_map("first", "a"), config_map("taken", "ours")]);
    let other = set(&fixture, "r0", vec![config_map("other", "a")]);
    ok(fixture.cluster.ensure(Epoch(1), &other).await);
    ok(fixture.cluster.remove(Epoch(1), &other.key).await);
    let api: Api<ConfigMap> = Api::namespaced(fixture.fake.client(), &namespace(&fixture).await);
    let theirs: ConfigMap = serde_json::from_value(config_map("taken", "theirs")).unwrap();
    api.create(&PostParams::default(), &theirs).await.unwrap();
    let error = fixture.cluster.ensure(Epoch(1), &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert!(error.report().contains("ConfigMap/taken") && error.remedy().is_some(), "{}", error.report());
    assert_eq!(fixture.set(&spec.key).await.unwrap().desired, 0, "it is not in force");
    assert_eq!(api.get("taken").await.unwrap().data.unwrap()["key"], "theirs");
    // What asks again when it is gone comes through.
    api.delete("taken", &DeleteParams::default()).await.unwrap();
    ok(fixture.cluster.scale(Epoch(1), &spec.key, 1.into()).await);
    fixture.until_ready(&spec.key, 1).await;
    ok(fixture.cluster.remove(Epoch(1), &spec.key).await);
    assert!(api.get_opt("first").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_or_deleted_by_hand_is_restored() {
    let fixture = Fixture::new().await;
    let spec = set(&fixture, "r1", vec![config_map("one", "a"), config_map("two", "a")]);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    fixture.until_ready(&spec.key, 1).await;
    let api: Api<ConfigMap> = Api::namespaced(fixture.fake.client(), &namespace(&fixture).await);
    let patch = json!({ "data": { "key": "b", "more": "stays" } });
    api.patch("one", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    api.delete("two", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let one = api.get("one").await.unwrap().data.unwrap();
    assert_eq!((one["key"].as_str(), one["more"].as_str()), ("a", "stays"), "only what is ours is restored");
    assert!(api.get_opt("two").await.unwrap().is_some());
    // Out of force, nobody restores it.
    ok(fixture.cluster.scale(Epoch(1), &spec.key, 0.into()).await);
    api.delete("two", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(api.get_opt("two").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn values_of_secrets_are_in_the_secret_and_nowhere_else() {
    let fixture = Fixture::new().await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "db" },
        "stringData": { "password": { "secret": "db" } } });
    let mut spec = set(&fixture, "r1", vec![secret]);
    let named =
        SecretRef { name: "db".to_owned(), version: 1, fingerprint: SecretFingerprint("f".to_owned()) };
    spec.template.env.insert("Secret/db/password".to_owned(), ResolvedValue::Secret(named));
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    let api: Api<Secret> = Api::namespaced(fixture.fake.client(), &namespace(&fixture).await);
    assert_eq!(api.get("db").await.unwrap().data.unwrap()["password"].0, CANARY.as_bytes());
    let maps: Api<ConfigMap> = Api::all(fixture.fake.client());
    let maps = maps.list(&ListParams::default()).await.unwrap().items;
    assert!(!maps.is_empty() && !serde_json::to_string(&maps).unwrap().contains(CANARY));
}

#[tokio::test(start_paused = true)]
async fn volumes_stay_until_the_track_is_purged() {
    let fixture = Fixture::new().await;
    let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    let spec = set(&fixture, "r1", vec![claim]);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    fixture.until_ready(&spec.key, 1).await;
    ok(fixture.cluster.remove(Epoch(1), &spec.key).await);
    fixture.until_gone(&spec.key).await;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(fixture.fake.client(), &namespace(&fixture).await);
    assert!(api.get_opt("data").await.unwrap().is_some());
    ok(fixture.cluster.purge(Epoch(1), &spec.key.track).await);
    assert!(api.get_opt("data").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_older_server_changes_nothing() {
    let fixture = Fixture::new().await;
    let spec = set(&fixture, "r1", vec![config_map("one", "a")]);
    ok(fixture.cluster.ensure(Epoch(5), &spec).await);
    for answer in [
        fixture.cluster.ensure(Epoch(4), &spec).await,
        fixture.cluster.scale(Epoch(4), &spec.key, 0.into()).await,
        fixture.cluster.remove(Epoch(4), &spec.key).await,
    ] {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Fenced);
    }
    // Nor does it take over an object that a newer one has written.
    let late = set(&fixture, "r2", vec![config_map("one", "late")]);
    let answer = fixture.cluster.ensure(Epoch(4), &late).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(fixture.until_ready(&spec.key, 1).await.desired, 1);
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_and_a_restart_are_respected() {
    let fixture = Fixture::new().await;
    let scaler = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "web" }, "spec": { "minReplicas": 1, "maxReplicas": 5,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" } } });
    let objects = vec![workload("Deployment", "web", &ready(&fixture), 2), scaler];
    let first = set(&fixture, "r1", objects);
    ok(fixture.cluster.ensure(Epoch(1), &first).await);
    fixture.until_ready(&first.key, 1).await;
    let api: Api<Deployment> = Api::namespaced(fixture.fake.client(), &namespace(&fixture).await);
    let patch = json!({ "spec": { "replicas": 4 } });
    api.patch("web", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert_eq!(api.get("web").await.unwrap().spec.unwrap().replicas, Some(4));
    let mut second = first.clone();
    second.key.revision = revision("r2");
    second.template.restart_nonce = 1;
    ok(fixture.cluster.scale(Epoch(1), &first.key, 0.into()).await);
    ok(fixture.cluster.ensure(Epoch(1), &second).await);
    let pod = api.get("web").await.unwrap().spec.unwrap().template.metadata.unwrap();
    assert_eq!(pod.annotations.unwrap()[&format!("{DOMAIN}/restart")], "1");
    let pods: Api<Pod> = Api::all(fixture.fake.client());
    assert!(!pods.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn refused_objects_are_named_before_anything_is_made() {
    let fixture = Fixture::new().await;
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "all" } });
    let spec = set(&fixture, "r1", vec![config_map("one", "a"), role]);
    let error = fixture.cluster.ensure(Epoch(1), &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.faults(), fixture.cluster.refusals(&spec.template));
    assert_eq!(error.faults()[0].path, "manifests[1] Role/all.kind");
    let maps: Api<ConfigMap> = Api::all(fixture.fake.client());
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
}
