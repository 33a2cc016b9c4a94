//! Bodies about clusters.

use std::collections::BTreeMap;
use std::fmt;

use paas_core::ClusterName;
use paas_core::port::Node;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A cluster to be added.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddedCluster {
    /// The name, unique on the platform and never changed.
    pub name: ClusterName,
    /// The kind, such as `kubernetes`.
    pub kind: String,
    /// Where it is, for people and for placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// What it can be chosen by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the kind's driver takes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// What gives access to it, such as a kubeconfig. No answer ever shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub credentials: Option<String>,
    /// Adds it although it may not be reached now.
    #[serde(default)]
    pub unreachable: bool,
}

/// What is to be changed of a cluster; what is absent stays.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedCluster {
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// What it can be chosen by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// What the kind's driver takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// Other credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub credentials: Option<String>,
    /// Changes it although it may not be reached now.
    #[serde(default)]
    pub unreachable: bool,
}

/// The machines of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NodeList {
    /// Each, by name.
    pub items: Vec<Node>,
}

/// How a machine is emptied.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// How long to wait for the instances to go, in seconds.
    #[serde(default = "Drain::default_timeout")]
    #[schemars(range(max = 900))]
    pub timeout_seconds: u32,
}

impl Drain {
    fn default_timeout() -> u32 {
        300
    }
}

impl fmt::Debug for AddedCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddedCluster")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ChangedCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangedCluster").field("region", &self.region).finish_non_exhaustive()
    }
}
