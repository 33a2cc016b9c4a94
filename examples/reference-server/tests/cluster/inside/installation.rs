//! The manifests of `deploy/kubernetes`, with what a test has to say differently, on the first cluster.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use paas_cluster_harness::{Gateway, TestCluster};
use paas_test_postgres::{Link, Postgres};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::application;
use crate::outcome::Outcome;
use crate::place;
use crate::platform::eventually;
use crate::sample;
use crate::turn::Turn;

const PAAS: &str = env!("CARGO_BIN_EXE_paas");

/// Which of the overlays.
pub enum Overlay {
    Sqlite,
    /// With the URL of the database.
    Postgres(String),
}

/// A PostgreSQL server that pods reach.
pub struct Database {
    _runtime: tokio::runtime::Runtime,
    _link: Link,
    _server: Postgres,
    url: String,
}

impl Database {
    pub fn start() -> Self {
        let server = Postgres::start().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let host = host(place::first());
        let link = runtime.block_on(Link::on(host, server.port())).unwrap();
        let direct = server.database().unwrap();
        let url = direct.replace(&format!("127.0.0.1:{}", server.port()), &format!("{host}:{}", link.port()));
        Self { _runtime: runtime, _link: link, _server: server, url }
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }
}

/// This machine, as pods of a cluster of `tests/cluster` reach it: the first address of the network that its Gateway is in.
fn host(cluster: &TestCluster) -> IpAddr {
    match gateway(cluster).address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            Ipv4Addr::new(a, b, 0, 1).into()
        }
        IpAddr::V6(_) => panic!("clusters of tests/cluster have IPv4"),
    }
}

fn gateway(cluster: &TestCluster) -> &Gateway {
    cluster.gateway.as_ref().expect("the cluster has a Gateway")
}

/// The server's image, where nodes find it, and its digest: under a tag a node would keep the one of an earlier run.
fn image() -> &'static (String, String) {
    static IMAGE: OnceLock<(String, String)> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let digest = server_image::write_layout(Path::new(PAAS), folder.path()).unwrap();
        place::first().push(folder.path(), "journey/server").unwrap();
        let pull = &place::first().registry.as_ref().unwrap().pull;
        (format!("{pull}/journey/server"), digest)
    })
}

/// Servers in a namespace of their own. It is taken away by [`Installation::remove`], or with the value.
pub struct Installation {
    cluster: &'static TestCluster,
    kubectl: PathBuf,
    folder: TempDir,
    name: String,
    token: OnceLock<String>,
    _turn: Turn,
}

impl Installation {
    /// Applies the overlay.
    pub fn new(overlay: Overlay) -> Self {
        let turn = Turn::shared();
        let cluster = place::first();
        let folder = tempfile::Builder::new().prefix("paas-").tempdir().unwrap();
        let random = folder.path().file_name().unwrap().to_string_lossy().to_lowercase();
        let random: String = random.chars().filter(char::is_ascii_alphanumeric).collect();
        let kubectl = PathBuf::from(cluster.kubectl().unwrap().get_program());
        let made = Self {
            cluster,
            kubectl,
            folder,
            name: format!("inside-{random}"),
            token: OnceLock::new(),
            _turn: turn,
        };
        made.prepare(&overlay);
        made.kubectl(&["apply", "-k", made.overlay().to_str().unwrap()]);
        made
    }

    fn overlay(&self) -> PathBuf {
        self.folder.path().join("kubernetes/test")
    }

    /// Copies the manifests, and writes an overlay over them.
    fn prepare(&self, overlay: &Overlay) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes");
        Outcome::of(Command::new("cp").arg("-r").arg(source).arg(self.folder.path())).ended_with(0);
        fs::create_dir_all(self.overlay()).unwrap();
        let write = |name: &str, content: &Value| {
            fs::write(self.overlay().join(name), content.to_string()).unwrap();
        };
        let Gateway { namespace, name, .. } = gateway(self.cluster);
        let domain = self.domain();
        let gateway = json!({ "namespace": namespace, "name": name, "domain": domain });
        write("cluster.yaml", &json!({ "gateway": gateway }));
        write("registry.yaml", &self.registry());
        let domain = json!([{ "op": "add", "path": "/spec/template/spec/containers/0/args/-",
                              "value": format!("--label-domain={}", self.domain()) }]);
        // The container beside the server comes last: the merge puts it in front.
        let mut patches = vec![
            json!({ "target": { "kind": "Deployment" }, "patch": domain.to_string() }),
            json!({ "path": "registry.yaml" }),
        ];
        let mut resources = Vec::new();
        match overlay {
            Overlay::Sqlite => {
                resources.extend(["../sqlite", "volume.yaml"]);
                write("volume.yaml", &self.volume());
                let claim = json!([{ "op": "add", "path": "/spec/storageClassName", "value": self.name }]);
                patches.push(
                    json!({ "target": { "kind": "PersistentVolumeClaim" }, "patch": claim.to_string() }),
                );
            }
            Overlay::Postgres(url) => {
                resources.push("../postgres");
                self.make_secret(url);
            }
        }
        let (image, digest) = image();
        write(
            "kustomization.yaml",
            &json!({
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": self.name,
                "nameSuffix": format!("-{}", self.name),
                "resources": resources,
                "patches": patches,
                "configMapGenerator": [{ "name": "paas-cluster", "behavior": "merge", "files": ["cluster.yaml"] }],
                "images": [{ "name": "registry.example.org/paas/server", "newName": image, "digest": digest }],
            }),
        );
    }

    /// The registry of the clusters is called by a loopback address, which for a pod is the pod itself: a container beside the server
    /// passes connections on.
    fn registry(&self) -> Value {
        let pull = &self.cluster.registry.as_ref().unwrap().pull;
        let port = pull.rsplit_once(':').expect("it has a port").1;
        let host = host(self.cluster).to_string();
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "paas" },
            "spec": { "template": { "spec": { "containers": [{
                "name": "registry",
                "image": self.cluster.shell_image().unwrap(),
                // The first process of a container ends by a signal only if it handles it.
                "command": ["/bin/sh", "-c", format!("trap 'exit 0' TERM; busybox nc -ll -p {port} -e busybox nc {host} {port} & wait")],
                "readinessProbe": { "tcpSocket": { "port": port.parse::<u16>().unwrap() }, "periodSeconds": 1 },
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                },
            }] } } },
        })
    }

    /// Clusters of tests have no storage class: a folder of this machine, which is every node's.
    fn volume(&self) -> Value {
        let data = self.folder.path().join("data");
        fs::create_dir_all(&data).unwrap();
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "paas" },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
                "storageClassName": self.name, "persistentVolumeReclaimPolicy": "Retain",
                "local": { "path": data },
                "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                    { "key": "kubernetes.io/os", "operator": "In", "values": ["linux"] }] }] } },
            },
        })
    }

    fn make_secret(&self, url: &str) {
        let folder = self.folder.path().join("secrets");
        let folder = folder.to_str().unwrap();
        Outcome::of(Command::new(PAAS).args(["init", folder])).ended_with(0);
        let token = fs::read_to_string(Path::new(folder).join("admin-token")).unwrap();
        self.token.set(token).unwrap();
        self.kubectl(&["create", "namespace", &self.name]);
        let (files, store) = (format!("--from-file={folder}"), format!("--from-literal=store={url}"));
        self.kubectl(&["-n", &self.name, "create", "secret", "generic", "paas", &files, &store]);
    }

    /// What access points and labels end with.
    fn domain(&self) -> String {
        format!("{}.test", self.name)
    }

    fn deployment(&self) -> String {
        format!("deployment/paas-{}", self.name)
    }

    #[track_caller]
    fn kubectl(&self, words: &[&str]) -> String {
        self.try_kubectl(words).ended_with(0).stdout
    }

    fn try_kubectl(&self, words: &[&str]) -> Outcome {
        let mut command = Command::new(&self.kubectl);
        Outcome::of(command.env("KUBECONFIG", &self.cluster.kubeconfig).args(words))
    }

    fn seen(&self, kind: &str) -> Vec<Value> {
        let text = self.kubectl(&["-n", &self.name, "get", kind, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// The pods that are not going.
    fn living(&self) -> Vec<Value> {
        let mut pods = self.seen("pods");
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// The names of the servers' pods.
    pub fn pods(&self) -> Vec<String> {
        self.living().iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until exactly so many servers are ready, and no other is left.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        let is_ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|it| it["type"] == "Ready" && it["status"] == "True"))
        };
        eventually("the servers are ready", || {
            let pods = self.seen("pods");
            (pods.len() == count && pods.iter().all(is_ready)).then_some(())
        });
        // Endpoints follow a moment later.
        eventually("the interface answers", || {
            application::get(self.address(), "paas", "/readyz").is_ok_and(|it| it.status == 200).then_some(())
        });
    }

    /// How often containers were started again.
    pub fn restarts(&self) -> u64 {
        let of = |pod: &Value| {
            let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
            statuses.iter().filter_map(|it| it["restartCount"].as_u64()).sum::<u64>()
        };
        self.living().iter().map(of).sum()
    }

    /// Ends a pod as the end of its machine does: without a word.
    pub fn kill(&self, pod: &str) {
        self.kubectl(&["-n", &self.name, "delete", "pod", pod, "--grace-period=0", "--force"]);
    }

    /// Replaces all pods, as after a change.
    pub fn restart(&self, patience: Duration) {
        self.kubectl(&["-n", &self.name, "rollout", "restart", &self.deployment()]);
        let timeout = format!("--timeout={}s", patience.as_secs());
        self.kubectl(&["-n", &self.name, "rollout", "status", &self.deployment(), &timeout]);
    }

    /// The pod whose server reconciles: the one that has said so last.
    pub fn leader(&self) -> String {
        let said = |pod: &String| {
            let log = self.kubectl(&["-n", &self.name, "logs", pod, "-c", "paas"]);
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines = lines.filter(|line| line["fields"]["message"] == "reconciling");
            lines.filter_map(|line| line["timestamp"].as_str().map(str::to_owned)).max()
        };
        let pods = self.pods();
        pods.into_iter().max_by_key(said).expect("a server reconciles")
    }

    /// Takes the first start's token from the log.
    pub fn log_in_by_the_log(&self) {
        let log = self.kubectl(&["-n", &self.name, "logs", &self.deployment(), "-c", "paas"]);
        let token = log.lines().find_map(|line| line.split_once("token (shown once): "));
        self.token.set(token.expect("the first start shows a token").1.trim().to_owned()).unwrap();
    }

    /// Takes one verb from the role.
    pub fn deny(&self, group: &str, resource: &str, verb: &str) {
        let mut role = self.role();
        for rule in role["rules"].as_array_mut().unwrap() {
            let has = |field: &str, value: &str| {
                rule[field].as_array().is_some_and(|all| all.contains(&json!(value)))
            };
            if has("apiGroups", group) && has("resources", resource) {
                rule["verbs"].as_array_mut().unwrap().retain(|it| it != verb);
            }
        }
        self.apply(&role);
    }

    /// Gives the role back what it had.
    pub fn restore_the_role(&self) {
        self.kubectl(&["apply", "-k", self.overlay().to_str().unwrap()]);
    }

    fn role(&self) -> Value {
        let text = self.kubectl(&["get", "clusterrole", &format!("paas-{}", self.name), "-o", "json"]);
        serde_json::from_str(&text).unwrap()
    }

    fn apply(&self, object: &Value) {
        let file = self.folder.path().join("object.json");
        fs::write(&file, object.to_string()).unwrap();
        self.kubectl(&["replace", "-f", file.to_str().unwrap()]);
    }

    /// The service's address.
    fn address(&self) -> SocketAddr {
        let services = self.seen("services");
        let address = services[0]["spec"]["clusterIP"].as_str().unwrap();
        SocketAddr::new(address.parse().unwrap(), 80)
    }

    /// The address of each server.
    pub fn addresses(&self) -> Vec<String> {
        self.living()
            .iter()
            .map(|pod| format!("http://{}:7878", pod["status"]["podIP"].as_str().unwrap()))
            .collect()
    }

    fn command<'a>(&self, server: &str, words: impl IntoIterator<Item = &'a str>) -> Outcome {
        let mut command = Command::new(PAAS);
        command
            .current_dir(self.folder.path())
            .args(words)
            .env("PAAS_SERVER", server)
            .env("PAAS_TOKEN", self.token.get().expect("somebody has logged in"))
            .env("PAAS_ORG", "acme")
            .env("PAAS_ENV", "prod")
            .env("PAAS_CONFIG", self.folder.path().join("login.json"));
        Outcome::of(&mut command)
    }

    /// Runs the command line with one of the servers.
    #[track_caller]
    pub fn ok_of<'a>(&self, server: &str, words: impl IntoIterator<Item = &'a str>) -> String {
        self.command(server, words).ended_with(0).stdout
    }

    /// Runs the command line with one of the servers, and reads its JSON.
    #[track_caller]
    pub fn json_of<'a>(&self, server: &str, words: impl IntoIterator<Item = &'a str>) -> Value {
        self.command(server, words.into_iter().chain(["-o", "json"])).ended_with(0).json()
    }

    /// Runs the command line with whichever server the service chooses.
    #[track_caller]
    pub fn ok<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> String {
        self.ok_of(&format!("http://{}", self.address()), words)
    }

    /// Runs the command line with whichever server the service chooses, and reads its JSON.
    #[track_caller]
    pub fn json<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Value {
        self.json_of(&format!("http://{}", self.address()), words)
    }

    /// Releases a specification.
    #[track_caller]
    pub fn deploy(&self, app: &str, yaml: &str, wait: bool) {
        fs::write(self.folder.path().join("paas.yaml"), yaml).unwrap();
        let words = ["deploy", app, "--create", "-f", "paas.yaml"];
        let wait: &[&str] = if wait { &["--wait", "--timeout", "60s"] } else { &[] };
        self.ok(words.iter().chain(wait).copied());
    }

    /// Waits until the release that is under way is over.
    #[track_caller]
    pub fn until_running(&self, app: &str) {
        eventually("the release is over", || {
            (self.json(["status", app])["state"] == "running").then_some(())
        });
    }

    /// Versions of the sample, where nodes and the server find them.
    pub fn images(&self, versions: &[&str]) -> Vec<String> {
        let layout = self.folder.path().join("images");
        for version in versions {
            sample::image(version)
                .build()
                .unwrap()
                .write_layout(&layout, &[version.parse().unwrap()])
                .unwrap();
        }
        self.cluster.push(&layout, "journey/inside").unwrap();
        let pull = &self.cluster.registry.as_ref().unwrap().pull;
        versions.iter().map(|version| format!("{pull}/journey/inside:{version}")).collect()
    }

    /// The versions that answer at the Gateway.
    pub fn versions(&self, app: &str) -> BTreeSet<String> {
        let gateway = SocketAddr::new(gateway(self.cluster).address, 80);
        let host = format!("{app}-prod-acme.{}", self.domain());
        let answers = (0..10).map(|_| application::get(gateway, &host, "/healthz"));
        answers.map(|answer| answer.unwrap().version).collect()
    }

    /// Takes everything away, the applications too.
    pub fn remove(self) {
        drop(self);
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for words in [&["describe", "pods"][..], &["logs", &self.deployment(), "-c", "paas", "--tail=50"]]
            {
                let words = [&["-n", &self.name], words].concat();
                eprintln!("{}", self.try_kubectl(&words).text());
            }
        }
        let overlay = self.overlay();
        let ours = format!("{}/installation", self.domain());
        for words in [
            &["delete", "-k", overlay.to_str().unwrap_or_default(), "--ignore-not-found", "--wait=false"][..],
            &["delete", "namespace", &self.name, "--ignore-not-found", "--timeout=60s"],
            &["delete", "namespace", "-l", &ours, "--wait=false"],
        ] {
            let outcome = self.try_kubectl(words);
            if outcome.code != 0 {
                eprintln!("{}", outcome.text());
            }
        }
    }
}
