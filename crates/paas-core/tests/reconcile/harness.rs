//! A world that outlives platforms: a store, images and a simulated cluster.

use std::sync::Arc;
use std::time::Duration;

use paas_core::action::{Deploy, NewApp, NewEnv, NewOrg};
use paas_core::engine::{OnHeld, Outcome, Platform, SecretResolver, Session, Settings};
use paas_core::memory::{
    Call, Image, Images, Intercepted, Interceptor, MemoryKeyRing, MemoryStore, SimulatedCluster, TokioClock,
    intercept_cluster,
};
use paas_core::model::AppSpec;
use paas_core::port::{InstancePhase, KeyRing, ListOptions, Runtime as _, Store, TrackObservation};
use paas_core::tenancy::Actor;
use paas_core::{AppEnv, ClusterName, ComponentName, CountingIds, TrackKey};
use serde_json::{Value, json};

/// How long anything may take, in the simulation's time.
pub const PATIENCE: Duration = Duration::from_hours(1);

pub struct World {
    pub store: Arc<dyn Store>,
    pub images: Images,
    pub cluster: SimulatedCluster,
    pub clock: Arc<TokioClock>,
    pub ids: Arc<CountingIds>,
    pub key_ring: Arc<MemoryKeyRing>,
}

impl World {
    pub fn new() -> Self {
        Self::with_clock(TokioClock::default())
    }

    pub fn with_clock(clock: TokioClock) -> Self {
        let images = Images::new();
        for version in ["1", "2", "3"] {
            for name in ["web", "api", "worker"] {
                images.push(
                    &format!("{name}:{version}"),
                    Image::new().with_ready_after(Duration::from_millis(20)),
                );
            }
        }
        let clock = Arc::new(clock);
        let cluster = SimulatedCluster::with_clock(images.clone(), clock.clone());
        Self {
            store: Arc::new(MemoryStore::new()),
            images,
            cluster,
            clock,
            ids: Arc::new(CountingIds::default()),
            key_ring: Arc::new(MemoryKeyRing::new()),
        }
    }

    /// A platform whose calls to the store, the key ring and the cluster pass the interceptors.
    pub async fn platform(&self, interceptors: &[Arc<dyn Interceptor>]) -> Platform {
        self.platform_with(interceptors, OnHeld::TakeOver).await
    }

    pub async fn platform_with(&self, interceptors: &[Arc<dyn Interceptor>], on_held: OnHeld) -> Platform {
        self.try_platform(interceptors, on_held).await.unwrap()
    }

    pub async fn try_platform(
        &self,
        interceptors: &[Arc<dyn Interceptor>],
        on_held: OnHeld,
    ) -> paas_core::Result<Platform> {
        let ports = intercept_cluster(self.cluster.ports(), interceptors);
        let store: Arc<dyn Store> = Arc::new(Intercepted::new(self.store.clone(), interceptors.to_vec()));
        let keys: Arc<dyn KeyRing> = self.key_ring.clone();
        let keys: Arc<dyn KeyRing> = Arc::new(Intercepted::new(keys, interceptors.to_vec()));
        self.cluster.set_secrets(Arc::new(SecretResolver::new(self.store.clone(), keys.clone())));
        let mut settings = Settings::default();
        settings.lease.on_held = on_held;
        Platform::builder()
            .store(store)
            .cluster(ClusterName::local(), ports)
            .registry(Arc::new(self.images.clone()))
            .key_ring(keys)
            .clock(self.clock.clone())
            .ids(self.ids.clone())
            .settings(settings)
            .administrator(admin())
            .build()
            .await
    }

    /// A platform, or nothing if it was killed while it started.
    pub async fn platform_unless(
        &self,
        interceptors: &[Arc<dyn Interceptor>],
        killed: &tokio::sync::Notify,
    ) -> Option<Platform> {
        tokio::select! {
            biased;
            () = killed.notified() => None,
            platform = self.platform(interceptors) => Some(platform),
        }
    }

    /// An organisation, an environment and an application.
    pub async fn prepare(&self, platform: &Platform) {
        let session = session(platform);
        session.create_org(NewOrg::new("shop".parse().unwrap())).await.unwrap();
        let env: NewEnv = serde_json::from_value(json!({ "name": "prod" })).unwrap();
        session.create_env(&"shop".parse().unwrap(), env).await.unwrap();
        let app: NewApp = serde_json::from_value(json!({ "name": "web" })).unwrap();
        session.create_app(&"shop".parse().unwrap(), app).await.unwrap();
    }

    /// A track as the cluster has it, whatever any platform thinks.
    pub async fn observe(&self, component: &str) -> TrackObservation {
        self.cluster.runtime().observe(&track(component)).await.unwrap()
    }

    /// How many instances of a component are ready, and how many there are at all.
    pub async fn ready(&self, component: &str) -> (usize, usize) {
        let seen = self.observe(component).await;
        let instances: Vec<_> = seen.sets.values().flat_map(|set| &set.instances).collect();
        (instances.iter().filter(|it| it.phase == InstancePhase::Ready).count(), instances.len())
    }

    /// Waits until a question is answered with yes.
    pub async fn until(&self, what: &str, mut is: impl AsyncFnMut() -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !is().await {
            assert!(
                tokio::time::Instant::now() < end,
                "waited for: {what}; the cluster has {:#?}",
                self.cluster.snapshot()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many documents of a kind there are.
    pub async fn count(&self, kind: &str) -> usize {
        let options = ListOptions { kind: kind.to_owned(), ..ListOptions::default() };
        self.store.list(&options).await.unwrap().documents.len()
    }
}

pub fn admin() -> Actor {
    Actor::user("admin")
}

pub fn session(platform: &Platform) -> Session {
    platform.session(admin())
}

pub fn at() -> AppEnv {
    "shop/prod/web".parse().unwrap()
}

pub fn name(component: &str) -> ComponentName {
    component.parse().unwrap()
}

pub fn track(component: &str) -> TrackKey {
    at().component(name(component)).on(ClusterName::local())
}

pub const HOST: &str = "shop.example.org";

/// A web component with three instances, an API that it calls, and a worker.
pub fn spec(version: &str) -> AppSpec {
    serde_json::from_value(app(version)).unwrap()
}

pub fn app(version: &str) -> Value {
    let termination = json!({ "drain_seconds": 0 });
    json!({
        "components": [
            {
                "name": "web", "image": format!("web:{version}"),
                "ports": [{ "name": "http", "number": 8080 }],
                "instances": { "count": 3 },
                "depends_on": [{ "component": "api" }],
                "termination": termination,
            },
            {
                "name": "api", "image": format!("api:{version}"),
                "ports": [{ "name": "http", "number": 8080 }],
                "instances": { "count": 1 },
                "volumes": [{ "name": "data", "path": "/data" }],
                "termination": termination,
            },
            { "name": "worker", "kind": "worker", "image": format!("worker:{version}"), "termination": termination },
        ],
        "routes": [{ "name": "main", "host": HOST, "component": "web" }],
    })
}

/// Deploys and waits for the end.
pub async fn release(platform: &Platform, deploy: Deploy) -> Outcome {
    let session = session(platform);
    let started = session.deploy(&at(), deploy).await.unwrap();
    session.wait_released(&at(), started.number, PATIENCE).await.unwrap()
}

/// What is not the lease's renewal, nor a look at a space, which only writes where somebody else has.
pub fn without_lease(calls: Vec<Call>) -> Vec<Call> {
    let expected =
        |call: &Call| call.object == "put lease all" || (call.port, call.operation) == ("spaces", "ensure");
    calls.into_iter().filter(|call| !expected(call)).collect()
}
