//! What surrounds simulated instances: the machines that they run on, the spaces that they are in, and what they use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::cluster::Inner;
use crate::error::Result;
use crate::name::{EnvRef, TrackKey};
use crate::port::{DrainReport, Drift, Epoch, InstanceId, Metrics, Node, Nodes, Spaces, Usage};

/// The machines of a [`SimulatedCluster`](super::SimulatedCluster), called `node-0` and so on.
#[derive(Debug, Clone)]
pub struct SimulatedNodes(pub(super) Arc<Inner>);

/// What the instances of a [`SimulatedCluster`](super::SimulatedCluster) use: 10 thousandths of a processor each, and 16 MiB.
#[derive(Debug, Clone)]
pub struct SimulatedMetrics(pub(super) Arc<Inner>);

/// The spaces of environments on a [`SimulatedCluster`](super::SimulatedCluster).
#[derive(Debug, Clone)]
pub struct SimulatedSpaces(pub(super) Arc<Inner>);

#[async_trait]
impl Nodes for SimulatedNodes {
    async fn list(&self) -> Result<Vec<Node>> {
        Ok(self.0.with(|state| state.list_nodes()))
    }

    async fn cordon(&self, node: &str, cordoned: bool) -> Result<()> {
        self.0.with(|state| state.cordon(node, cordoned))
    }

    async fn drain(&self, node: &str, _: Duration) -> Result<DrainReport> {
        let evicted = self.0.with(|state| state.drain(node))?;
        Ok(DrainReport { evicted, kept: Vec::new() })
    }
}

#[async_trait]
impl Metrics for SimulatedMetrics {
    async fn usage(&self, track: &TrackKey) -> Result<BTreeMap<InstanceId, Usage>> {
        Ok(self.0.with(|state| state.usage(track)))
    }
}

#[async_trait]
impl Spaces for SimulatedSpaces {
    async fn ensure(&self, epoch: Epoch, env: &EnvRef) -> Result<Vec<Drift>> {
        self.0.with(|state| state.ensure_space(epoch, env))
    }

    async fn remove(&self, epoch: Epoch, env: &EnvRef) -> Result<()> {
        self.0.with(|state| state.remove_space(epoch, env))
    }

    async fn list(&self) -> Result<Vec<EnvRef>> {
        Ok(self.0.with(|state| state.list_spaces()))
    }
}
