//! A cluster for one test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use paas_core::memory::{Ending, Image, Images};
use paas_core::model::{
    ComponentKind, Port, Probes, Protocol, ResolvedValue, Resources, RestartPolicy, RevisionId, SecretRef,
    Security, Template, Termination,
};
use paas_core::port::{
    Backend, Epoch, InstanceId, RouteBinding, RouterCapabilities, Runtime as _, RuntimeCapabilities,
    SecretSource, SecretValue, ServiceState, ServiceTraffic, SetKey, SetObservation, SetSpec,
};
use paas_core::{AppEnv, Bytes, ClusterName, ComponentKey, Result, TrackKey};
use paas_k8s::fake::FakeCluster;
use paas_k8s::{GatewayOptions, Installation, KubernetesCluster, KubernetesOptions, VolumeOptions};

pub(crate) const RUNTIME: RuntimeCapabilities = RuntimeCapabilities {
    fenced: true,
    cpu_limits: true,
    memory_limits: true,
    storage_limits: true,
    volumes: true,
    runs: true,
    interactive_runs: true,
    survives_server: true,
    manifests: true,
    ordered_sets: true,
};
pub(crate) const ROUTER: RouterCapabilities = RouterCapabilities {
    fenced: true,
    weights: true,
    matches: false,
    mirror: false,
    tcp: true,
    wildcard_hosts: true,
};
/// What every secret of these tests holds.
pub(crate) const CANARY: &str = "canary-5f1d7c0e";
pub(crate) const DOMAIN: &str = "paas.example.org";

#[derive(Debug)]
pub(crate) struct Canaries;

#[async_trait]
impl SecretSource for Canaries {
    async fn reveal(&self, _: &AppEnv, _: &SecretRef) -> Result<SecretValue> {
        Ok(SecretValue::new(CANARY))
    }
}

pub(crate) struct Fixture {
    pub(crate) fake: FakeCluster,
    pub(crate) cluster: KubernetesCluster,
    /// The digests pushed, so that templates of the same behaviour are equal.
    pushed: Mutex<BTreeMap<String, String>>,
}

pub(crate) fn options() -> KubernetesOptions {
    let installation = Installation::new("test", DOMAIN).unwrap();
    KubernetesOptions::new(installation, ClusterName::local())
        .with_gateway(
            GatewayOptions::new("gateway", "gateway", "apps.example").with_grace(Duration::from_millis(20)),
        )
        .with_volumes(VolumeOptions::new(Bytes::from_mebi(64)))
        .with_settle(Duration::from_secs(1))
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: KubernetesOptions) -> Self {
        Self::on(FakeCluster::new(Images::new()), options).await
    }

    pub(crate) async fn on(fake: FakeCluster, options: KubernetesOptions) -> Self {
        let cluster = open(&fake, options).await;
        Self { fake, cluster, pushed: Mutex::default() }
    }

    pub(crate) fn template(&self, component: &ComponentKey, reference: &str, image: Image) -> Template {
        let mut pushed = self.pushed.lock().unwrap();
        let digest = pushed
            .entry(reference.to_owned())
            .or_insert_with(|| self.fake.images().push(reference, image))
            .clone();
        Template {
            component: component.clone(),
            kind: ComponentKind::Service,
            image: reference.to_owned(),
            digest,
            command: None,
            args: None,
            working_dir: None,
            ports: vec![http()],
            env: BTreeMap::from([("CONFORMANCE".to_owned(), ResolvedValue::Plain("yes".to_owned()))]),
            files: Vec::new(),
            volumes: Vec::new(),
            resources: Resources::default(),
            probes: Probes::default(),
            restart: RestartPolicy::Always,
            calls: Vec::new(),
            // Ends at its stop signal, right away.
            termination: Termination { drain_seconds: 0, grace_seconds: 10 },
            security: Security::default(),
            manifests: Vec::new(),
            restart_nonce: 0,
        }
    }

    pub(crate) fn ready(&self, component: &ComponentKey) -> Template {
        self.template(component, "ready:1", Image::new().with_ready_after(Duration::from_millis(20)))
    }

    pub(crate) fn spec(&self, track: &TrackKey, name: &str, count: u32) -> SetSpec {
        SetSpec {
            key: SetKey { track: track.clone(), revision: revision(name) },
            template: self.ready(&track.component),
            count,
            first: 0,
            labels: BTreeMap::new(),
        }
    }

    pub(crate) async fn set(&self, key: &SetKey) -> Option<SetObservation> {
        ok(self.cluster.observe(&key.track).await).sets.remove(&key.revision)
    }

    /// Waits until a set is as described.
    pub(crate) async fn until(
        &self,
        key: &SetKey,
        condition: impl Fn(&SetObservation) -> bool,
    ) -> SetObservation {
        let mut last = None;
        for _ in 0..60_000 {
            last = self.set(key).await;
            if let Some(set) = last.as_ref().filter(|set| condition(set)) {
                return set.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{key} was never as described; last seen: {last:#?}");
    }

    pub(crate) async fn until_ready(&self, key: &SetKey, count: usize) -> SetObservation {
        self.until(key, |set| set.ready() == count && set.instances.len() == count).await
    }

    /// Makes one more instance of a track and waits until it is ready.
    pub(crate) async fn one_more(&self, track: &TrackKey) -> InstanceId {
        let spec = self.spec(track, "r1", 0);
        ok(self.cluster.ensure(Epoch(1), &spec).await);
        let before = self.set(&spec.key).await.unwrap();
        ok(self.cluster.scale(Epoch(1), &spec.key, (before.desired + 1).into()).await);
        let after = self.until_ready(&spec.key, before.desired as usize + 1).await;
        let known: Vec<_> = before.instances.iter().map(|it| it.id.clone()).collect();
        after.instances.into_iter().map(|it| it.id).find(|id| !known.contains(id)).unwrap()
    }

    pub(crate) fn kill(&self, instance: &InstanceId) {
        self.fake.end_pod(&instance.0, Ending::Signal(9));
    }
}

pub(crate) async fn open(fake: &FakeCluster, options: KubernetesOptions) -> KubernetesCluster {
    ok(KubernetesCluster::open(fake.client(), options, Arc::new(Canaries)).await)
}

pub(crate) fn http() -> Port {
    Port { name: "http".parse().unwrap(), number: 8080, protocol: Protocol::Http }
}

pub(crate) fn revision(name: &str) -> RevisionId {
    RevisionId::new(name).unwrap()
}

pub(crate) fn track(name: &str) -> TrackKey {
    format!("org/test/{name}/web@local").parse().unwrap()
}

#[track_caller]
pub(crate) fn ok<T>(answer: Result<T>) -> T {
    answer.unwrap_or_else(|error| panic!("{}", error.report()))
}

impl Fixture {
    pub(crate) async fn until_gone(&self, key: &SetKey) {
        for _ in 0..60_000 {
            if self.set(key).await.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{key} never went");
    }
}

/// Shares of the requests of [`track`]`("shop")`, by revision.
pub(crate) fn traffic(shares: &[(&str, u32)]) -> ServiceTraffic {
    let backend =
        |(name, weight): &(&str, u32)| Backend { revision: revision(name), weight: *weight, release: 1 };
    ServiceTraffic {
        track: track("shop"),
        ports: vec![http()],
        backends: shares.iter().map(backend).collect(),
        state: ServiceState::Serving,
    }
}

/// An access point of [`track`]`("shop")`.
pub(crate) fn route() -> RouteBinding {
    RouteBinding {
        name: "main".parse().unwrap(),
        host: Some("shop.example".to_owned()),
        path: "/".to_owned(),
        tcp_port: None,
        track: track("shop"),
        port: http(),
    }
}
