//! Composition: which port is behind which trait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use paas_adapters::{KeyFile, PostgresOptions, PostgresStore, SqliteStore};
use paas_core::ClusterName;
use paas_core::engine::{Platform, SecretResolver, Settings};
use paas_core::memory::{Images, SimulatedCluster};
use paas_core::port::{ClusterPorts, KeyRing, Registry, Store};
use paas_k8s::KubernetesDriver;
use paas_local::{LocalMachine, MachineOptions};
use paas_registry::OciImages;

use super::directory::Directory;
use super::installation;
use super::options::{Backend, ServerArgs};

/// Takes a port and gives what is used in its place.
type Around<T> = Box<dyn FnOnce(T) -> T + Send>;

/// What is put around the ports before anything is done with them, or in their place.
pub struct Arounds {
    pub store: Around<Arc<dyn Store>>,
    pub registry: Around<Arc<dyn Registry>>,
    pub cluster: Around<ClusterPorts>,
}

impl Default for Arounds {
    fn default() -> Self {
        Self {
            store: Box::new(|store| store),
            registry: Box::new(|registry| registry),
            cluster: Box::new(|cluster| cluster),
        }
    }
}

/// A platform with what the server needs beside it.
pub struct Parts {
    pub platform: Platform,
    pub store: Arc<dyn Store>,
    /// Where the gateway listens, if there is one.
    pub gateway: Option<SocketAddr>,
    /// The machine, if instances run in containers.
    pub machine: Option<LocalMachine>,
}

/// The store: a file in the directory, or a database that several servers share.
async fn open_store(options: &ServerArgs, directory: &Directory) -> Result<Arc<dyn Store>> {
    let Some(url) = &options.store else {
        let database = directory.join("paas.db");
        let store = SqliteStore::open(&database)
            .await
            .with_context(|| format!("failed to open the database {}", database.display()))?;
        return Ok(Arc::new(store));
    };
    if options.backend == Backend::Local {
        // Another server on the database would take this machine's instances for its own.
        bail!(
            "a store that several servers share cannot hold what runs on one of their machines. Add --backend none and run \
             applications on clusters that are added, or leave --store out"
        );
    }
    Ok(Arc::new(PostgresStore::open(&PostgresOptions::new(url)?).await?))
}

/// Puts the platform together in `directory`, with `arounds` around its ports.
pub async fn open(options: &ServerArgs, directory: &Directory, arounds: Arounds) -> Result<Parts> {
    let store = (arounds.store)(open_store(options, directory).await?);
    let key_ring: Arc<dyn KeyRing> =
        Arc::new(KeyFile::open(options.key_file.clone().unwrap_or_else(|| directory.join("keys.json")))?);
    let mut machine = None;
    let (registry, cluster): (Arc<dyn Registry>, Option<ClusterPorts>) = match options.backend {
        Backend::None => (Arc::new(OciImages::default()), None),
        Backend::Memory => {
            let images = Images::any();
            let cluster = SimulatedCluster::new(images.clone());
            (Arc::new(images), Some(cluster.ports()))
        }
        Backend::Local => {
            let secrets = Arc::new(SecretResolver::new(Arc::clone(&store), Arc::clone(&key_ring)));
            let wanted = MachineOptions::new(directory.join("machine")).with_gateway(options.gateway);
            let opened = LocalMachine::open(wanted, secrets).await?;
            for limitation in opened.limitations() {
                tracing::warn!("{limitation}");
            }
            let cluster = opened.ports();
            machine = Some(opened);
            (Arc::new(OciImages::default()), Some(cluster))
        }
    };
    let driver =
        KubernetesDriver::new(&options.label_domain).map_err(|fault| anyhow!("--label-domain: {fault}"))?;
    let mut settings = Settings::default();
    settings.resync = Duration::from_secs(options.resync.into());
    let mut builder = Platform::builder()
        .settings(settings)
        .installation(installation::id(&store).await?)
        .driver(Arc::new(driver))
        .store(Arc::clone(&store))
        .key_ring(key_ring)
        .registry((arounds.registry)(registry));
    if let Some(cluster) = cluster {
        builder = builder.cluster(ClusterName::local(), (arounds.cluster)(cluster));
    }
    let platform = builder.build().await?;
    let gateway = machine.as_ref().map(LocalMachine::gateway_address);
    Ok(Parts { platform, store, gateway, machine })
}
