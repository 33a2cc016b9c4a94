//! Clusters: the ports of one place to run, and how one that is added at run time is opened.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Exec, Logs, Metrics, Nodes, Router, Runtime, Spaces, Traffic};
use crate::error::{Fault, Result};
use crate::model::SecretRef;
use crate::name::{AppEnv, ClusterName};

/// The ports of one cluster.
#[derive(Debug, Clone)]
pub struct ClusterPorts {
    /// Where instances run.
    pub runtime: Arc<dyn Runtime>,
    /// How requests find them.
    pub router: Arc<dyn Router>,
    /// What they print.
    pub logs: Option<Arc<dyn Logs>>,
    /// Commands inside them.
    pub exec: Option<Arc<dyn Exec>>,
    /// What they use.
    pub metrics: Option<Arc<dyn Metrics>>,
    /// What the router counted of requests.
    pub traffic: Option<Arc<dyn Traffic>>,
    /// The machines.
    pub nodes: Option<Arc<dyn Nodes>>,
    /// The isolated spaces of environments, where there are such.
    pub spaces: Option<Arc<dyn Spaces>>,
}

impl ClusterPorts {
    /// What every cluster has; the rest is added by its fields.
    pub fn new(runtime: Arc<dyn Runtime>, router: Arc<dyn Router>) -> Self {
        Self {
            runtime,
            router,
            logs: None,
            exec: None,
            metrics: None,
            traffic: None,
            nodes: None,
            spaces: None,
        }
    }
}

/// A secret's value. It never prints itself and is never serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// Wraps a value.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(value.into())
    }

    /// The value itself; to be handed to who needs it and nowhere else.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        self.0.fill(0);
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Where a runtime gets the values of secrets when it starts an instance. The engine implements it.
#[async_trait]
pub trait SecretSource: fmt::Debug + Send + Sync + 'static {
    /// The value of a secret of an application in an environment.
    async fn reveal(&self, at: &AppEnv, secret: &SecretRef) -> Result<SecretValue>;
}

/// A cluster that is to be opened.
#[derive(Debug, Clone)]
pub struct OpenCluster {
    /// What the platform calls it.
    pub name: ClusterName,
    /// The identity of the installation, on every object that is made anywhere.
    pub installation: String,
    /// What the driver's schema describes.
    pub config: Value,
    /// What gives access to it, such as a kubeconfig.
    pub credentials: Option<SecretValue>,
    /// Where its runtime gets the values of secrets.
    pub secrets: Arc<dyn SecretSource>,
}

/// What a cluster tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ClusterReport {
    /// The version of what runs there.
    pub version: Option<String>,
    /// What it cannot do, in sentences for people; empty if nothing is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limitations: Vec<String>,
}

/// Opens clusters of one kind.
///
/// # Contract
/// - [`Driver::validate`] finds every fault of a configuration that shows without reaching the cluster, with its path.
/// - [`Driver::open`] may look at the cluster, and fails with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if it
///   cannot be reached; it is then tried again. A cluster that goes away later stays open: its calls fail with `Unavailable`,
///   and work as soon as it is back.
/// - [`Driver::probe`] reaches the cluster, changes nothing there, and fails if the platform could not work there: with
///   [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if it cannot be reached,
///   [`ErrorKind::Denied`](crate::ErrorKind::Denied) if the credentials do not suffice, naming what is missing.
/// - Neither credentials nor anything of them is in any error or report.
#[async_trait]
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// The kind of its clusters, as users write it, such as `kubernetes`.
    fn kind(&self) -> &str;

    /// What a configuration may hold, as a JSON schema.
    fn schema(&self) -> Value;

    /// Appends every fault of a configuration; paths begin at `config` or `credentials`.
    fn validate(&self, config: &Value, credentials: Option<&SecretValue>, faults: &mut Vec<Fault>);

    /// The ports of a cluster.
    async fn open(&self, cluster: &OpenCluster) -> Result<ClusterPorts>;

    /// Whether the platform can work there.
    async fn probe(&self, cluster: &OpenCluster) -> Result<ClusterReport>;
}
