//! What is still to be taken away on clusters that cannot be reached.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Record;
use crate::name::{AppEnv, ClusterName, ComponentName};
use crate::port::{DocumentKey, InstanceId};

/// An application was deleted while a cluster was away: nothing of it may be left there, and before that nothing of
/// an application that was made anew under its name may begin there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// The application in its environment.
    pub at: AppEnv,
    /// The cluster.
    pub cluster: ClusterName,
    /// Since when the deletion has waited for the cluster.
    pub since: Timestamp,
    /// Who deleted it.
    pub by: String,
    /// The components that it had there. Those that the cluster still shows are removed, too.
    pub components: BTreeSet<ComponentName>,
    /// The runs that it had there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub runs: BTreeSet<InstanceId>,
}

impl TombstoneRecord {
    /// The key of the tombstone of an application on a cluster.
    pub fn key_of(at: &AppEnv, cluster: &ClusterName) -> DocumentKey {
        DocumentKey::new(Self::KIND, cluster.as_str(), at.to_string())
    }
}

impl Record for TombstoneRecord {
    const KIND: &'static str = "tombstone";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.at, &self.cluster)
    }
}

/// A cluster was removed although it could not be reached: what is still known to be there is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenRecord {
    /// The cluster.
    pub cluster: ClusterName,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

impl ForgottenRecord {
    /// The key of the mark of a cluster.
    pub fn key_of(cluster: &ClusterName) -> DocumentKey {
        DocumentKey::new(Self::KIND, "", cluster.as_str())
    }
}

impl Record for ForgottenRecord {
    const KIND: &'static str = "forgotten_cluster";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.cluster)
    }
}

/// Counts the changes of environments that name a cluster which was added, so that it is not removed at the same moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterUseRecord {
    /// The cluster.
    pub cluster: ClusterName,
    /// How often an environment that names it was made or changed.
    pub version: u64,
}

impl ClusterUseRecord {
    /// The key of the count of a cluster.
    pub fn key_of(cluster: &ClusterName) -> DocumentKey {
        DocumentKey::new(Self::KIND, "", cluster.as_str())
    }
}

impl Record for ClusterUseRecord {
    const KIND: &'static str = "cluster_use";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.cluster)
    }
}
