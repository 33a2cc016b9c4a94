//! Clusters that were added at run time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::Record;
use crate::model::{SealedSecret, SecretFingerprint};
use crate::name::ClusterName;
use crate::port::DocumentKey;

/// A cluster as it was added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// The name.
    pub name: ClusterName,
    /// The kind, which names the driver.
    pub kind: String,
    /// Where it is, for people and for placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What it can be chosen by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The driver's configuration; no secret.
    pub config: Value,
    /// What gives access, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SealedSecret>,
    /// A keyed hash of what gives access, so that others can be told from these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<SecretFingerprint>,
    /// Who added it.
    pub added_by: String,
    /// When.
    pub added_at: Timestamp,
}

impl Record for ClusterRecord {
    const KIND: &'static str = "cluster";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.name)
    }
}

impl ClusterRecord {
    /// The key of a cluster's document.
    pub fn key_of(cluster: &ClusterName) -> DocumentKey {
        DocumentKey::new(Self::KIND, "", cluster.as_str())
    }

    /// What its credentials are bound to when they are sealed.
    pub fn context(cluster: &ClusterName) -> String {
        format!("cluster/{cluster}/credentials")
    }
}
