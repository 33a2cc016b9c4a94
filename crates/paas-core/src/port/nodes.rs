//! The machines of a cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::InstanceId;
use crate::error::Result;
use crate::quantity::{Bytes, Cpu};

/// A machine of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its name, unique on the cluster.
    pub name: String,
    /// What it can be chosen by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The processor time that instances may use on it.
    pub cpu: Cpu,
    /// The memory that instances may use on it.
    pub memory: Bytes,
    /// How many instances it takes at most, those of others included; absent if there is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_instances: Option<u32>,
    /// Whether instances can run on it.
    pub ready: bool,
    /// Whether it takes new instances.
    pub schedulable: bool,
    /// What is wrong with it, in sentences for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// What came of a drain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DrainReport {
    /// The instances of this platform that went.
    pub evicted: Vec<InstanceId>,
    /// Those that are still there when the time is over: a budget keeps them, or they end slowly.
    pub kept: Vec<InstanceId>,
}

/// The machines of a cluster.
///
/// # Contract
/// - [`Nodes::cordon`] keeps new instances away from a machine, or lets them come again. The same again changes nothing. What
///   runs there goes on.
/// - [`Nodes::drain`] cordons the machine, then lets the instances of this installation go from it, as budgets of
///   disruption allow, until all went or `patience` is over. Instances of others stay. The numbers that are declared are
///   kept: what goes is started elsewhere.
/// - An unknown machine is [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
#[async_trait]
pub trait Nodes: fmt::Debug + Send + Sync + 'static {
    /// The machines, by name.
    async fn list(&self) -> Result<Vec<Node>>;

    /// Keeps new instances away from a machine, or lets them come again.
    async fn cordon(&self, node: &str, cordoned: bool) -> Result<()>;

    /// Empties a machine of this installation's instances.
    async fn drain(&self, node: &str, patience: Duration) -> Result<DrainReport>;
}
