//! Several clusters in one environment, of which some cannot be reached for a while.

mod ends;
mod order;
mod scheduled;

use std::sync::Arc;
use std::time::Duration;

use paas_core::action::{Deploy, EnvChange, NewApp, NewEnv, NewOrg};
use paas_core::engine::{AppState, Outcome, Platform};
use paas_core::memory::{FaultAction, Faults, Intercepted, Interceptor, Mutations, SimulatedCluster};
use paas_core::model::{ClusterOrder, OnClusterFailure, ReleaseNumber, ReleaseState};
use paas_core::port::{ClusterPorts, ListOptions, Router, Runtime};
use paas_core::{ClusterName, ErrorKind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::*;

/// A cluster whose calls may be struck.
struct Site {
    cluster: SimulatedCluster,
    faults: Arc<Faults>,
    mutations: Arc<Mutations>,
}

impl Site {
    fn new(world: &World) -> Self {
        Self {
            cluster: SimulatedCluster::with_clock(world.images.clone(), world.clock.clone()),
            faults: Arc::new(Faults::new()),
            mutations: Arc::new(Mutations::new()),
        }
    }

    fn ports(&self) -> ClusterPorts {
        let interceptors: Vec<Arc<dyn Interceptor>> = vec![self.faults.clone(), self.mutations.clone()];
        let ports = self.cluster.ports();
        let runtime: Arc<dyn Runtime> = Arc::new(Intercepted::new(ports.runtime, interceptors.clone()));
        let router: Arc<dyn Router> = Arc::new(Intercepted::new(ports.router, interceptors));
        ClusterPorts { runtime, router, ..ports }
    }

    /// Cut off: calls fail, or never return.
    fn cut(&self, how: FaultAction) {
        self.faults.always("*", how);
    }

    fn heal(&self) {
        self.faults.clear();
    }

    /// The instances of a component that are ready, by the image of their version.
    async fn ready(&self, component: &str, name: &str) -> usize {
        let track = at().component(crate::harness::name(component)).on(cluster(name));
        let seen = self.cluster.runtime().observe(&track).await.unwrap();
        seen.sets.values().map(paas_core::port::SetObservation::ready).sum()
    }

    async fn is_empty(&self) -> bool {
        self.cluster.runtime().tracks().await.unwrap().is_empty()
    }

    async fn revisions(&self, component: &str, name: &str) -> Vec<String> {
        let track = at().component(crate::harness::name(component)).on(cluster(name));
        let seen = self.cluster.runtime().observe(&track).await.unwrap();
        seen.sets.keys().map(ToString::to_string).collect()
    }
}

fn cluster(name: &str) -> ClusterName {
    name.parse().unwrap()
}

const GONE: FaultAction = FaultAction::FailBefore(ErrorKind::Unavailable);

/// A platform on the clusters east and west, and one that stands by.
struct Setting {
    world: World,
    east: Site,
    west: Site,
    platform: Platform,
}

impl Setting {
    async fn with(env: Value) -> Self {
        let world = World::new();
        let (east, west) = (Site::new(&world), Site::new(&world));
        let platform = Platform::builder()
            .store(Arc::clone(&world.store))
            .cluster(cluster("east"), east.ports())
            .cluster(cluster("west"), west.ports())
            .registry(Arc::new(world.images.clone()))
            .key_ring(world.key_ring.clone())
            .clock(world.clock.clone())
            .ids(world.ids.clone())
            .administrator(admin())
            .build()
            .await
            .unwrap();
        let session = session(&platform);
        session.create_org(NewOrg::new("shop".parse().unwrap())).await.unwrap();
        let env: NewEnv = serde_json::from_value(env).unwrap();
        session.create_env(&"shop".parse().unwrap(), env).await.unwrap();
        session.create_app(&"shop".parse().unwrap(), NewApp::new("web".parse().unwrap())).await.unwrap();
        Self { world, east, west, platform }
    }

    async fn new(targets: &[&str]) -> Self {
        Self::with(json!({ "name": "prod", "targets": targets_of(targets) })).await
    }

    async fn deploy(&self, deploy: Deploy) -> ReleaseNumber {
        session(&self.platform).deploy(&at(), deploy).await.unwrap().number
    }

    async fn retarget(&self, targets: &[&str]) {
        let targets = serde_json::from_value(targets_of(targets)).unwrap();
        let change = EnvChange { targets: Some(targets), ..EnvChange::default() };
        session(&self.platform).update_env(&at().env_ref(), change).await.unwrap();
    }

    async fn until(&self, what: &str, is: impl AsyncFnMut() -> bool) {
        self.world.until(what, is).await;
    }

    async fn current(&self) -> Option<ReleaseNumber> {
        session(&self.platform).status(&at()).await.unwrap().current.map(|release| release.number)
    }

    async fn told(&self) -> String {
        let options = ListOptions { kind: "event".to_owned(), ..ListOptions::default() };
        format!("{:?}", self.world.store.list(&options).await.unwrap().documents)
    }

    async fn ended(&self, number: ReleaseNumber) -> Outcome {
        session(&self.platform).wait_released(&at(), number, PATIENCE).await.unwrap()
    }
}

fn targets_of(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "cluster": name })).collect()
}

fn keep(deploy: Deploy) -> Deploy {
    Deploy { on_cluster_failure: Some(OnClusterFailure::Keep), ..deploy }
}

#[tokio::test(start_paused = true)]
async fn with_keep_a_release_finishes_while_a_cluster_is_cut_off_and_both_converge_after_it_is_healed() {
    for how in [GONE, FaultAction::Hang] {
        let setting = Setting::new(&["east", "west"]).await;
        release(&setting.platform, Deploy::spec(spec("1"))).await;
        let before = setting.west.revisions("web", "west").await;
        setting.west.cut(how);
        let start = Instant::now();
        let number = setting.deploy(keep(Deploy::spec(spec("2")))).await;
        assert_eq!(setting.ended(number).await, Outcome::Succeeded);
        assert!(start.elapsed() < Duration::from_mins(2), "{:?}", start.elapsed());
        assert_eq!(setting.current().await, Some(number));
        let status = session(&setting.platform).status(&at()).await.unwrap();
        let west = &status.clusters[1];
        assert_eq!(west.cluster, cluster("west"));
        assert!(west.away.is_some(), "{west:?}");
        assert!(west.stale.contains(&name("web")), "{west:?}");
        assert!(west.behind.as_ref().unwrap().contains("on its way"), "{west:?}");
        assert_eq!(west.release, Some(ReleaseNumber(1)));
        assert!(status.reasons.iter().any(|reason| reason.contains("cluster west cannot be reached since")));
        assert_ne!(status.state, AppState::Unknown, "east can be seen");
        sleep(Duration::from_mins(20)).await;
        setting.west.heal();
        setting
            .until("west has it, too", async || {
                let revisions = setting.west.revisions("web", "west").await;
                revisions.len() == 1 && revisions != before && setting.west.ready("web", "west").await == 3
            })
            .await;
        setting
            .until("nobody is behind", async || {
                let status = session(&setting.platform).status(&at()).await.unwrap();
                status.clusters.iter().all(|it| {
                    it.behind.is_none() && it.away.is_none() && it.release == Some(ReleaseNumber(2))
                })
            })
            .await;
        assert_eq!(setting.east.revisions("web", "east").await, setting.west.revisions("web", "west").await);
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_a_release_waits_for_a_cluster_until_its_deadline_and_then_goes_back_everywhere() {
    let setting = Setting::new(&["east", "west"]).await;
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    let before = setting.east.revisions("web", "east").await;
    setting.west.cut(GONE);
    let start = Instant::now();
    let number = setting.deploy(Deploy::spec(spec("2"))).await;
    let Outcome::Aborted { reason } = setting.ended(number).await else { panic!("it went on without west") };
    assert!(reason.contains("cluster west cannot be reached since"), "{reason}");
    let waited = start.elapsed();
    assert!(waited > Duration::from_mins(10) && waited < Duration::from_mins(13), "{waited:?}");
    assert_eq!(setting.current().await, Some(ReleaseNumber(1)));
    setting.until("east is back", async || setting.east.revisions("web", "east").await == before).await;
    // The next one, by another policy, does not wait.
    let number = setting.deploy(keep(Deploy::spec(spec("3")))).await;
    assert_eq!(setting.ended(number).await, Outcome::Succeeded);
    setting.west.heal();
    setting
        .until("both have it", async || {
            let east = setting.east.revisions("web", "east").await;
            east.len() == 1 && east != before && east == setting.west.revisions("web", "west").await
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_only_delays_a_release() {
    let setting = Setting::new(&["east", "west"]).await;
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    setting.west.cut(FaultAction::Hang);
    let number = setting.deploy(Deploy::spec(spec("2"))).await;
    sleep(Duration::from_mins(1)).await;
    assert_eq!(setting.current().await, Some(ReleaseNumber(1)));
    setting.west.heal();
    assert_eq!(setting.ended(number).await, Outcome::Succeeded);
    setting
        .until("both have it", async || {
            let east = setting.east.revisions("web", "east").await;
            east.len() == 1 && east == setting.west.revisions("web", "west").await
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_hangs_does_not_slow_the_applications_of_another() {
    let setting = Setting::new(&["west"]).await;
    let session = session(&setting.platform);
    // More applications on the cluster that hangs than anything has workers.
    let org = &at().org;
    let mut apps = Vec::new();
    for index in 0..12 {
        let app = format!("app{index}");
        session.create_app(org, NewApp::new(app.parse().unwrap())).await.unwrap();
        let place: paas_core::AppEnv = format!("shop/prod/{app}").parse().unwrap();
        let mut spec = spec("1");
        spec.routes[0].host = Some(format!("{app}.example.org"));
        session.deploy(&place, Deploy::spec(spec)).await.unwrap();
        apps.push(place);
    }
    for app in &apps {
        session.wait_released(app, ReleaseNumber(1), PATIENCE).await.unwrap();
    }
    let env: NewEnv =
        serde_json::from_value(json!({ "name": "other", "targets": targets_of(&["east"]) })).unwrap();
    session.create_env(org, env).await.unwrap();
    setting.west.cut(FaultAction::Hang);
    for app in &apps {
        session.scale(app, &name("web"), 4).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    let place: paas_core::AppEnv = "shop/other/web".parse().unwrap();
    let start = Instant::now();
    session.deploy(&place, Deploy::spec(spec("1"))).await.unwrap();
    session.wait_released(&place, ReleaseNumber(1), PATIENCE).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_a_cluster_is_away_and_nothing_is_to_be_done() {
    let setting = Setting::new(&["east", "west"]).await;
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    sleep(Duration::from_mins(1)).await;
    setting.west.cut(GONE);
    // A release that waits for the cluster writes that it does, once.
    for waits in [false, true] {
        if waits {
            setting.deploy(keep(Deploy::spec(spec("2")))).await;
            sleep(Duration::from_mins(2)).await;
        }
        setting.east.mutations.take();
        let others = async |world: &World| {
            let mut found = Vec::new();
            for kind in ["track", "rollout", "app_env", "event", "release", "scale", "routes"] {
                let options = ListOptions { kind: kind.to_owned(), ..ListOptions::default() };
                let documents = world.store.list(&options).await.unwrap().documents;
                found.extend(documents.into_iter().map(|it| (it.key, it.modified)));
            }
            found
        };
        let before = others(&setting.world).await;
        for _ in 0..3 {
            setting.platform.resync();
            sleep(Duration::from_mins(15)).await;
        }
        assert_eq!(others(&setting.world).await, before, "waits: {waits}");
        assert_eq!(setting.east.mutations.take(), Vec::new());
    }
}

#[tokio::test(start_paused = true)]
async fn one_by_one_the_second_cluster_begins_when_the_first_has_committed() {
    let setting = Setting::with(json!({
        "name": "prod", "targets": targets_of(&["west", "east"]), "cluster_order": "one_by_one",
    }))
    .await;
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    let before = setting.east.revisions("web", "east").await;
    setting.west.cluster.set_capacity(Some(5));
    let number = setting.deploy(Deploy::spec(spec("2"))).await;
    sleep(Duration::from_mins(1)).await;
    assert_eq!(setting.east.revisions("web", "east").await, before, "west has not got it yet");
    setting.west.cluster.set_capacity(None);
    assert_eq!(setting.ended(number).await, Outcome::Succeeded);
    assert_ne!(setting.east.revisions("web", "east").await, before);
    // A single deploy says otherwise.
    setting.west.cut(GONE);
    let all = Deploy { cluster_order: Some(ClusterOrder::AllAtOnce), ..keep(Deploy::spec(spec("3"))) };
    let number = setting.deploy(all).await;
    assert_eq!(setting.ended(number).await, Outcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_an_environment_gets_has_the_current_release_soon() {
    let setting = Setting::new(&["east"]).await;
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    release(&setting.platform, Deploy::spec(spec("2"))).await;
    let targets = json!([{ "cluster": "east" }, { "cluster": "west", "max_instances": 2 }]);
    let change =
        EnvChange { targets: Some(serde_json::from_value(targets).unwrap()), ..EnvChange::default() };
    session(&setting.platform).update_env(&at().env_ref(), change).await.unwrap();
    setting.until("west has it", async || setting.west.ready("web", "west").await == 2).await;
    assert_eq!(setting.west.revisions("web", "west").await, setting.east.revisions("web", "east").await);
    assert_eq!(setting.current().await, Some(ReleaseNumber(2)), "no new release");
    setting
        .until("it is told", async || setting.told().await.contains("release 2, the current one, is on west"))
        .await;
    assert_eq!(setting.west.ready("web", "west").await, 2, "within the bounds there");
    assert!(setting.west.cluster.request(HOST, "/").is_ok(), "with its access points");
    let started = session(&setting.platform).deploy(&at(), Deploy::spec(spec("3"))).await.unwrap();
    assert!(started.notes.iter().any(|note| note.contains("on west: west 1 to 2")), "{:?}", started.notes);
    assert_eq!(setting.ended(started.number).await, Outcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_an_environment_loses_is_left_and_the_others_are_not_touched() {
    let setting = Setting::new(&["east", "west"]).await;
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    sleep(Duration::from_mins(1)).await;
    setting.east.mutations.take();
    setting.west.cut(GONE);
    setting.retarget(&["east"]).await;
    sleep(Duration::from_mins(5)).await;
    assert!(!setting.west.is_empty().await);
    let status = session(&setting.platform).status(&at()).await.unwrap();
    assert!(status.clusters[1].leaving, "{:?}", status.clusters);
    setting.west.heal();
    setting.until("west is left", async || setting.west.is_empty().await).await;
    setting
        .until("no track is left there", async || {
            session(&setting.platform).status(&at()).await.unwrap().clusters.len() == 1
        })
        .await;
    assert!(setting.west.cluster.request(HOST, "/").is_err(), "its access points are gone, too");
    assert!(setting.east.cluster.request(HOST, "/").is_ok());
    assert_eq!(setting.east.mutations.take(), Vec::new());
    // It may come again.
    setting.retarget(&["east", "west"]).await;
    setting.until("west has it again", async || setting.west.ready("web", "west").await == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_fails_on_one_cluster_leaves_it_behind_until_somebody_tries_again() {
    let setting = Setting::new(&["east", "west"]).await;
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    let before = setting.west.revisions("web", "west").await;
    setting.west.cluster.set_capacity(Some(5));
    let number = setting.deploy(keep(Deploy::spec(spec("2")))).await;
    // A refused quota holds; somebody ends it there, and east keeps what it has.
    sleep(Duration::from_mins(1)).await;
    session(&setting.platform).abort(&at(), "west is full").await.unwrap();
    assert_eq!(setting.ended(number).await, Outcome::Succeeded);
    let status = session(&setting.platform).status(&at()).await.unwrap();
    assert!(status.clusters[1].behind.as_ref().unwrap().contains("west is full"), "{:?}", status.clusters);
    let found = session(&setting.platform).release(&at(), number).await.unwrap();
    assert!(matches!(found.state, ReleaseState::Committed { .. }));
    setting.until("west is back", async || setting.west.revisions("web", "west").await == before).await;
    sleep(Duration::from_mins(30)).await;
    assert_eq!(setting.west.revisions("web", "west").await, before, "nothing tries again by itself");
    setting.west.cluster.set_capacity(None);
    session(&setting.platform).retry(&at()).await.unwrap();
    setting
        .until("west has it", async || {
            let now = setting.west.revisions("web", "west").await;
            now.len() == 1 && now != before
        })
        .await;
}
