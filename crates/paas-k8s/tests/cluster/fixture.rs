//! A corner of a real cluster for one test: an installation of its own, whose namespaces go when it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use libtest_mimic::Failed;
use paas_cluster_harness::{Gateway, Origin, TestCluster};
use paas_core::conformance::exec::{Command, ExecFixture};
use paas_core::conformance::logs::LogsFixture;
use paas_core::conformance::router::{Answer, RouterFixture};
use paas_core::conformance::runtime::{RuntimeFixture, Workload};
use paas_core::conformance::surroundings::SurroundingsFixture;
use paas_core::model::{
    ComponentKind, Port, Probe, ProbeCheck, Probes, Protocol, ResolvedValue, Resources, RestartPolicy,
    RevisionId, SecretRef, Security, Template, Termination,
};
use paas_core::port::{
    ClusterPorts, Epoch, Exec, ExecInput, ExecOptions, ExecOutput, ExecSession, ExecTarget, InstanceId, Logs,
    Router, RouterCapabilities, RunInput, RunObservation, RunSpec, Runtime, RuntimeCapabilities,
    SecretSource, SecretValue, SetKey, SetObservation, SetSpec, Traffic,
};
use paas_core::{AppEnv, Bytes, ClusterName, ComponentKey, EnvRef, Result, TrackKey};
use paas_k8s::client::connect;
use paas_k8s::kube::api::{ListParams, Patch, PatchParams};
use paas_k8s::kube::config::{KubeConfigOptions, Kubeconfig};
use paas_k8s::kube::{Api, Client, Config};
use paas_k8s::{
    CallLimits, GatewayOptions, Installation, KubernetesCluster, KubernetesOptions, SpaceOptions,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

const DOMAIN: &str = "paas-test.example.org";
/// What a real cluster must be able to do; volumes need a storage class, which tests cannot count on.
const RUNTIME: RuntimeCapabilities = RuntimeCapabilities {
    fenced: true,
    cpu_limits: true,
    memory_limits: true,
    storage_limits: true,
    volumes: false,
    runs: true,
    interactive_runs: true,
    survives_server: true,
    manifests: true,
    ordered_sets: true,
};
const PATIENCE: Duration = Duration::from_mins(1);

/// The cluster that all tests of a run share.
#[derive(Debug)]
pub(crate) struct Place {
    cluster: TestCluster,
    gateway: Gateway,
    /// The image and its digest.
    image: (String, String),
}

impl Place {
    /// Finds the cluster, or brings one up, when the first test asks for it.
    pub(crate) fn get() -> Result<&'static Self, Failed> {
        static FOUND: OnceLock<Result<Place, String>> = OnceLock::new();
        let found = FOUND.get_or_init(|| Self::find().map_err(|error| format!("{error:#}")));
        found.as_ref().map_err(Failed::from)
    }

    fn find() -> anyhow::Result<Self> {
        let cluster = paas_cluster_harness::cluster()?;
        let gateway = cluster.gateway.clone();
        let gateway = gateway.with_context(|| {
            format!("{cluster} has no Gateway; name one in {}", paas_cluster_harness::GATEWAY_VARIABLE)
        })?;
        let image = cluster.shell_image()?;
        let (name, digest) = image.split_once('@').context("the image is not named by its digest")?;
        Ok(Self { image: (name.to_owned(), digest.to_owned()), cluster, gateway })
    }

    /// A client of its administrator.
    pub(crate) async fn client(&self) -> Client {
        ok(connect(account(self).await, CallLimits::default()))
    }

    /// Whether it was built by `tests/cluster`, on this machine.
    pub(crate) fn is_built(&self) -> bool {
        self.cluster.origin == Origin::Built
    }

    /// Whether network policies are enforced, where that is known.
    pub(crate) fn enforces_policies(&self) -> Option<bool> {
        self.cluster.enforces_policies
    }

    fn listener(&self, protocol: &str) -> Option<SocketAddr> {
        self.gateway.listener(protocol).map(|it| SocketAddr::new(self.gateway.address, it.port))
    }
}

#[derive(Debug)]
struct NoSecrets;

#[async_trait]
impl SecretSource for NoSecrets {
    async fn reveal(&self, _: &AppEnv, _: &SecretRef) -> Result<SecretValue> {
        Ok(SecretValue::new("secret"))
    }
}

pub(crate) struct Fixture {
    place: &'static Place,
    pub(crate) installation: String,
    pub(crate) cluster: KubernetesCluster,
    /// A shell in each instance that has printed something: one more for each line would take minutes.
    printers: Mutex<BTreeMap<InstanceId, ExecSession>>,
}

impl Fixture {
    pub(crate) async fn new(place: &'static Place) -> Self {
        Self::with(place, |options, _| options).await
    }

    /// One whose account is another one.
    pub(crate) async fn over(place: &'static Place, config: Config, space: SpaceOptions) -> Self {
        let options = |options: KubernetesOptions, _: &str| options.with_space(space);
        Self::opened(place, config, options).await
    }

    /// One with other options; they may depend on the installation's name.
    pub(crate) async fn with(
        place: &'static Place,
        options: impl FnOnce(KubernetesOptions, &str) -> KubernetesOptions,
    ) -> Self {
        Self::opened(place, account(place).await, options).await
    }

    async fn opened(
        place: &'static Place,
        config: Config,
        options: impl FnOnce(KubernetesOptions, &str) -> KubernetesOptions,
    ) -> Self {
        let random = format!("{:x}", uuid::Uuid::new_v4().as_u128());
        let installation = format!("t{}", &random[..8]);
        let cluster = open_over(place, &installation, config, |it| options(it, &installation)).await;
        Self { place, installation, cluster, printers: Mutex::default() }
    }

    /// The cluster as an administrator, to whom nothing is denied.
    pub(crate) async fn open_as_administrator(&self) -> KubernetesCluster {
        open(self.place, &self.installation).await
    }

    pub(crate) async fn close(&self) {
        let space = "conformance/test".parse().unwrap();
        ok(paas_core::port::Spaces::remove(&self.open_as_administrator().await, Epoch(1), &space).await);
    }

    fn template(&self, component: &ComponentKey, script: &str) -> Template {
        let (image, digest) = &self.place.image;
        Template {
            component: component.clone(),
            kind: ComponentKind::Service,
            image: image.clone(),
            digest: digest.clone(),
            command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()]),
            args: None,
            working_dir: None,
            ports: vec![RouterFixture::port(self)],
            env: BTreeMap::from([("CONFORMANCE".to_owned(), ResolvedValue::Plain("yes".to_owned()))]),
            files: Vec::new(),
            volumes: Vec::new(),
            resources: Resources { memory: Some(Bytes::from_mebi(32)), ..Resources::default() },
            probes: Probes::default(),
            restart: RestartPolicy::Always,
            calls: Vec::new(),
            termination: Termination { drain_seconds: 0, grace_seconds: 2 },
            security: Security { read_only_root: false, user: Some("1000:1000".to_owned()) },
            manifests: Vec::new(),
            restart_nonce: 0,
        }
    }

    /// A server that answers every path with its revision, and ends at once when it is stopped.
    pub(crate) fn web(&self, component: &ComponentKey, revision: &str) -> Template {
        let script = format!(
            "mkdir -p /tmp/w; echo 'revision={revision}' > /tmp/w/index.html; cp /tmp/w/index.html /tmp/w/other; \
             echo 'E404:/tmp/w/other' > /tmp/c; {}",
            interruptible("httpd -f -p 8080 -h /tmp/w -c /tmp/c")
        );
        let mut template = self.template(component, &script);
        let mut readiness = Probe::new(ProbeCheck::Tcp { port: None });
        readiness.period_seconds = 1;
        template.probes.readiness = Some(readiness);
        template
    }

    async fn set(&self, key: &SetKey) -> Option<SetObservation> {
        ok(self.cluster.observe(&key.track).await).sets.remove(&key.revision)
    }

    pub(crate) async fn until_ready(&self, key: &SetKey, count: usize) -> SetObservation {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.set(key).await;
            match seen {
                Some(set) if set.ready() == count && set.instances.len() == count => return set,
                seen => assert!(Instant::now() < end, "{key} never had {count} ready instances: {seen:#?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn one_more(&self, track: &TrackKey) -> InstanceId {
        let key = SetKey { track: track.clone(), revision: RevisionId::new("r1").unwrap() };
        let template = self.web(&track.component, "r1");
        let spec = SetSpec { key, template, count: 0, first: 0, labels: BTreeMap::new() };
        ok(self.cluster.ensure(Epoch(1), &spec).await);
        let before = self.set(&spec.key).await.unwrap();
        ok(self.cluster.scale(Epoch(1), &spec.key, (before.desired + 1).into()).await);
        let after = self.until_ready(&spec.key, before.desired as usize + 1).await;
        let known: Vec<_> = before.instances.iter().map(|it| it.id.clone()).collect();
        after.instances.into_iter().map(|it| it.id).find(|id| !known.contains(id)).unwrap()
    }

    /// Runs a script in an instance and returns what it printed.
    pub(crate) async fn script(&self, instance: &InstanceId, script: &str) -> Option<String> {
        let mut session = self.shell(instance, script, false).await?;
        let mut text = String::new();
        while let Some(piece) = session.output.next().await {
            if let Ok(ExecOutput::Stdout(bytes)) = piece {
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        Some(text)
    }

    /// Starts a script in an instance, whichever track it is of.
    async fn shell(&self, instance: &InstanceId, script: &str, stdin: bool) -> Option<ExecSession> {
        for track in ok(self.cluster.tracks().await) {
            let seen = ok(self.cluster.observe(&track).await);
            let found = seen.sets.values().flat_map(|set| &set.instances).any(|it| it.id == *instance);
            if !found {
                continue;
            }
            let options = ExecOptions {
                command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
                stdin,
                terminal: None,
            };
            let target = ExecTarget::Instance(track, Some(instance.clone()));
            return self.cluster.exec(&target, &options).await.ok();
        }
        None
    }
}

/// The account in the kubeconfig.
pub(crate) async fn account(place: &Place) -> Config {
    let text = std::fs::read_to_string(&place.cluster.kubeconfig).expect("the kubeconfig");
    let kubeconfig = Kubeconfig::from_yaml(&text).expect("a kubeconfig");
    let chosen = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &chosen).await.expect("credentials")
}

async fn open(place: &Place, installation: &str) -> KubernetesCluster {
    open_over(place, installation, account(place).await, |options| options).await
}

async fn open_over(
    place: &Place,
    installation: &str,
    config: Config,
    change: impl FnOnce(KubernetesOptions) -> KubernetesOptions,
) -> KubernetesCluster {
    let client = ok(connect(config, CallLimits::default()));
    let installation = Installation::new(installation, DOMAIN).expect("it is valid");
    let Gateway { namespace, name, .. } = &place.gateway;
    let options = KubernetesOptions::new(installation, ClusterName::local())
        .with_settle(Duration::from_secs(2))
        .with_gateway(GatewayOptions::new(namespace, name, "conformance.example"));
    ok(KubernetesCluster::open(client, change(options), Arc::new(NoSecrets)).await)
}

/// A program whose first process handles the stop signal: the kernel keeps others from what has no handler.
fn interruptible(program: &str) -> String {
    format!("trap 'kill $child; exit 143' TERM; {program} & child=$!; wait $child")
}

#[track_caller]
pub(crate) fn ok<T>(answer: Result<T>) -> T {
    answer.unwrap_or_else(|error| panic!("{}", error.report()))
}

#[async_trait]
impl RuntimeFixture for Fixture {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.cluster.clone())
    }

    fn required(&self) -> RuntimeCapabilities {
        RUNTIME
    }

    fn restart_policies(&self) -> Vec<RestartPolicy> {
        vec![RestartPolicy::Always]
    }

    async fn objects(&self, track: &TrackKey) -> Option<BTreeSet<String>> {
        let api: Api<ConfigMap> = Api::all(self.cluster.client().clone());
        let (domain, installation) = (DOMAIN, &self.installation);
        let app = &track.component.at.app;
        let labels =
            format!("{domain}/installation={installation},{domain}/role=manifest,{domain}/app={app}");
        let found =
            api.list(&ListParams::default().labels(&labels)).await.expect("the cluster lists config maps");
        Some(found.items.into_iter().filter_map(|it| it.metadata.name).collect())
    }

    async fn template(&self, component: &ComponentKey, workload: Workload) -> Template {
        match workload {
            Workload::Ready => self.web(component, "r1"),
            Workload::NeverReady => Fixture::template(self, component, &interruptible("sleep 3600")),
            Workload::Ends(code) => Fixture::template(self, component, &format!("exit {code}")),
            Workload::Lingers => Template {
                termination: Termination { drain_seconds: 2, grace_seconds: 2 },
                ..self.web(component, "r1")
            },
            Workload::UsesTooMuchMemory => Fixture::template(self, component, "exec tail /dev/zero"),
            Workload::MissingImage => Template {
                digest: format!("sha256:{}", "0".repeat(64)),
                ..Fixture::template(self, component, "true")
            },
            other => unimplemented!("{other:?}"),
        }
    }

    async fn kill(&self, instance: &InstanceId) {
        self.script(instance, "kill -TERM 1").await;
    }

    async fn reopened(&self) -> Option<Arc<dyn Runtime>> {
        Some(Arc::new(open(self.place, &self.installation).await))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

#[async_trait]
impl RouterFixture for Fixture {
    fn router(&self) -> Arc<dyn Router> {
        Arc::new(self.cluster.clone())
    }

    fn traffic(&self) -> Option<Arc<dyn Traffic>> {
        None
    }

    fn required(&self) -> RouterCapabilities {
        RouterCapabilities {
            fenced: true,
            weights: true,
            matches: false,
            mirror: false,
            tcp: self.place.listener("TCP").is_some(),
            wildcard_hosts: true,
        }
    }

    async fn serve(&self, track: &TrackKey, revision: &RevisionId, count: u32) {
        let key = SetKey { track: track.clone(), revision: revision.clone() };
        let template = self.web(&track.component, revision.as_str());
        let spec = SetSpec { key: key.clone(), template, count, first: 0, labels: BTreeMap::new() };
        ok(self.cluster.ensure(Epoch(1), &spec).await);
        ok(self.cluster.scale(Epoch(1), &key, count.into()).await);
        self.until_ready(&key, count as usize).await;
        tokio::time::sleep(Duration::from_secs(2)).await; // the router and the gateway learn of it
    }

    async fn request(&self, host: &str, path: &str) -> Answer {
        let address = self.place.listener("HTTP").expect("the Gateway has a listener for HTTP");
        get(address, host, path).await.unwrap_or_else(|error| unanswered(address, &error))
    }

    async fn connect(&self, port: u16) -> Answer {
        let address = SocketAddr::new(self.place.gateway.address, port);
        get(address, "tcp.example", "/").await.unwrap_or_else(|error| unanswered(address, &error))
    }

    fn free_port(&self) -> u16 {
        self.place.listener("TCP").map_or(9001, |it| it.port())
    }

    fn port(&self) -> Port {
        Port { name: "http".parse().unwrap(), number: 8080, protocol: Protocol::Http }
    }

    fn chooses_at_random(&self) -> bool {
        true // as Envoy does, and others may
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// No answer, which the suite knows as a refusal without a status; why is told beside it.
fn unanswered(address: SocketAddr, error: &std::io::Error) -> Answer {
    eprintln!("no answer from {address}: {error}");
    Answer::Refused(0)
}

/// One request: served by a revision if the body names one, whatever the status.
async fn get(address: SocketAddr, host: &str, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    if let Some((_, revision)) = text.split_once("revision=") {
        let revision = revision.split_whitespace().next().unwrap_or_default();
        return Ok(Answer::Served(RevisionId::new(revision).unwrap()));
    }
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer::Refused(status.unwrap_or_default()))
}

#[async_trait]
impl LogsFixture for Fixture {
    fn logs(&self) -> Arc<dyn Logs> {
        Arc::new(self.cluster.clone())
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track).await
    }

    async fn print(&self, instance: &InstanceId, text: &str) {
        let mut printers = self.printers.lock().await;
        for _ in 0..20 {
            if !printers.contains_key(instance) {
                let script = "while read -r line; do echo \"$line\" > /proc/1/fd/1; echo written; done";
                let Some(shell) = self.shell(instance, script, true).await else {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                };
                printers.insert(instance.clone(), shell);
            }
            let shell = printers.get_mut(instance).expect("it was just put there");
            let sent = shell.input.send(ExecInput::Stdin(format!("{text}\n").into_bytes())).await;
            let answer = shell.output.next().await;
            if sent.is_ok() && matches!(answer, Some(Ok(ExecOutput::Stdout(_)))) {
                return;
            }
            printers.remove(instance); // it ended with the process before
        }
        panic!("{instance} never printed {text:?}");
    }

    async fn restart(&self, instance: &InstanceId) {
        RuntimeFixture::kill(self, instance).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

#[async_trait]
impl ExecFixture for Fixture {
    fn exec(&self) -> Arc<dyn Exec> {
        Arc::new(self.cluster.clone())
    }

    async fn start(&self, track: &TrackKey) -> InstanceId {
        self.one_more(track).await
    }

    async fn run(&self, track: &TrackKey, command: Command, input: RunInput) -> Option<InstanceId> {
        let id = InstanceId(format!("run-of-{}", track.component.at.app));
        let spec = RunSpec {
            id: id.clone(),
            track: track.clone(),
            template: self.web(&track.component, "r1"),
            command: Some(self.words(&command)),
            env: BTreeMap::new(),
            input,
            labels: BTreeMap::new(),
        };
        ok(self.cluster.start_run(Epoch(1), &spec).await);
        Some(id)
    }

    async fn observe_run(&self, run: &InstanceId) -> Option<RunObservation> {
        ok(self.cluster.observe_run(run).await)
    }

    fn words(&self, command: &Command) -> Vec<String> {
        let script = |text: String| vec!["/bin/sh".to_owned(), "-c".to_owned(), text];
        match command {
            Command::Echo(text) => vec!["echo".to_owned(), text.clone()],
            Command::Warn(text) => script(format!("echo '{text}' >&2")),
            // What a container prints in its last moments can be lost on a busy node, whoever reads its log: containerd
            // gives up what is not yet copied a little after the end.
            Command::Cat => script("cat; sleep 1".to_owned()),
            Command::Env => vec!["env".to_owned()],
            Command::Exit(code) => script(format!("exit {code}")),
            Command::Sleep => vec!["sleep".to_owned(), "3600".to_owned()],
            Command::Size => script("stty size".to_owned()),
            Command::AskedSize => script("while read -r _; do stty size; done".to_owned()),
            Command::Missing => vec!["no-such-command".to_owned()],
            other => unimplemented!("{other:?}"),
        }
    }

    async fn still_runs(&self, instance: &InstanceId, _: &Command) -> Option<bool> {
        let processes = self.script(instance, "cat /proc/[0-9]*/cmdline | tr '\\000' ' '").await?;
        Some(processes.contains("sleep 3600"))
    }

    fn patience(&self) -> Duration {
        PATIENCE
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
        let namespaces: Api<Namespace> = Api::all(self.cluster.client().clone());
        let ours = format!("paas-test.example.org/installation={}", self.installation);
        let all = namespaces.list(&ListParams::default().labels(&ours)).await.unwrap();
        let of_env = |it: &Namespace| {
            it.metadata
                .labels
                .iter()
                .flatten()
                .any(|(key, value)| key == "paas-test.example.org/org" && value == env.org.as_str())
        };
        let name = all.items.into_iter().find(of_env).unwrap().metadata.name.unwrap();
        let weaker = serde_json::json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "privileged" } } });
        namespaces.patch(&name, &PatchParams::default(), &Patch::Merge(weaker)).await.unwrap();
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}
