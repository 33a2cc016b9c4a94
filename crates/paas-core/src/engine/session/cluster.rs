//! What is asked of clusters themselves: their machines, and what instances use.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Session;
use crate::action::{NodeUse, ReadNodes, ReadUsage, UseNode};
use crate::engine::TrackRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{AppEnv, ClusterName, ComponentName};
use crate::port::{ClusterPorts, DrainReport, InstanceId, Node, Nodes, Usage};

/// How long a cluster may take to tell something.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The longest drain that is waited for.
const LONGEST_DRAIN: Duration = Duration::from_mins(15);

/// What the instances of an application use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AppUsage {
    /// Each instance for which there are figures.
    pub instances: Vec<InstanceUsage>,
    /// The clusters that tell nothing now, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<SilentCluster>,
}

/// What an instance uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceUsage {
    /// Its component.
    pub component: ComponentName,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Which.
    pub instance: InstanceId,
    /// What it uses.
    #[serde(flatten)]
    pub usage: Usage,
}

/// A cluster that does not tell what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SilentCluster {
    /// Which.
    pub cluster: ClusterName,
    /// Why.
    pub reason: String,
}

impl Session {
    /// The machines of a cluster, by name.
    ///
    /// # Errors
    /// Those of [`Session::perform`] and of [`Nodes`]; [`ErrorKind::Unsupported`] where a cluster has no machines to speak
    /// of.
    pub async fn nodes(&self, cluster: &ClusterName) -> Result<Vec<Node>> {
        self.perform(ReadNodes { cluster: cluster.clone() }).await?;
        let nodes = self.nodes_of(cluster)?;
        in_time(cluster, PATIENCE, nodes.list()).await
    }

    /// Keeps new instances away from a machine, or lets them come again.
    ///
    /// # Errors
    /// As of [`Session::nodes`]; [`ErrorKind::NotFound`] if there is no such machine.
    pub async fn cordon(&self, cluster: &ClusterName, node: &str, cordoned: bool) -> Result<()> {
        let what = if cordoned { NodeUse::Cordon } else { NodeUse::Uncordon };
        self.perform(UseNode { cluster: cluster.clone(), node: node.to_owned(), what }).await?;
        let nodes = self.nodes_of(cluster)?;
        in_time(cluster, PATIENCE, nodes.cordon(node, cordoned)).await
    }

    /// Lets the instances of this platform leave a machine, as budgets of disruption allow, until all went or `patience`, of
    /// at most 15 minutes, is over.
    ///
    /// # Errors
    /// As of [`Session::cordon`].
    pub async fn drain(&self, cluster: &ClusterName, node: &str, patience: Duration) -> Result<DrainReport> {
        let patience = patience.min(LONGEST_DRAIN);
        let what = NodeUse::Drain;
        self.perform(UseNode { cluster: cluster.clone(), node: node.to_owned(), what }).await?;
        let nodes = self.nodes_of(cluster)?;
        in_time(cluster, patience + PATIENCE, nodes.drain(node, patience)).await
    }

    /// What the instances of an application use now. A cluster that does not tell is named, and delays nobody.
    ///
    /// # Errors
    /// Those of [`Session::perform`].
    pub async fn usage(&self, at: &AppEnv) -> Result<AppUsage> {
        self.perform(ReadUsage { at: at.clone() }).await?;
        let mut usage = AppUsage::default();
        let clusters = self.services.clusters();
        let records = self.services.collections().children::<TrackRecord>(at.to_string()).await?;
        let asked = records.into_iter().map(|record| {
            let track = record.value.state.track;
            let metrics = clusters.get(&track.cluster).and_then(|ports| ports.metrics.clone());
            async move {
                let told = match &metrics {
                    Some(metrics) => in_time(&track.cluster, PATIENCE, metrics.usage(&track)).await,
                    None => Err(Error::new(ErrorKind::Unsupported, "read what instances use")
                        .with_context("cluster", &track.cluster)),
                };
                (track, told)
            }
        });
        for (track, told) in futures::future::join_all(asked).await {
            match told {
                Ok(found) => {
                    let of_track = |(instance, usage)| InstanceUsage {
                        component: track.component.component.clone(),
                        cluster: track.cluster.clone(),
                        instance,
                        usage,
                    };
                    usage.instances.extend(found.into_iter().map(of_track));
                }
                Err(error) if usage.missing.iter().all(|missing| missing.cluster != track.cluster) => {
                    usage.missing.push(SilentCluster { cluster: track.cluster, reason: error.report() });
                }
                Err(_) => {}
            }
        }
        Ok(usage)
    }

    fn nodes_of(&self, cluster: &ClusterName) -> Result<Arc<dyn Nodes>> {
        let clusters = self.services.clusters();
        let ports: &ClusterPorts =
            clusters.get(cluster).ok_or_else(|| Error::not_found("cluster", cluster))?;
        ports.nodes.clone().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "look at the machines of a cluster")
                .with_context("cluster", cluster)
        })
    }
}

/// What a cluster answers within a time.
pub(super) async fn in_time<T>(
    cluster: &ClusterName,
    patience: Duration,
    call: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer.map_err(|error| error.with_context("cluster", cluster)),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "ask a cluster")
            .with_context("cluster", cluster)
            .with_context("seconds", patience.as_secs())),
    }
}
