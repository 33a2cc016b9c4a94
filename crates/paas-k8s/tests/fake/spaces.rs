//! Spaces: what they are made of, and that drift is restored and told.

use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use paas_core::port::{Epoch, Spaces};
use paas_core::{Bytes, Cpu, EnvRef, ErrorKind};
use paas_k8s::SpaceOptions;
use paas_k8s::kube::Api;
use paas_k8s::kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::fixture::{Fixture, ok, options};

fn at() -> EnvRef {
    "org/test".parse().unwrap()
}

async fn bounded() -> Fixture {
    let space = SpaceOptions::default()
        .with_instances(5)
        .with_totals(Cpu::from_milli(2000), Bytes::from_mebi(1024))
        .isolated();
    Fixture::with(options().with_space(space)).await
}

async fn namespace(fixture: &Fixture) -> Namespace {
    let all: Api<Namespace> = Api::all(fixture.fake.client());
    let found = all.list(&ListParams::default()).await.unwrap();
    found
        .items
        .into_iter()
        .find(|it| it.metadata.name.as_ref().unwrap().starts_with("test-org-test"))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_space_has_its_bounds_and_a_second_look_changes_nothing() {
    let fixture = bounded().await;
    assert_eq!(
        ok(Spaces::ensure(&fixture.cluster, Epoch(1), &at()).await),
        Vec::new(),
        "a new space is no drift"
    );
    let made = namespace(&fixture).await;
    let labels = made.metadata.labels.unwrap();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(
        (labels["paas.example.org/org"].as_str(), labels["paas.example.org/env"].as_str()),
        ("org", "test")
    );
    assert_eq!(ok(Spaces::list(&fixture.cluster).await), [at()]);
    let writes = fixture.fake.writes();
    assert_eq!(ok(Spaces::ensure(&fixture.cluster, Epoch(1), &at()).await), Vec::new());
    assert_eq!(fixture.fake.writes(), writes, "converged means no write");
}

#[tokio::test(start_paused = true)]
async fn drift_is_restored_and_told() {
    let fixture = bounded().await;
    ok(Spaces::ensure(&fixture.cluster, Epoch(1), &at()).await);
    let name = namespace(&fixture).await.metadata.name.unwrap();
    let quotas: Api<ResourceQuota> = Api::namespaced(fixture.fake.client(), &name);
    let more = json!({ "spec": { "hard": { "pods": "500" } } });
    quotas.patch("paas-space", &PatchParams::default(), &Patch::Merge(more)).await.unwrap();
    let policies: Api<NetworkPolicy> = Api::namespaced(fixture.fake.client(), &name);
    policies.delete("paas-space-deny", &DeleteParams::default()).await.unwrap();

    let drift = ok(Spaces::ensure(&fixture.cluster, Epoch(1), &at()).await);
    let told: Vec<(&str, bool)> = drift.iter().map(|it| (it.kind.as_str(), it.missing)).collect();
    assert_eq!(told, [("ResourceQuota", false), ("NetworkPolicy", true)]);
    let quota = quotas.get("paas-space").await.unwrap();
    assert_eq!(quota.spec.unwrap().hard.unwrap()["pods"].0, "5");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_namespace_of_the_name_is_reported_and_left_alone() {
    let fixture = bounded().await;
    ok(Spaces::ensure(&fixture.cluster, Epoch(1), &at()).await);
    let name = namespace(&fixture).await.metadata.name.unwrap();
    ok(Spaces::remove(&fixture.cluster, Epoch(1), &at()).await);
    let all: Api<Namespace> = Api::all(fixture.fake.client());
    let foreign: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    all.create(&PostParams::default(), &foreign).await.unwrap();
    let error = Spaces::ensure(&fixture.cluster, Epoch(1), &at()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    let error = Spaces::remove(&fixture.cluster, Epoch(1), &at()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert!(all.get_opt(&name).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_space_that_holds_volumes_stays() {
    let fixture = bounded().await;
    ok(Spaces::ensure(&fixture.cluster, Epoch(1), &at()).await);
    let name = namespace(&fixture).await.metadata.name.unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(fixture.fake.client(), &name);
    let claim = serde_json::from_value(json!({ "metadata": { "name": "data" } })).unwrap();
    claims.create(&PostParams::default(), &claim).await.unwrap();
    let error = Spaces::remove(&fixture.cluster, Epoch(1), &at()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert_eq!(ok(Spaces::list(&fixture.cluster).await), [at()]);
    claims.delete("data", &DeleteParams::default()).await.unwrap();
    ok(Spaces::remove(&fixture.cluster, Epoch(1), &at()).await);
}
