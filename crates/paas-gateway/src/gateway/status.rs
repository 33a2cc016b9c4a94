//! How the gateway is.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Gateway, lock};
use crate::{
    config::{InstanceId, ListenerId},
    unix,
};

/// The state of a gateway at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The generation of the config in force; `None` before the first.
    pub generation: Option<u64>,
    /// Whether that config would be served by a gateway started anew.
    pub persisted: bool,
    /// The process.
    pub pid: u32,
    /// When the process was started, in clock ticks since the boot.
    pub start_ticks: u64,
    /// The version of this crate that it was built of.
    pub build: String,
    /// For how long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// Connections of clients that are open; upgraded ones count by their instances.
    pub client_connections: u64,
    /// The listeners of the config in force.
    pub listeners: Vec<ListenerStatus>,
    /// The instances of the config in force, and others that are used still.
    pub instances: Vec<InstanceStatus>,
    /// The callers of the config in force.
    pub callers: Vec<CallerStatus>,
}

/// A listener as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Which.
    pub listener: ListenerId,
    /// What it listens on, with the real port; `None` if it does not.
    pub bound: Option<SocketAddr>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Who uses an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Which.
    pub instance: InstanceId,
    /// Whether it may get requests.
    pub accepting: bool,
    /// Requests in flight.
    pub requests: u32,
    /// Upgraded and TCP connections that are open.
    pub connections: u32,
}

/// Whether the calls of an instance reach the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerStatus {
    /// Which.
    pub instance: InstanceId,
    /// Whether its shim is there.
    pub attached: bool,
    /// On how many of its listeners the gateway accepts.
    pub listeners: u32,
    /// What is wrong, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Gateway {
    /// How it is.
    pub async fn status(&self) -> Status {
        let (generation, persisted) = {
            let applied = self.inner.applied.lock().await;
            (applied.config.as_ref().map(|config| config.generation), applied.persisted)
        };
        let mut users = self.users();
        let mut instances: Vec<_> = {
            let known = lock(&self.inner.instances);
            known.current.iter().map(|(id, instance)| (id.clone(), instance.is_accepting())).collect()
        };
        instances.extend(
            users
                .keys()
                .filter(|id| !instances.iter().any(|(known, _)| known == *id))
                .cloned()
                .map(|id| (id, false))
                .collect::<Vec<_>>(),
        );
        instances.sort();
        let instances = instances
            .into_iter()
            .map(|(instance, accepting)| {
                let (requests, connections) = users.remove(&instance).unwrap_or_default();
                InstanceStatus { instance, accepting, requests, connections }
            })
            .collect();
        let pid = std::process::id();
        Status {
            generation,
            persisted,
            pid,
            start_ticks: unix::start_ticks(pid).unwrap_or_default(),
            build: env!("CARGO_PKG_VERSION").into(),
            uptime_ms: u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            client_connections: self.inner.connections.len() as u64,
            listeners: lock(&self.inner.listeners).status(),
            instances,
            callers: lock(&self.inner.callers).status(),
        }
    }
}
