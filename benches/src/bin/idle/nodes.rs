//! Nodes that are objects and nothing else: what is scheduled to them is said to run, and what is deleted is let go.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use paas_k8s::kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams,
};
use paas_k8s::kube::{self, Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

/// How many pods a node takes.
pub const PODS: usize = 250;
/// What the names of the nodes begin with.
const PREFIX: &str = "paas-bench-";
/// Where nodes say that they live, and for how long that holds.
const LEASES: &str = "kube-node-lease";
const LEASE_SECONDS: u64 = 40;
/// How many calls may be under way at once.
const CALLS: usize = 16;
/// Addresses of pods: the network that RFC 2544 sets apart for benchmarks.
const NETWORK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The nodes, which live until [`FakeNodes::remove`].
pub struct FakeNodes {
    client: Client,
    names: Vec<String>,
    _tasks: JoinSet<()>,
}

impl FakeNodes {
    /// Registers nodes for so many pods, and begins to stand in for their kubelets.
    pub async fn register(client: &Client, pods: usize) -> Result<Self> {
        let names: Vec<String> = (0..=pods.div_ceil(PODS)).map(|index| format!("{PREFIX}{index}")).collect();
        let mut tasks = JoinSet::new();
        for name in &names {
            register(client, name).await.with_context(|| format!("failed to register the node {name}"))?;
        }
        tasks.spawn(renew(client.clone(), names.clone()));
        let kubelet = Kubelet {
            api: client.clone(),
            names: names.iter().cloned().collect(),
            calls: Arc::new(Semaphore::new(CALLS)),
            addresses: Arc::default(),
        };
        tasks.spawn(kubelet.run());
        Ok(Self { client: client.clone(), names, _tasks: tasks })
    }

    /// Removes them, if their pods are gone.
    pub async fn remove(&self) -> Result<()> {
        for name in &self.names {
            gone(&Api::<Node>::all(self.client.clone()), name).await?;
            gone(&Api::<Lease>::namespaced(self.client.clone(), LEASES), name).await?;
        }
        Ok(())
    }
}

/// Keeps what is scheduled anew from coming to the machines of a cluster; answers which were open until now.
///
/// The platform's instances tolerate no taints, so that nodes of a bench's own cannot be reserved by one.
pub async fn cordon(client: &Client) -> Result<Vec<String>> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let is_open = |node: &Node| {
        let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable);
        closed != Some(true) && !node.name_any().starts_with(PREFIX)
    };
    let open: Vec<String> = nodes.items.iter().filter(|node| is_open(node)).map(Node::name_any).collect();
    for name in &open {
        if let Err(error) = Api::<Node>::all(client.clone()).cordon(name).await {
            uncordon(client, &open).await?;
            return Err(error).with_context(|| format!("failed to close the node {name}"));
        }
    }
    Ok(open)
}

/// Opens machines again.
pub async fn uncordon(client: &Client, names: &[String]) -> Result<()> {
    for name in names {
        let opened = Api::<Node>::all(client.clone()).uncordon(name).await;
        opened.with_context(|| format!("failed to open the node {name}; do `kubectl uncordon {name}`"))?;
    }
    Ok(())
}

async fn register(client: &Client, name: &str) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    let labels = json!({ "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                         "kubernetes.io/arch": "amd64", "paas-bench/fake": "true" });
    let node = read(json!({ "metadata": { "name": name, "labels": labels } }))?;
    made(nodes.create(&PostParams::default(), &node).await)?;
    let leases = Api::<Lease>::namespaced(client.clone(), LEASES);
    let lease = read(json!({ "metadata": { "name": name }, "spec": lease(name) }))?;
    made(leases.create(&PostParams::default(), &lease).await)?;
    let has = json!({ "cpu": "1000", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": PODS.to_string() });
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str, status: &str| {
        json!({ "type": kind, "status": status, "reason": "Bench", "message": "it is said so",
                "lastHeartbeatTime": now, "lastTransitionTime": now })
    };
    let conditions = [
        condition("Ready", "True"),
        condition("MemoryPressure", "False"),
        condition("DiskPressure", "False"),
        condition("PIDPressure", "False"),
    ];
    let status = json!({ "status": { "capacity": has, "allocatable": has, "conditions": conditions } });
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(&status)).await?;
    Ok(())
}

fn lease(name: &str) -> Value {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    json!({ "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now })
}

/// Says that the nodes live.
async fn renew(client: Client, names: Vec<String>) {
    let leases = Api::<Lease>::namespaced(client, LEASES);
    let mut ticks = interval(Duration::from_secs(LEASE_SECONDS / 4));
    loop {
        ticks.tick().await;
        for name in &names {
            let patch = json!({ "spec": lease(name) });
            if let Err(error) = leases.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                eprintln!("failed to renew the lease of {name}: {error}");
            }
        }
    }
}

/// What stands in for the kubelets.
#[derive(Clone)]
struct Kubelet {
    api: Client,
    names: BTreeSet<String>,
    calls: Arc<Semaphore>,
    addresses: Arc<AtomicU32>,
}

/// What was done for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Started,
    Removed,
}

impl Kubelet {
    async fn run(self) {
        loop {
            if let Err(error) = self.follow().await {
                eprintln!("the pods of the bench's nodes cannot be followed: {error}");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Looks at every pod, then at what changes, until the watch ends.
    async fn follow(&self) -> kube::Result<()> {
        let pods = Api::<Pod>::all(self.api.clone());
        let mut done = HashMap::new();
        let mut work = JoinSet::new();
        let listed = pods.list(&ListParams::default()).await?;
        for pod in listed.items {
            self.see(pod, &mut done, &mut work);
        }
        let version = listed.metadata.resource_version.unwrap_or_default();
        let mut events = std::pin::pin!(pods.watch(&WatchParams::default(), &version).await?);
        while let Some(event) = events.try_next().await? {
            while work.try_join_next().is_some() {}
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => self.see(pod, &mut done, &mut work),
                WatchEvent::Deleted(pod) => drop(done.remove(&pod.uid().unwrap_or_default())),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => {
                    eprintln!("the watch of pods ended: {}", status.message);
                    break;
                }
            }
        }
        while work.join_next().await.is_some() {}
        Ok(())
    }

    fn see(&self, pod: Pod, done: &mut HashMap<String, Done>, work: &mut JoinSet<()>) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if !node.is_some_and(|node| self.names.contains(node)) {
            return;
        }
        let runs = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
        let due = match pod.metadata.deletion_timestamp {
            Some(_) => Done::Removed,
            None if !runs => Done::Started,
            None => return,
        };
        if done.insert(pod.uid().unwrap_or_default(), due) != Some(due) {
            let kubelet = self.clone();
            work.spawn(async move { kubelet.act(&pod, due).await });
        }
    }

    async fn act(&self, pod: &Pod, due: Done) {
        let Ok(_permit) = self.calls.acquire().await else { return };
        let pods = Api::<Pod>::namespaced(self.api.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        let outcome = match due {
            Done::Removed => {
                let looked_at = Preconditions { uid: pod.uid(), resource_version: None };
                let at_once = DeleteParams::default().grace_period(0).preconditions(looked_at);
                pods.delete(&name, &at_once).await.map(drop)
            }
            Done::Started => {
                let status = self.running(pod);
                pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&status)).await.map(drop)
            }
        };
        match outcome {
            Err(kube::Error::Api(status)) if status.code == 404 => {} // it was faster
            Err(error) => eprintln!("the pod {name} cannot be told of: {error}"),
            Ok(()) => {}
        }
    }

    /// The status of a pod whose containers all run and are ready.
    fn running(&self, pod: &Pod) -> Value {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let ip = Ipv4Addr::from(u32::from(NETWORK) + self.addresses.fetch_add(1, Ordering::Relaxed));
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let statuses: Vec<Value> = containers
            .map(|container| {
                let image = container.image.clone().unwrap_or_default();
                json!({ "name": container.name, "image": image, "imageID": image, "ready": true,
                        "started": true, "restartCount": 0, "state": { "running": { "startedAt": now } } })
            })
            .collect();
        let conditions = ["Initialized", "ContainersReady", "Ready"]
            .map(|kind| json!({ "type": kind, "status": "True", "lastTransitionTime": now }));
        json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "startTime": now,
                            "conditions": conditions, "containerStatuses": statuses } })
    }
}

/// Deletes many objects at once; those that are missing count as gone.
pub async fn delete_all<K>(api: &Api<K>, names: &[String]) -> Result<()>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    stream::iter(names).map(|name| gone(api, name)).buffer_unordered(CALLS).try_collect().await
}

async fn gone<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).with_context(|| format!("failed to delete {name}")),
    }
}

/// What is there already is of a run that was cut off.
fn made<T>(outcome: kube::Result<T>) -> kube::Result<()> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

fn read<K: DeserializeOwned>(object: Value) -> Result<K> {
    serde_json::from_value(object).context("failed to make an object")
}
