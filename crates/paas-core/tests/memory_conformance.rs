//! The ports in memory keep the contracts that they define.

#![allow(clippy::unwrap_used)] // tests may panic

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use paas_core::conformance::admission::{AdmissionFixture, Refused, Submission};
use paas_core::conformance::exec::{Command, ExecFixture};
use paas_core::conformance::logs::LogsFixture;
use paas_core::conformance::registry::RegistryFixture;
use paas_core::conformance::router::{Answer, RouterFixture};
use paas_core::conformance::runtime::{RuntimeFixture, Workload};
use paas_core::conformance::surroundings::SurroundingsFixture;
use paas_core::memory::{Ending, Image, Images, MemoryAdmission, SimulatedCluster};
use paas_core::model::{
    AppSpec, ComponentKind, Port, Probes, ResolvedValue, Resources, RestartPolicy, RevisionId, Security,
    Template, Termination,
};
use paas_core::port::{
    Admission, ClusterPorts, Drift, Epoch, Exec, InstanceId, Logs, Registry, Router, RouterCapabilities,
    RunInput, RunObservation, RunSpec, Runtime, RuntimeCapabilities, SetKey, SetSpec, Traffic,
};
use paas_core::{ComponentKey, EnvRef, ErrorKind, TrackKey};
use serde_json::{Value, json};

/// What the simulated cluster must be able to do.
const RUNTIME: RuntimeCapabilities = RuntimeCapabilities {
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
const ROUTER: RouterCapabilities = RouterCapabilities {
    fenced: true,
    weights: true,
    matches: false,
    mirror: false,
    tcp: true,
    wildcard_hosts: true,
};

struct Fixture {
    images: Images,
    /// The digests pushed, so that templates of the same behaviour are equal.
    pushed: Mutex<BTreeMap<String, String>>,
    cluster: SimulatedCluster,
}

impl Fixture {
    fn new() -> Self {
        let images = Images::new();
        let cluster = SimulatedCluster::new(images.clone());
        Self { images, pushed: Mutex::default(), cluster }
    }

    /// The same with a router that takes its time.
    fn lagging() -> Self {
        let fixture = Self::new();
        fixture.cluster.set_router_lag(Duration::from_millis(50));
        fixture
    }

    fn template(&self, component: &ComponentKey, reference: &str, image: Image) -> Template {
        let mut pushed = self.pushed.lock().unwrap();
        let digest =
            pushed.entry(reference.to_owned()).or_insert_with(|| self.images.push(reference, image)).clone();
        Template {
            component: component.clone(),
            kind: ComponentKind::Service,
            image: reference.to_owned(),
            digest,
            command: None,
            args: None,
            working_dir: None,
            ports: vec![RouterFixture::port(self)],
            env: BTreeMap::from([("CONFORMANCE".to_owned(), ResolvedValue::Plain("yes".to_owned()))]),
            files: Vec::new(),
            volumes: Vec::new(),
            resources: Resources::default(),
            probes: Probes::default(),
            restart: RestartPolicy::Always,
            calls: Vec::new(),
            termination: Termination::default(),
            security: Security::default(),
            manifests: Vec::new(),
            restart_nonce: 0,
        }
    }

    fn set(&self, track: &TrackKey, revision: &RevisionId, count: u32) -> SetSpec {
        SetSpec {
            key: SetKey { track: track.clone(), revision: revision.clone() },
            template: self.template(&track.component, "ready:1", Image::new()),
            count,
            first: 0,
            labels: BTreeMap::new(),
        }
    }

    /// Makes one more instance of a track and waits until it is ready.
    async fn one_more(&self, track: &TrackKey) -> InstanceId {
        let runtime = self.cluster.runtime();
        let spec = self.set(track, &RevisionId::new("r1").unwrap(), 0);
        runtime.ensure(Epoch(1), &spec).await.unwrap();
        let before = runtime.observe(track).await.unwrap().sets[&spec.key.revision].clone();
        runtime.scale(Epoch(1), &spec.key, (before.desired + 1).into()).await.unwrap();
        self.until_ready(track, before.desired as usize + 1).await;
        let after = runtime.observe(track).await.unwrap().sets[&spec.key.revision].clone();
        after.instances.last().unwrap().id.clone()
    }

    async fn until_ready(&self, track: &TrackKey, count: usize) {
        let ready = async || {
            let seen = self.cluster.runtime().observe(track).await.unwrap();
            seen.sets.values().map(paas_core::port::SetObservation::ready).sum::<usize>()
        };
        for _ in 0..10_000 {
            if ready().await == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{track} never had {count} ready instances");
    }
}

#[async_trait]
impl RuntimeFixture for Fixture {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.cluster.runtime())
    }

    fn required(&self) -> RuntimeCapabilities {
        RUNTIME
    }

    async fn template(&self, component: &ComponentKey, workload: Workload) -> Template {
        let soon = Duration::from_millis(20);
        let (reference, image) = match workload {
            Workload::Ready => ("ready:1".to_owned(), Image::new().with_ready_after(soon)),
            Workload::NeverReady => ("never:1".to_owned(), Image::new().never_ready()),
            Workload::Ends(code) => (format!("ends:{code}"), Image::new().with_end(soon, Ending::Exit(code))),
            Workload::Lingers => ("lingers:1".to_owned(), Image::new().with_drain(Duration::from_secs(1))),
            Workload::UsesTooMuchMemory => {
                ("hog:1".to_owned(), Image::new().with_end(soon, Ending::OutOfMemory))
            }
            Workload::MissingImage => {
                let mut template = self.template(component, "ready:1", Image::new());
                "missing:1".clone_into(&mut template.image);
                template.digest = format!("sha256:{}", "0".repeat(64));
                return template;
            }
            other => unimplemented!("{other:?}"),
        };
        self.template(component, &reference, image)
    }

    async fn kill(&self, instance: &InstanceId) {
        self.cluster.end_instance(instance, Ending::Signal(9));
    }

    async fn reopened(&self) -> Option<Arc<dyn Runtime>> {
        Some(Arc::new(self.cluster.runtime()))
    }

    async fn objects(&self, track: &TrackKey) -> Option<BTreeSet<String>> {
        let objects = self.cluster.objects(track);
        Some(
            objects
                .keys()
                .filter_map(|object| object.strip_prefix("ConfigMap/"))
                .map(str::to_owned)
                .collect(),
        )
    }

    fn patience(&self) -> Duration {
        Duration::from_mins(10)
    }
}

fn answer(result: Result<paas_core::memory::Served, paas_core::memory::Refusal>) -> Answer {
    match result {
        Ok(served) => Answer::Served(served.revision),
        Err(refusal) => Answer::Refused(refusal.status),
    }
}

#[async_trait]
impl RouterFixture for Fixture {
    fn router(&self) -> Arc<dyn Router> {
        Arc::new(self.cluster.router())
    }

    fn traffic(&self) -> Option<Arc<dyn Traffic>> {
        Some(Arc::new(self.cluster.router()))
    }

    fn required(&self) -> RouterCapabilities {
        ROUTER
    }

    async fn serve(&self, track: &TrackKey, revision: &RevisionId, count: u32) {
        let runtime = self.cluster.runtime();
        let spec = self.set(track, revision, count);
        runtime.ensure(Epoch(1), &spec).await.unwrap();
        runtime.scale(Epoch(1), &spec.key, count.into()).await.unwrap();
        for _ in 0..10_000 {
            if runtime.observe(track).await.unwrap().sets[revision].ready() == count as usize {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{revision} of {track} never had {count} ready instances");
    }

    async fn request(&self, host: &str, path: &str) -> Answer {
        answer(self.cluster.request(host, path))
    }

    async fn connect(&self, port: u16) -> Answer {
        answer(self.cluster.connect(port))
    }

    fn free_port(&self) -> u16 {
        7301
    }

    fn port(&self) -> Port {
        Port { name: "http".parse().unwrap(), number: 8080, protocol: paas_core::model::Protocol::Http }
    }
}

#[async_trait]
impl LogsFixture for Fixture {
    fn logs(&self) -> Arc<dyn Logs> {
        Arc::new(self.cluster.logs())
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track).await
    }

    async fn print(&self, instance: &InstanceId, text: &str) {
        assert!(self.cluster.print(instance, text));
    }

    async fn restart(&self, instance: &InstanceId) {
        assert!(self.cluster.end_instance(instance, Ending::Signal(9)));
        tokio::time::sleep(Duration::from_mins(2)).await;
    }

    fn patience(&self) -> Duration {
        Duration::from_mins(10)
    }
}

#[async_trait]
impl ExecFixture for Fixture {
    fn exec(&self) -> Arc<dyn Exec> {
        Arc::new(self.cluster.exec())
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track).await
    }

    async fn run(&self, track: &TrackKey, command: Command, input: RunInput) -> Option<InstanceId> {
        let id = InstanceId(format!("run-of-{}", track.component.at.app));
        let spec = RunSpec {
            id: id.clone(),
            track: track.clone(),
            template: self.template(&track.component, "ready:1", Image::new()),
            command: Some(self.words(&command)),
            env: BTreeMap::new(),
            input,
            labels: BTreeMap::new(),
        };
        self.cluster.runtime().start_run(Epoch(1), &spec).await.unwrap();
        Some(id)
    }

    async fn observe_run(&self, run: &InstanceId) -> Option<RunObservation> {
        self.cluster.runtime().observe_run(run).await.unwrap()
    }

    fn words(&self, command: &Command) -> Vec<String> {
        let words = match command {
            Command::Echo(text) => vec!["echo", text],
            Command::Warn(text) => vec!["warn", text],
            Command::Cat => vec!["cat"],
            Command::Env => vec!["env"],
            Command::Exit(3) => vec!["exit", "3"],
            Command::Exit(5) => vec!["exit", "5"],
            Command::Exit(_) => vec!["exit", "0"],
            Command::Sleep => vec!["sleep", "3600"],
            Command::Size => vec!["size"],
            Command::AskedSize => vec!["asked-size"],
            Command::Missing => vec!["no-such-command"],
            other => unimplemented!("{other:?}"),
        };
        words.into_iter().map(str::to_owned).collect()
    }

    async fn still_runs(&self, instance: &InstanceId, _: &Command) -> Option<bool> {
        Some(self.cluster.commands_in(instance) > 0)
    }
}

#[async_trait]
impl SurroundingsFixture for Fixture {
    fn ports(&self) -> ClusterPorts {
        self.cluster.ports()
    }

    fn required(&self) -> [bool; 3] {
        [true, true, true]
    }

    fn moves(&self) -> bool {
        true
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track).await
    }

    async fn disturb(&self, env: &EnvRef) {
        let drift = Drift { kind: "Quota".to_owned(), name: "space".to_owned(), missing: false };
        self.cluster.damage_space(env, drift);
    }
}

/// Images behind the fixture's trait.
struct Pushed(Images);

#[async_trait]
impl RegistryFixture for Pushed {
    fn registry(&self) -> Arc<dyn Registry> {
        Arc::new(self.0.clone())
    }

    fn name(&self) -> String {
        "registry.example.org:5000/team/web".to_owned()
    }

    async fn push(&self, tag: &str) -> String {
        self.0.push(&format!("{}:{tag}", self.name()), Image::new())
    }

    async fn denied(&self) -> Option<String> {
        self.0.refuse("private/image:1", ErrorKind::Denied);
        Some("private/image:1".to_owned())
    }

    async fn unreachable(&self) -> Option<String> {
        self.0.refuse("far.example.org/image:1", ErrorKind::Unavailable);
        Some("far.example.org/image:1".to_owned())
    }
}

/// Every rule that there is, and a frozen environment.
struct Rules(Arc<MemoryAdmission>);

impl Rules {
    fn new() -> Self {
        let defaults =
            Resources { cpu: Some("500m".parse().unwrap()), pids: Some(200), ..Resources::default() };
        let admission = MemoryAdmission::new()
            .with_mirror("hub/", "ours/hub/")
            .with_mirror("ours/", "elsewhere/")
            .with_image_prefix("ours/")
            .with_image_prefix("base/")
            .with_default_resources(defaults)
            .with_default_env("STAGE", "test")
            .with_required_limits();
        admission.freeze("conformance/frozen".parse().unwrap(), "the year ends");
        Self(Arc::new(admission))
    }
}

fn submission(components: &Value) -> Submission {
    Submission::new(serde_json::from_value(json!({ "components": components })).unwrap())
}

/// What keeps every rule without being amended.
fn complete() -> Value {
    json!({
        "name": "web", "image": "ours/hub/web:1", "env": { "STAGE": "own" },
        "resources": { "cpu": "1", "memory": "64Mi", "pids": 10 },
    })
}

#[async_trait]
impl AdmissionFixture for Rules {
    fn admission(&self) -> Arc<dyn Admission> {
        self.0.clone()
    }

    fn admitted(&self) -> Vec<Submission> {
        let objects = json!({
            "name": "objects", "kind": "manifests",
            "manifests": [{ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "one" } }],
        });
        vec![submission(&json!([complete()])), submission(&json!([complete(), objects]))]
    }

    fn amended(&self) -> Vec<(Submission, AppSpec)> {
        let before = json!([{ "name": "web", "image": "hub/web:1", "resources": { "memory": "64Mi" } }]);
        let after = json!([{
            "name": "web", "image": "ours/hub/web:1", "env": { "STAGE": "test" },
            "resources": { "cpu": "500m", "memory": "64Mi", "pids": 200 },
        }]);
        vec![(submission(&before), submission(&after).spec)]
    }

    fn refused(&self) -> Vec<Refused> {
        let fault = |path: &str, rule: &str| (path.to_owned(), rule.to_owned());
        let worker = json!({ "name": "worker", "image": "base:1" });
        let broken = Refused {
            submission: submission(&json!([complete(), worker])),
            faults: vec![
                fault("components[1].image", "allowed_images"),
                fault("components[1].resources.memory", "required_limits"),
            ],
        };
        let mut frozen = submission(&json!([complete()]));
        frozen.at.env = "frozen".parse().unwrap();
        vec![broken, Refused { submission: frozen, faults: Vec::new() }]
    }

    async fn break_down(&self) -> bool {
        self.0.set_unavailable(true);
        true
    }
}

mod admission {
    use super::Rules;
    paas_core::admission_conformance!(
        #[tokio::test] => Rules::new()
    );
}

mod runtime {
    use super::Fixture;
    paas_core::runtime_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new()
    );
}

mod router {
    use super::Fixture;
    paas_core::router_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new()
    );
}

mod router_with_lag {
    use super::Fixture;
    paas_core::router_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::lagging()
    );
}

mod logs {
    use super::Fixture;
    paas_core::logs_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new()
    );
}

mod exec {
    use super::Fixture;
    paas_core::exec_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new()
    );
}

mod surroundings {
    use super::Fixture;
    paas_core::surroundings_conformance!(
        #[tokio::test(start_paused = true)] => Fixture::new()
    );
}

mod registry {
    use super::{Images, Pushed};
    paas_core::registry_conformance!(
        #[tokio::test(start_paused = true)] => Pushed(Images::new())
    );
}
