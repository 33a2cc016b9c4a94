//! The machines of a cluster, and what instances use.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node as KubeNode, NodeCondition, Pod};
use kube::Api;
use kube::api::{EvictParams, ListParams, Patch};
use paas_core::port::{DrainReport, InstanceId, Metrics, Node, Nodes, Usage};
use paas_core::{Bytes, Cpu, Error, ErrorKind, Result, TrackKey};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::cluster::KubernetesCluster;
use crate::error::{failed, is_missing};
use crate::scheme::roles;

const AGAIN: Duration = Duration::from_millis(500);

#[async_trait]
impl Nodes for KubernetesCluster {
    async fn list(&self) -> Result<Vec<Node>> {
        let api: Api<KubeNode> = self.shared.everywhere();
        let found = api.list(&ListParams::default()).await.map_err(|error| failed("list nodes", error))?;
        Ok(found.items.iter().map(node).collect())
    }

    async fn cordon(&self, name: &str, cordoned: bool) -> Result<()> {
        let error = |error| failed("cordon a node", error).with_context("node", name);
        let api: Api<KubeNode> = self.shared.everywhere();
        let found = api.get(name).await.map_err(error)?;
        let is_cordoned = found.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
        if is_cordoned != cordoned {
            let patch = json!({ "spec": { "unschedulable": cordoned } });
            api.patch(name, &self.shared.merging(), &Patch::Merge(&patch)).await.map_err(error)?;
        }
        Ok(())
    }

    async fn drain(&self, name: &str, patience: Duration) -> Result<DrainReport> {
        const OPERATION: &str = "drain a node";
        self.cordon(name, true).await?;
        let end = Instant::now() + patience;
        let mut report = DrainReport::default();
        let pods: Api<Pod> = self.shared.everywhere();
        let selector = ListParams::default()
            .labels(&self.shared.installation().selector())
            .fields(&format!("spec.nodeName={name}"));
        loop {
            let found = pods.list(&selector).await;
            let found = found.map_err(|error| failed(OPERATION, error).with_context("node", name))?;
            report.kept.clear();
            for pod in &found.items {
                let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                if matches!(ended, Some("Succeeded" | "Failed")) {
                    continue;
                }
                let pod_name = pod.metadata.name.clone().unwrap_or_default();
                let id = InstanceId(pod_name.clone());
                if pod.metadata.deletion_timestamp.is_some() {
                    report.kept.push(id);
                    continue;
                }
                let api: Api<Pod> = self.shared.api(&pod.metadata.namespace.clone().unwrap_or_default());
                match api.evict(&pod_name, &EvictParams::default()).await {
                    Ok(_) => {
                        report.evicted.push(id.clone());
                        report.kept.push(id);
                    }
                    Err(error) if is_missing(&error) => {}
                    // A budget says: not now.
                    Err(kube::Error::Api(status)) if status.code == 429 => report.kept.push(id),
                    Err(error) => return Err(failed(OPERATION, error).with_context("instance", pod_name)),
                }
            }
            if report.kept.is_empty() || Instant::now() >= end {
                return Ok(report);
            }
            sleep(AGAIN).await;
        }
    }
}

#[async_trait]
impl Metrics for KubernetesCluster {
    async fn usage(&self, track: &TrackKey) -> Result<BTreeMap<InstanceId, Usage>> {
        const OPERATION: &str = "read what instances use";
        let namespace = self.shared.namespace(&track.component.at.env_ref());
        let selector = self.shared.track_selector(track, roles::INSTANCE).label_selector.unwrap_or_default();
        let selector = selector.replace('/', "%2F").replace('=', "%3D").replace(',', "%2C");
        let uri =
            format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={selector}");
        let request = http::Request::get(uri)
            .body(Vec::new())
            .map_err(|error| Error::new(ErrorKind::Internal, OPERATION).with_source(error))?;
        let answer: serde_json::Value = match self.shared.client.request(request).await {
            Ok(answer) => answer,
            Err(error) if is_missing(&error) => {
                return Err(Error::new(ErrorKind::Unsupported, OPERATION)
                    .with_source("the cluster has no metrics")
                    .with_remedy("Install the metrics server."));
            }
            Err(error) => return Err(failed(OPERATION, error)),
        };
        let mut usage = BTreeMap::new();
        for pod in answer["items"].as_array().into_iter().flatten() {
            let (mut cpu, mut memory) = (0, 0);
            for container in pod["containers"].as_array().into_iter().flatten() {
                cpu += nano_cpu(container["usage"]["cpu"].as_str().unwrap_or_default());
                let bytes: Option<Bytes> =
                    container["usage"]["memory"].as_str().and_then(|it| it.parse().ok());
                memory += bytes.map_or(0, Bytes::get);
            }
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let used = Usage { cpu: Some(Cpu::from_milli(cpu / 1_000_000)), memory: Bytes::new(memory) };
            usage.insert(InstanceId(name), used);
        }
        Ok(usage)
    }
}

/// The metrics server writes nano- and micro-units, which declarations never have.
fn nano_cpu(text: &str) -> u64 {
    if let Some(nano) = text.strip_suffix('n') {
        return nano.parse().unwrap_or_default();
    }
    if let Some(micro) = text.strip_suffix('u') {
        return micro.parse::<u64>().unwrap_or_default() * 1000;
    }
    text.parse::<Cpu>().map(|cpu| cpu.milli() * 1_000_000).unwrap_or_default()
}

fn node(node: &KubeNode) -> Node {
    let status = node.status.as_ref();
    let quantity = |name: &str| {
        let allocatable = status.and_then(|status| status.allocatable.as_ref());
        allocatable.and_then(|all| all.get(name)).map(|quantity| quantity.0.clone()).unwrap_or_default()
    };
    let conditions = status.and_then(|status| status.conditions.as_ref());
    // Every condition but readiness is a problem when it is true.
    let wrong = conditions.into_iter().flatten().filter(|it| (it.type_ == "Ready") != (it.status == "True"));
    let told = |it: &NodeCondition| it.message.clone().unwrap_or_else(|| it.type_.clone());
    let problems = wrong.map(told).collect();
    Node {
        problems,
        name: node.metadata.name.clone().unwrap_or_default(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        cpu: quantity("cpu").parse().unwrap_or_default(),
        memory: quantity("memory").parse().unwrap_or_default(),
        most_instances: quantity("pods").parse().ok(),
        ready: conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True")),
        schedulable: !node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default(),
    }
}
