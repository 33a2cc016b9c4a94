//! Clusters that come and go while the platform runs.

use std::sync::Arc;

use paas_core::action::{
    AddCluster, ClusterChange, ClusterState, Deploy, NewCluster, NewEnv, PageOptions, UpdateCluster,
};
use paas_core::engine::Platform;
use paas_core::memory::{MemoryKeyRing, SimulatedDriver};
use paas_core::port::{ListOptions, Runtime as _, SecretValue};
use paas_core::{ClusterName, ErrorKind};
use serde_json::{Value, json};

use crate::harness::*;

const ADDRESS: &str = "east.example.org";

fn east() -> ClusterName {
    "east".parse().unwrap()
}

fn new(config: Value) -> NewCluster {
    NewCluster {
        name: east(),
        kind: "simulated".to_owned(),
        region: Some("eu-east-1".to_owned()),
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        config,
    }
}

fn password(text: &str) -> SecretValue {
    SecretValue::new(text)
}

/// A platform that was built with no cluster, and the driver that knows one.
struct Setting {
    world: World,
    driver: SimulatedDriver,
}

impl Setting {
    fn new() -> Self {
        let world = World::new();
        let driver = SimulatedDriver::new();
        driver.add(ADDRESS, "hunter2", world.cluster.ports());
        Self { world, driver }
    }

    async fn platform(&self) -> Platform {
        self.platform_with(Arc::clone(&self.world.key_ring)).await
    }

    async fn platform_with(&self, key_ring: Arc<MemoryKeyRing>) -> Platform {
        Platform::builder()
            .store(Arc::clone(&self.world.store))
            .driver(Arc::new(self.driver.clone()))
            .registry(Arc::new(self.world.images.clone()))
            .key_ring(key_ring)
            .clock(self.world.clock.clone())
            .ids(self.world.ids.clone())
            .administrator(admin())
            .build()
            .await
            .unwrap()
    }

    /// Adds the cluster and an application whose environment targets it.
    async fn prepare(&self, platform: &Platform) {
        let session = session(platform);
        session.add_cluster(new(json!({ "address": ADDRESS })), Some(password("hunter2"))).await.unwrap();
        self.world.prepare(platform).await;
    }
}

async fn until_open(platform: &Platform, open: bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while platform.services().clusters().contains_key(&east()) != open {
        assert!(tokio::time::Instant::now() < end, "the set of clusters does not change");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn applications_run_on_a_cluster_that_was_added_and_after_a_restart() {
    let setting = Setting::new();
    let platform = setting.platform().await;
    setting.prepare(&platform).await;
    until_open(&platform, true).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    assert_eq!(setting.ready_on_east("web").await, 3);
    platform.shutdown().await;
    drop(platform);

    let platform = setting.platform().await;
    assert!(platform.services().clusters().contains_key(&east()), "it is open when the platform is built");
    release(&platform, Deploy::spec(spec("2"))).await;
    let view = session(&platform).get_cluster(&east()).await.unwrap().value;
    assert_eq!((view.state, view.region.as_deref()), (ClusterState::Open, Some("eu-east-1")));
    assert_eq!(view.report.unwrap().version.as_deref(), Some("simulated"));
}

impl Setting {
    async fn ready_on_east(&self, component: &str) -> usize {
        let track = at().component(component.parse().unwrap()).on(east());
        let seen = self.world.cluster.runtime().observe(&track).await.unwrap();
        seen.sets.values().map(paas_core::port::SetObservation::ready).sum()
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_in_use_is_not_removed_and_one_that_is_not_goes() {
    let setting = Setting::new();
    let platform = setting.platform().await;
    setting.prepare(&platform).await;
    let session = session(&platform);
    let error = session.remove_cluster(&east()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.report().contains("shop/prod"), "{}", error.report());
    session.delete_app(&at().app_ref(), "web").await.unwrap();
    session.delete_env(&at().env_ref()).await.unwrap();
    until_open(&platform, true).await;
    session.remove_cluster(&east()).await.unwrap();
    until_open(&platform, false).await;
    let error = session.create_env(&at().org, NewEnv::new("prod".parse().unwrap())).await.unwrap_err();
    assert!(error.report().contains("no cluster yet"), "{}", error.report());
    assert_eq!(session.get_cluster(&east()).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_is_refused_and_nothing_is_kept() {
    let setting = Setting::new();
    let platform = setting.platform().await;
    let session = session(&platform);
    let error = session.add_cluster(new(json!({ "adress": ADDRESS })), None).await.unwrap_err();
    let paths: Vec<&str> = error.faults().iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(paths, ["config.address", "config.adress", "credentials"]);
    let error =
        session.add_cluster(new(json!({ "address": ADDRESS })), Some(password("wrong"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{}", error.report());
    assert!(!format!("{error:?} {}", error.report()).contains("wrong"));
    let unknown = NewCluster { kind: "mainframe".to_owned(), ..new(Value::Null) };
    let error = session.add_cluster(unknown, None).await.unwrap_err();
    assert!(error.report().contains("simulated"), "the kinds that there are are named: {}", error.report());
    setting.driver.set_away(ADDRESS, true);
    let error =
        session.add_cluster(new(json!({ "address": ADDRESS })), Some(password("hunter2"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    assert_eq!(setting.world.count("cluster").await, 0);

    // Whoever says that it may be away may add it.
    let new = new(json!({ "address": ADDRESS }));
    session
        .perform(AddCluster { new, credentials: Some(password("hunter2")), unreachable: true })
        .await
        .unwrap();
    let view = session.get_cluster(&east()).await.unwrap().value;
    assert_eq!(view.state, ClusterState::Unreachable);
    setting.driver.set_away(ADDRESS, false);
    assert_eq!(session.get_cluster(&east()).await.unwrap().value.state, ClusterState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_changed_cluster_is_opened_anew_and_its_applications_follow() {
    let setting = Setting::new();
    let platform = setting.platform().await;
    setting.prepare(&platform).await;
    until_open(&platform, true).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    // The same cluster under another address and with another password, as after a move of its interface.
    let other = "east-2.example.org";
    setting.driver.add(other, "correct horse", setting.world.cluster.ports());
    let session = session(&platform);
    let change = ClusterChange { config: Some(json!({ "address": other })), ..ClusterChange::default() };
    let error = session.update_cluster(&east(), change.clone(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "the old password does not do: {}", error.report());
    session.update_cluster(&east(), change, Some(password("correct horse"))).await.unwrap();
    release(&platform, Deploy::spec(spec("2"))).await;
    assert_eq!(setting.ready_on_east("web").await, 3);
    let labels = ClusterChange { labels: Some([].into()), ..ClusterChange::default() };
    let change = UpdateCluster { cluster: east(), change: labels, credentials: None, unreachable: false };
    session.perform(change).await.unwrap();
    let listed = session.list_clusters(PageOptions::default()).await.unwrap().items;
    assert_eq!(listed.len(), 1);
    assert!(listed[0].value.labels.is_empty() && listed[0].value.config == json!({ "address": other }));
}

#[tokio::test(start_paused = true)]
async fn nobody_finds_the_credentials_anywhere() {
    let setting = Setting::new();
    let platform = setting.platform().await;
    setting.prepare(&platform).await;
    let session = session(&platform);
    let mut told = vec![
        format!("{:?}", session.get_cluster(&east()).await.unwrap()),
        format!("{:?}", session.list_clusters(PageOptions::default()).await.unwrap()),
        format!("{:?}", platform.services()),
    ];
    for kind in ["cluster", "audit", "event", "request"] {
        let options = ListOptions { kind: kind.to_owned(), ..ListOptions::default() };
        told.push(format!("{:?}", setting.world.store.list(&options).await.unwrap()));
    }
    let told = told.concat();
    assert!(told.contains("cluster.add") && !told.contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_no_key_opens_are_named_and_the_rest_goes_on() {
    let setting = Setting::new();
    let platform = setting.platform().await;
    setting.prepare(&platform).await;
    platform.shutdown().await;
    drop(platform);
    let platform = setting.platform_with(Arc::new(MemoryKeyRing::new())).await;
    let listed = session(&platform).list_clusters(PageOptions::default()).await.unwrap().items;
    assert_eq!(listed[0].value.state, ClusterState::Failed);
    assert!(listed[0].value.reason.is_some());
    let change = ClusterChange::default();
    session(&platform).update_cluster(&east(), change, Some(password("hunter2"))).await.unwrap();
    until_open(&platform, true).await;
}
