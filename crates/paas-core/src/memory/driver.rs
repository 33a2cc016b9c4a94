//! A driver whose clusters are in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Fault, Result};
use crate::port::{ClusterPorts, ClusterReport, Driver, OpenCluster, SecretValue};

/// Opens clusters of the kind `simulated`, by an address in their configuration and a password as their credentials. Clones
/// know the same clusters.
///
/// ```
/// use paas_core::memory::{Images, SimulatedCluster, SimulatedDriver};
///
/// let driver = SimulatedDriver::new();
/// let east = SimulatedCluster::new(Images::any());
/// driver.add("east.example.org", "hunter2", east.ports());
/// ```
#[derive(Debug, Clone, Default)]
pub struct SimulatedDriver(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    clusters: BTreeMap<String, (SecretValue, ClusterPorts)>,
    away: BTreeSet<String>,
}

impl SimulatedDriver {
    /// One that knows no cluster yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a cluster known, at an address and with a password.
    pub fn add(&self, address: &str, password: &str, ports: ClusterPorts) {
        self.state().clusters.insert(address.to_owned(), (SecretValue::new(password), ports));
    }

    /// Whether a cluster does not answer when it is asked how it is. Its ports go on; faults of theirs are made by
    /// [`Faults`](super::Faults).
    pub fn set_away(&self, address: &str, away: bool) {
        let mut state = self.state();
        if away {
            state.away.insert(address.to_owned());
        } else {
            state.away.remove(address);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, operation: &'static str, cluster: &OpenCluster) -> Result<ClusterPorts> {
        let state = self.state();
        let address = cluster.config["address"].as_str().unwrap_or_default();
        let error = |kind| Error::new(kind, operation).with_context("address", address);
        let (password, ports) = state.clusters.get(address).ok_or_else(|| error(ErrorKind::Unavailable))?;
        if cluster.credentials.as_ref() == Some(password) {
            Ok(ports.clone())
        } else {
            Err(error(ErrorKind::Denied).with_remedy("Pass the cluster's password as its credentials."))
        }
    }
}

#[async_trait]
impl Driver for SimulatedDriver {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn schema(&self) -> Value {
        json!({
            "type": "object",
            "properties": { "address": { "type": "string", "minLength": 1 } },
            "required": ["address"],
            "additionalProperties": false,
        })
    }

    fn validate(&self, config: &Value, credentials: Option<&SecretValue>, faults: &mut Vec<Fault>) {
        if config["address"].as_str().is_none_or(str::is_empty) {
            faults.push(Fault::new("config.address", "is missing; name the address of the cluster"));
        }
        for key in
            config.as_object().into_iter().flat_map(|fields| fields.keys()).filter(|key| *key != "address")
        {
            faults.push(Fault::new(format!("config.{key}"), "is unknown; there is only `address`"));
        }
        if credentials.is_none() {
            faults.push(Fault::new("credentials", "are missing; pass the cluster's password"));
        }
    }

    async fn open(&self, cluster: &OpenCluster) -> Result<ClusterPorts> {
        self.find("open a cluster", cluster)
    }

    async fn probe(&self, cluster: &OpenCluster) -> Result<ClusterReport> {
        self.find("reach a cluster", cluster)?;
        let address = cluster.config["address"].as_str().unwrap_or_default();
        if self.state().away.contains(address) {
            return Err(
                Error::new(ErrorKind::Unavailable, "reach a cluster").with_context("address", address)
            );
        }
        Ok(ClusterReport { version: Some("simulated".to_owned()), limitations: Vec::new() })
    }
}
