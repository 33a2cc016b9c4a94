//! Organisations and their environments.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StrategySpec;
use crate::name::{ClusterName, EnvName, OrgName};

/// A tenant: it has members, environments and applications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Organization {
    /// The name, unique on the platform and never changed.
    pub name: OrgName,
    /// What people call it.
    #[serde(default)]
    pub display_name: String,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
}

/// Where an organisation's applications run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// The organisation.
    pub org: OrgName,
    /// The name, unique in the organisation and never changed.
    pub name: EnvName,
    /// The clusters that its applications run on, at least one; releases that go from one to the next keep this order.
    pub targets: Vec<Target>,
    /// What a new release does to one that is under way.
    #[serde(default)]
    pub on_running: OnRunning,
    /// How the clusters follow each other in a release.
    #[serde(default)]
    pub cluster_order: ClusterOrder,
    /// What a cluster on which a release fails means for the others.
    #[serde(default)]
    pub on_cluster_failure: OnClusterFailure,
    /// How releases proceed where the application does not say.
    #[serde(default)]
    pub strategy: StrategySpec,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
}

/// A cluster of an environment, with the bounds of instances of one component on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The cluster.
    pub cluster: ClusterName,
    /// The least instances of one component on this cluster.
    #[serde(default = "Target::default_min")]
    pub min_instances: u32,
    /// The most instances of one component on this cluster.
    #[serde(default = "Target::default_max")]
    pub max_instances: u32,
}

impl Target {
    /// The cluster with the default bounds, 1 to 10.
    pub fn new(cluster: ClusterName) -> Self {
        Self { cluster, min_instances: Self::default_min(), max_instances: Self::default_max() }
    }

    fn default_min() -> u32 {
        1
    }

    fn default_max() -> u32 {
        10
    }
}

/// What a new release does to one that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnRunning {
    /// The new one is refused, unless the running one has become the current release and only clears up: it begins after that.
    #[default]
    Reject,
    /// The new one waits for the end of the running one.
    Queue,
    /// The new one takes the running one's place.
    Supersede,
}

/// How the clusters of an environment follow each other in a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClusterOrder {
    /// All begin at once.
    #[default]
    AllAtOnce,
    /// One after the other, in the order of the environment's targets: a cluster begins when those before it have
    /// committed the release, and none begins after one on which it failed.
    OneByOne,
}

/// What a cluster on which a release fails means for the others. One that cannot be reached for as long as the release may
/// take without progress has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnClusterFailure {
    /// All go back, those that have committed the release too: it is current on every cluster, or on none.
    #[default]
    #[serde(alias = "abort_all")]
    Back,
    /// Each cluster commits by itself and keeps what it has committed. One that cannot be reached follows when it can.
    #[serde(alias = "keep_others")]
    Keep,
}
