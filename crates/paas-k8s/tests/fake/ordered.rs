//! Stateful components: what ordered sets come to on a cluster.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use paas_core::Result;
use paas_core::memory::Image;
use paas_core::model::{ComponentKind, VolumeMount};
use paas_core::port::{Epoch, Ordinals, Runtime as _, SetObservation, SetSpec};
use paas_k8s::fake::{Fault, Verb};
use paas_k8s::kube::Api;
use paas_k8s::kube::api::{DeleteParams, ListParams};

use crate::fixture::*;

const ROUNDS: usize = 2_000;

fn database(fixture: &Fixture, name: &str, image: Image, first: u32, count: u32) -> SetSpec {
    let mut spec = fixture.spec(&track("db"), name, count);
    spec.first = first;
    spec.template = fixture.template(&track("db").component, &format!("db:{name}"), image);
    spec.template.kind = ComponentKind::Stateful;
    let volume = VolumeMount { name: "data".parse().unwrap(), path: "/data".to_owned(), read_only: false };
    spec.template.volumes.push(volume);
    spec
}

fn good() -> Image {
    Image::new().with_ready_after(Duration::from_millis(20))
}

async fn until(fixture: &Fixture, spec: &SetSpec, is: impl Fn(&SetObservation) -> bool) -> Result<()> {
    for _ in 0..ROUNDS {
        let seen = fixture.cluster.observe(&spec.key.track).await?;
        if seen.sets.get(&spec.key.revision).is_some_and(&is) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:#?}", fixture.cluster.observe(&spec.key.track).await)
}

fn ordinals(set: &SetObservation) -> Vec<u32> {
    set.instances.iter().filter_map(|instance| instance.ordinal).collect()
}

/// What the engine does with a stateful component: a version that never becomes ready is replaced in part, and all is removed.
pub(crate) async fn exercise(fixture: &Fixture) -> Result<()> {
    let cluster = &fixture.cluster;
    let first = database(fixture, "s1", good(), 0, 2);
    let broken = database(fixture, "s2", Image::new().never_ready(), 0, 2);
    let third = database(fixture, "s3", good(), 1, 1);
    cluster.ensure(Epoch(1), &first).await?;
    until(fixture, &first, |set| set.ready() == 2).await?;
    cluster.scale(Epoch(1), &first.key, 0.into()).await?;
    cluster.ensure(Epoch(1), &broken).await?;
    until(fixture, &broken, |set| ordinals(set) == [0, 1] && set.ready() == 0).await?;
    cluster.scale(Epoch(1), &broken.key, 1.into()).await?;
    cluster.ensure(Epoch(1), &third).await?;
    until(fixture, &third, |set| ordinals(set) == [1] && set.ready() == 1).await?;
    for spec in [&first, &broken, &third] {
        cluster.remove(Epoch(1), &spec.key).await?;
    }
    for _ in 0..ROUNDS {
        if cluster.observe(&first.key.track).await?.sets.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.purge(Epoch(1), &first.key.track).await
}

async fn stateful_set(fixture: &Fixture) -> StatefulSet {
    let api: Api<StatefulSet> = Api::all(fixture.fake.client());
    api.list(&ListParams::default()).await.unwrap().items.remove(0)
}

async fn claims(fixture: &Fixture) -> Vec<String> {
    let api: Api<PersistentVolumeClaim> = Api::all(fixture.fake.client());
    let found = api.list(&ListParams::default()).await.unwrap().items;
    found.into_iter().filter_map(|claim| claim.metadata.name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_track_is_one_stateful_set_whose_claims_outlive_its_ordinals() {
    let fixture = Fixture::new().await;
    let spec = database(&fixture, "s1", good(), 0, 3);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    ok(until(&fixture, &spec, |set| set.ready() == 3).await);
    let set = stateful_set(&fixture).await;
    let name = set.metadata.name.clone().unwrap();
    let made = set.spec.unwrap();
    assert_eq!((made.replicas, made.pod_management_policy.as_deref()), (Some(3), Some("Parallel")));
    let names: Vec<String> = (0..3).map(|ordinal| format!("volume-data-{name}-{ordinal}")).collect();
    assert_eq!(claims(&fixture).await, names);
    ok(fixture.cluster.scale(Epoch(1), &spec.key, 1.into()).await);
    ok(until(&fixture, &spec, |set| ordinals(set) == [0]).await);
    assert_eq!(claims(&fixture).await, names, "they wait for their ordinals");
    ok(fixture.cluster.remove(Epoch(1), &spec.key).await);
    for _ in 0..ROUNDS {
        if ok(fixture.cluster.observe(&spec.key.track).await).sets.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(claims(&fixture).await, names, "a rollback may need its data");
    ok(fixture.cluster.purge(Epoch(1), &spec.key.track).await);
    assert!(claims(&fixture).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_below_the_partition_comes_back_as_what_it_was() {
    let fixture = Fixture::new().await;
    let first = database(&fixture, "s1", good(), 0, 1);
    let broken = database(&fixture, "s2", Image::new().never_ready(), 0, 2);
    let third = database(&fixture, "s3", good(), 1, 1);
    ok(fixture.cluster.ensure(Epoch(1), &first).await);
    ok(until(&fixture, &first, |set| set.ready() == 1).await);
    ok(fixture.cluster.scale(Epoch(1), &first.key, 0.into()).await);
    // Nobody takes it for current by himself: it never becomes ready.
    ok(fixture.cluster.ensure(Epoch(1), &broken).await);
    ok(until(&fixture, &broken, |set| ordinals(set) == [0, 1]).await);
    ok(fixture.cluster.scale(Epoch(1), &broken.key, 1.into()).await);
    ok(fixture.cluster.ensure(Epoch(1), &third).await);
    ok(until(&fixture, &third, |set| ordinals(set) == [1] && set.ready() == 1).await);
    let name = stateful_set(&fixture).await.metadata.name.unwrap();
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::all(fixture.fake.client());
    let before = pods.list(&ListParams::default()).await.unwrap().items;
    let zero = before.iter().find(|pod| pod.metadata.name == Some(format!("{name}-0"))).unwrap();
    let inside: Api<k8s_openapi::api::core::v1::Pod> =
        Api::namespaced(fixture.fake.client(), zero.metadata.namespace.as_deref().unwrap());
    inside.delete(&format!("{name}-0"), &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    ok(until(&fixture, &broken, |set| ordinals(set) == [0]).await);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_and_cut_off_is_done_by_whoever_looks() {
    let fixture = Fixture::new().await;
    let spec = database(&fixture, "s1", good(), 0, 1);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    ok(until(&fixture, &spec, |set| set.ready() == 1).await);
    fixture.fake.inject(Verb::Update, Some("statefulsets"), Fault::Status(403), 1);
    assert!(fixture.cluster.scale(Epoch(1), &spec.key, Ordinals::from(2)).await.is_err());
    fixture.fake.heal();
    ok(until(&fixture, &spec, |set| ordinals(set) == [0, 1] && set.ready() == 2).await);
}
