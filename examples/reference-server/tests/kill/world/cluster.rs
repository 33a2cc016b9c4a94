//! The cluster on which a server's applications run, behind a proxy that sees every write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use paas_api_proxy::{Made, Proxy};
use paas_cluster_harness::TestCluster;
use paas_core::memory;
use paas_core::port::{ImageQuery, Registry as _};
use paas_k8s::fake::{FakeCluster, FakeServer, kubeconfig};
use paas_k8s::kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use paas_k8s::kube::config::{KubeConfigOptions, Kubeconfig};
use paas_k8s::kube::{Api, Client, Config};
use serde_json::{Value, json};

use super::{Place, Seen};
use crate::gate::ApiGate;
use crate::killer::Order;
use crate::point::{self, Names};
use crate::story::Images;

/// What an application consists of on a cluster: group, version, kind, plural.
const KINDS: [[&str; 4]; 10] = [
    ["", "v1", "ConfigMap", "configmaps"],
    ["", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"],
    ["", "v1", "Pod", "pods"],
    ["", "v1", "Secret", "secrets"],
    ["", "v1", "Service", "services"],
    ["apps", "v1", "Deployment", "deployments"],
    ["batch", "v1", "Job", "jobs"],
    ["gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"],
    ["networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"],
    ["policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"],
];
/// What the labels of the platform begin with, as the server is told by default.
const DOMAIN: &str = "paas.local";

/// A cluster for one server.
pub struct OnCluster {
    proxy: Arc<Proxy>,
    gate: Arc<ApiGate>,
    upstream: Client,
    /// Where the cluster's own gateway listens.
    gateway: String,
    /// The gateway's object, and the domain of the applications.
    gateway_object: (String, String),
    domain: String,
    /// Versions by the digests of their images, where instances do not tell theirs.
    versions: BTreeMap<String, String>,
    /// What was made since the present story began.
    made: Vec<Made>,
    /// The spaces that were made for this server.
    spaces: BTreeSet<String>,
    baseline: bool,
    volumes: bool,
    /// The cluster in memory, as long as it is needed.
    _fake: Option<(FakeCluster, FakeServer)>,
}

impl OnCluster {
    /// A new cluster in memory, or a part of the real one.
    pub async fn new(place: Place, journal: &Path, images: &Images) -> Self {
        let (config, fake, gateway, gateway_object) = match place {
            Place::Cluster => {
                let cluster = real().unwrap();
                let gateway = cluster.gateway.as_ref().expect("the cluster has a Gateway");
                let kubeconfig = Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
                let chosen = KubeConfigOptions::default();
                let config = Config::from_custom_kubeconfig(kubeconfig, &chosen);
                let address = SocketAddr::new(gateway.address, 80).to_string();
                (config.await.unwrap(), None, address, (gateway.namespace.clone(), gateway.name.clone()))
            }
            Place::Machine | Place::Fake => {
                let fake = FakeCluster::new(memory::Images::any());
                let server = fake.serve().await.unwrap();
                let config = Config::new(format!("http://{}", server.api()).parse().unwrap());
                let gateway = server.gateway().to_string();
                let object = ("gateway".to_owned(), "gateway".to_owned());
                (config, Some((fake, server)), gateway, object)
            }
        };
        let mut config = config;
        config.default_retry = false;
        let upstream = Client::try_from(config).unwrap();
        let proxy = Arc::new(Proxy::start(upstream.clone()).await.unwrap());
        let gate = ApiGate::new(journal);
        proxy.set_gate(Some(gate.clone()));
        // Servers that share a Gateway must not share hosts.
        let random = journal.parent().and_then(Path::file_name).unwrap().to_string_lossy().to_lowercase();
        let domain = format!("{}.test", random.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        let mut versions = BTreeMap::new();
        for version in ["1", "2"] {
            let query = ImageQuery { reference: format!("{}:{version}", images.repository), org: None };
            let image = memory::Images::any().resolve(&query).await.unwrap();
            versions.insert(image.digest, version.to_owned());
        }
        Self {
            proxy,
            gate,
            upstream,
            gateway,
            gateway_object,
            domain,
            versions,
            made: Vec::new(),
            spaces: BTreeSet::new(),
            baseline: place == Place::Cluster,
            volumes: images.volumes,
            _fake: fake,
        }
    }

    /// The body that adds it to a platform.
    pub fn declaration(&self) -> Value {
        let (namespace, name) = &self.gateway_object;
        let mut config = json!({
            "gateway": { "namespace": namespace, "name": name, "domain": self.domain,
                         "grace_milliseconds": if self.baseline { 1000 } else { 20 } },
            "security": if self.baseline { "baseline" } else { "restricted" },
        });
        if !self.baseline {
            // Nobody shares the API server in memory.
            config["calls"] = json!({ "per_second": 5000, "burst": 5000 });
        }
        if self.volumes {
            config["volumes"] = json!({ "size": "64Mi" });
        }
        json!({ "name": "k8s", "kind": "kubernetes", "config": config,
                "credentials": kubeconfig(self.proxy.address()) })
    }

    /// What lies between the server and the cluster.
    pub fn proxy(&self) -> Arc<Proxy> {
        Arc::clone(&self.proxy)
    }

    /// Every object of the application, by its identity.
    pub async fn objects(&self) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        for [group, version, kind, plural] in KINDS {
            for object in self.list(group, version, kind, plural).await {
                let uid = object.metadata.uid.clone().unwrap_or_default();
                found.insert(uid, serde_json::to_value(&object).unwrap());
            }
        }
        found
    }

    /// Where requests for applications go.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// The domain of the applications.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Versions by the digests of their images.
    pub fn versions(&self) -> &BTreeMap<String, String> {
        &self.versions
    }

    /// What is made from now on is made for another story, and the server is killed at one of the points.
    pub fn begin(&mut self, order: Order, server: u32) {
        self.take_made();
        self.made.clear();
        self.gate.take(order, server);
    }

    fn take_made(&mut self) {
        for made in self.proxy.take_made() {
            if made.resource == "namespaces" {
                self.spaces.insert(made.name.clone());
            }
            self.made.push(made);
        }
    }

    /// Nobody is killed any more.
    pub fn let_be(&self) {
        self.gate.let_be();
    }

    /// What was made for the story, and what there is.
    pub async fn seen(&mut self, names: &Names) -> Seen {
        self.take_made();
        let mut seen = Seen::default();
        let mut uids = Vec::new();
        for [group, version, kind, plural] in KINDS {
            for object in self.list(group, version, kind, plural).await {
                uids.extend(object.metadata.uid.clone());
                seen.objects.push(described(plural, &object, names));
            }
        }
        seen.objects.sort();
        for made in &self.made {
            let name = format!("{} {}", made.resource, point::object(&made.name, names));
            if made.resource == "namespaces" {
                *seen.made.entry("namespaces".to_owned()).or_default() += 1;
                continue;
            }
            *seen.made.entry(name.clone()).or_default() += 1;
            if !uids.contains(&made.uid) {
                seen.made_in_vain.push(name);
            }
        }
        seen.made_in_vain.sort();
        seen
    }

    /// Every object of this server of one kind.
    async fn list(&self, group: &str, version: &str, kind: &str, plural: &str) -> Vec<DynamicObject> {
        let api: Api<DynamicObject> =
            Api::all_with(self.upstream.clone(), &resource(group, version, kind, plural));
        let ours = ListParams::default().labels(&format!("{DOMAIN}/org=shop"));
        let found = api.list(&ours).await.unwrap().items;
        // On a real cluster there are those of other servers, whose spaces have other names.
        let is_ours = |object: &DynamicObject| {
            let space = object.metadata.namespace.as_ref();
            !self.baseline || space.is_some_and(|space| self.spaces.contains(space))
        };
        found.into_iter().filter(is_ours).collect()
    }

    /// Takes down what was made on a real cluster.
    pub async fn close(self) {
        if !self.baseline {
            return;
        }
        let namespaces: Api<DynamicObject> =
            Api::all_with(self.upstream.clone(), &resource("", "v1", "Namespace", "namespaces"));
        for space in &self.spaces {
            drop(namespaces.delete(space, &DeleteParams::background()).await);
        }
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") },
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// An object in words, without times and identities.
fn described(plural: &str, object: &DynamicObject, names: &Names) -> String {
    let name = point::object(object.metadata.name.as_deref().unwrap_or_default(), names);
    let leaves = if object.metadata.deletion_timestamp.is_some() { " that goes" } else { "" };
    let data = &object.data;
    let more = match plural {
        "deployments" => {
            format!(" {} wanted, {} ready", data["spec"]["replicas"], data["status"]["readyReplicas"])
        }
        "pods" => format!(" {}", data["status"]["phase"]),
        "httproutes" => {
            let backends = data["spec"]["rules"][0]["backendRefs"].as_array().into_iter().flatten();
            let mut shares: Vec<String> = backends
                .map(|it| {
                    let service = it["name"].as_str().unwrap_or_default();
                    format!("{}: {}", point::object(service, names), it["weight"])
                })
                .collect();
            shares.sort();
            format!(" {}", shares.join(", "))
        }
        _ => String::new(),
    };
    format!("{plural} {name}{more}{leaves}")
}

/// The real cluster, for all servers.
fn real() -> anyhow::Result<&'static TestCluster> {
    static FOUND: OnceLock<Result<TestCluster, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| paas_cluster_harness::cluster().map_err(|error| format!("{error:#}")));
    found.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// Puts images of a layout where the nodes of the real cluster find them; returns their repository.
pub fn push(layout: &Path) -> anyhow::Result<String> {
    let cluster = real()?;
    let registry = cluster.registry.as_ref().ok_or_else(|| anyhow::anyhow!("{cluster} has no registry"))?;
    let random = layout.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let repository = format!("kill/{}", random.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
    cluster.push(layout, &repository)?;
    Ok(format!("{}/{repository}", registry.pull))
}
