//! Composition: which port is behind which trait.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use paas_adapters::{KeyFile, SqliteStore};
use paas_core::ClusterName;
use paas_core::engine::{Platform, SecretResolver};
use paas_core::memory::{Images, SimulatedCluster};
use paas_core::port::{KeyRing, Store};
use paas_local::{LocalMachine, MachineOptions};
use paas_registry::OciImages;

use super::directory::Directory;
use super::options::{Backend, ServerArgs};

/// A platform with what the server needs beside it.
pub struct Parts {
    pub platform: Platform,
    pub store: Arc<dyn Store>,
    /// Where the gateway listens, if there is one.
    pub gateway: Option<SocketAddr>,
    /// The machine, if instances run in containers.
    pub machine: Option<LocalMachine>,
}

/// Puts the platform together in `directory`.
pub async fn open(options: &ServerArgs, directory: &Directory) -> Result<Parts> {
    let database = directory.join("paas.db");
    let store = SqliteStore::open(&database)
        .await
        .with_context(|| format!("failed to open the database {}", database.display()))?;
    let store: Arc<dyn Store> = Arc::new(store);
    let keys = Arc::new(KeyFile::open(directory.join("keys.json"))?);
    let builder =
        Platform::builder().store(Arc::clone(&store)).key_ring(Arc::clone(&keys) as Arc<dyn KeyRing>);
    match options.backend {
        Backend::Memory => {
            let images = Images::any();
            let cluster = SimulatedCluster::new(images.clone());
            let platform = builder
                .cluster(ClusterName::local(), cluster.ports())
                .registry(Arc::new(images))
                .build()
                .await?;
            Ok(Parts { platform, store, gateway: None, machine: None })
        }
        Backend::Local => {
            let secrets =
                Arc::new(SecretResolver::new(Arc::clone(&store), Arc::clone(&keys) as Arc<dyn KeyRing>));
            let machine = MachineOptions::new(directory.join("machine")).with_gateway(options.gateway);
            let machine = LocalMachine::open(machine, secrets).await?;
            for limitation in machine.limitations() {
                tracing::warn!("{limitation}");
            }
            let gateway = machine.gateway_address();
            let builder = builder.cluster(ClusterName::local(), machine.ports());
            let platform = builder.registry(Arc::new(OciImages::default())).build().await?;
            Ok(Parts { platform, store, gateway: Some(gateway), machine: Some(machine) })
        }
    }
}
