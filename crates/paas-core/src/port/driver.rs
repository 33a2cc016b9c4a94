//! A cluster, opened: the ports of one place to run.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Exec, Logs, Router, Runtime};
use crate::error::Result;
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
}

/// Opens clusters of one kind from their configuration, so that clusters are added at run time.
#[async_trait]
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// The kind, by which configurations name it: `kubernetes`.
    fn kind(&self) -> &'static str;

    /// The JSON schema of its configuration.
    fn schema(&self) -> schemars::Schema;

    /// Opens a cluster. `secrets` reveals the values that its instances are started with.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with every fault of the configuration,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the cluster does not answer.
    async fn open(
        &self,
        cluster: &ClusterName,
        config: serde_json::Value,
        secrets: Arc<dyn SecretSource>,
    ) -> Result<ClusterPorts>;
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
