//! What only Kubernetes has: names, foreign objects, secrets, quotas, nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use paas_core::ErrorKind;
use paas_core::model::{
    CallTarget, ResolvedFile, ResolvedValue, RestartPolicy, SecretFingerprint, SecretRef,
};
use paas_core::port::{Epoch, Nodes as _, Runtime as _};
use paas_k8s::kube::Api;
use paas_k8s::kube::api::{DeleteParams, ListParams, PostParams};

use super::fixture::{CANARY, Fixture, http, ok, track};

async fn deployments(fixture: &Fixture) -> Vec<Deployment> {
    let all: Api<Deployment> = Api::all(fixture.fake.client());
    all.list(&ListParams::default()).await.unwrap().items
}

#[tokio::test(start_paused = true)]
async fn a_foreign_deployment_of_the_name_is_reported_and_left_alone() {
    let fixture = Fixture::new().await;
    let spec = fixture.spec(&track("shop"), "r1", 1);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    let mut foreign = deployments(&fixture).await.remove(0);
    let api: Api<Deployment> =
        Api::namespaced(fixture.fake.client(), foreign.metadata.namespace.as_ref().unwrap());
    let name = foreign.metadata.name.clone().unwrap();
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    foreign.metadata.labels = Some(BTreeMap::new());
    api.create(&PostParams::default(), &foreign).await.unwrap();

    let error = fixture.cluster.ensure(Epoch(1), &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert!(error.report().contains(&name), "{}", error.report());
    let error = fixture.cluster.scale(Epoch(1), &spec.key, 3.into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    ok(fixture.cluster.remove(Epoch(1), &spec.key).await);
    assert!(api.get_opt(&name).await.unwrap().is_some(), "ours is missing; theirs stays");
}

#[tokio::test(start_paused = true)]
async fn a_second_ensure_writes_nothing() {
    let fixture = Fixture::new().await;
    let spec = fixture.spec(&track("shop"), "r1", 2);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    fixture.until_ready(&spec.key, 2).await;
    let writes = fixture.fake.writes();
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    ok(fixture.cluster.scale(Epoch(1), &spec.key, 2.into()).await);
    ok(fixture.cluster.observe(&spec.key.track).await);
    assert_eq!(fixture.fake.writes(), writes, "converged means no write");
}

#[tokio::test(start_paused = true)]
async fn secrets_are_in_an_immutable_secret_and_nowhere_else() {
    let fixture = Fixture::new().await;
    let mut spec = fixture.spec(&track("shop"), "r1", 1);
    let secret =
        SecretRef { name: "password".to_owned(), version: 1, fingerprint: SecretFingerprint("f".to_owned()) };
    spec.template.env.insert("PASSWORD".to_owned(), ResolvedValue::Secret(secret.clone()));
    spec.template.files.push(ResolvedFile {
        path: "/etc/key".to_owned(),
        content: ResolvedValue::Secret(secret),
        mode: 0o440,
    });
    spec.template.files.push(ResolvedFile {
        path: "/etc/plain".to_owned(),
        content: ResolvedValue::Plain("plain".to_owned()),
        mode: 0o444,
    });
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    assert_eq!(fixture.set(&spec.key).await.unwrap().desired, 1);
    fixture.until_ready(&spec.key, 1).await;
    let all: Api<Secret> = Api::all(fixture.fake.client());
    let secrets = all.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(secrets.len(), 1);
    assert_eq!(secrets[0].immutable, Some(true));
    assert!(secrets[0].data.as_ref().unwrap().values().all(|value| value.0 == CANARY.as_bytes()));
    let texts = serde_json::to_string(&deployments(&fixture).await).unwrap();
    assert!(!texts.contains(CANARY));
    ok(fixture.cluster.remove(Epoch(1), &spec.key).await);
    fixture.until_gone(&spec.key).await;
    assert!(all.list(&ListParams::default()).await.unwrap().items.is_empty(), "it goes with its set");
}

#[tokio::test(start_paused = true)]
async fn what_kubernetes_cannot_do_is_refused_before_anything_happens() {
    let fixture = Fixture::new().await;
    let mut spec = fixture.spec(&track("shop"), "r1", 1);
    spec.template.restart = RestartPolicy::Never;
    spec.template.resources.pids = Some(10);
    spec.template.security.user = Some("www-data".to_owned());
    let error = fixture.cluster.ensure(Epoch(1), &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.faults().len(), 3, "all faults at once: {}", error.report());
    assert!(deployments(&fixture).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_quota_is_told_with_its_figures_and_ends_with_room() {
    let fixture = Fixture::new().await;
    fixture.fake.set_room(Some(1));
    let spec = fixture.spec(&track("shop"), "r1", 2);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    let set = fixture.until(&spec.key, |set| set.failure.is_some()).await;
    let failure = set.failure.unwrap();
    assert_eq!(failure.reason, "quota");
    assert!(failure.message.contains("limited: pods=1"), "{failure:?}");
    fixture.fake.set_room(None);
    let set = fixture.until_ready(&spec.key, 2).await;
    assert_eq!(set.failure, None);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_no_node_takes_says_so() {
    let fixture = Fixture::new().await;
    fixture.fake.set_schedulable(false);
    let spec = fixture.spec(&track("shop"), "r1", 1);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    let set = fixture.until(&spec.key, |set| set.instances.iter().any(|it| it.failure.is_some())).await;
    assert_eq!(set.instances[0].failure.as_ref().unwrap().reason, "no_capacity");
    fixture.fake.set_schedulable(true);
    fixture.until_ready(&spec.key, 1).await;
}

#[tokio::test(start_paused = true)]
async fn components_are_called_under_their_names() {
    let fixture = Fixture::new().await;
    let mut spec = fixture.spec(&track("shop"), "r1", 1);
    let callee = "org/test/shop/api".parse().unwrap();
    spec.template.calls.push(CallTarget { component: callee, port: http() });
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    fixture.until_ready(&spec.key, 1).await;
    let all: Api<Pod> = Api::all(fixture.fake.client());
    let pods = all.list(&ListParams::default()).await.unwrap().items;
    let aliases = pods[0].spec.as_ref().unwrap().host_aliases.clone().unwrap();
    assert_eq!(aliases[0].hostnames, Some(vec!["api".to_owned()]));
    assert!(aliases[0].ip.starts_with("10.96."), "{aliases:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_honours_budgets() {
    let fixture = Fixture::new().await;
    let spec = fixture.spec(&track("shop"), "r1", 2);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    fixture.until_ready(&spec.key, 2).await;
    let nodes = ok(paas_core::port::Nodes::list(&fixture.cluster).await);
    assert_eq!((nodes.len(), nodes[0].ready, nodes[0].schedulable), (1, true, true));
    let report = ok(fixture.cluster.drain("node-0", Duration::from_secs(2)).await);
    assert!(!report.evicted.is_empty(), "{report:?}");
    assert!(!ok(paas_core::port::Nodes::list(&fixture.cluster).await)[0].schedulable);
    ok(fixture.cluster.cordon("node-0", false).await);
}
