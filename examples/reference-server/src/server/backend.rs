//! Composition: which port is behind which trait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use paas_adapters::{KeyFile, PostgresOptions, PostgresStore, SqliteStore};
use paas_core::ClusterName;
use paas_core::engine::{OnHeld, Platform, SecretResolver, Settings};
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

/// The bounds and times of the platform.
fn settings(options: &ServerArgs) -> Settings {
    let mut settings = Settings::default();
    settings.resync = Duration::from_secs(options.resync.into());
    if options.store.is_some() {
        // A directory has one server, so whoever had its lease is gone. Of several servers on a store the one that works goes on: one
        // that starts, or starts again and again, interrupts nobody.
        settings.lease.on_held = OnHeld::Wait;
    }
    settings
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
    let mut builder = Platform::builder()
        .settings(settings(options))
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

#[cfg(test)]
mod tests {
    use paas_test_postgres::Postgres;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    /// As long as a lease lasts, and as much again.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn server(options: &ServerArgs) -> Parts {
        let directory = Directory::take(&options.dir).unwrap();
        open(options, &directory, Arounds::default()).await.unwrap()
    }

    async fn until_reconciling(parts: &Parts) {
        let works = async {
            while !parts.platform.is_reconciling() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, works).await.expect("it reconciles");
    }

    #[tokio::test]
    async fn a_server_on_a_file_takes_over_from_one_that_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let options = ServerArgs { backend: Backend::Memory, ..ServerArgs::new(folder.path()) };
        let killed = server(&options).await;
        until_reconciling(&killed).await;
        let start = Instant::now();
        let next = server(&options).await;
        until_reconciling(&next).await;
        assert!(start.elapsed() < Settings::default().lease.duration, "it has not waited for the lease");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL"]
    async fn of_servers_on_one_database_the_first_goes_on_until_it_ends() {
        let postgres = Postgres::start().unwrap();
        let url = postgres.database().unwrap();
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let keys = folders[0].path().join("keys.json");
        let of = |folder: &tempfile::TempDir| ServerArgs {
            store: Some(url.clone()),
            key_file: Some(keys.clone()),
            backend: Backend::None,
            ..ServerArgs::new(folder.path())
        };
        let first = server(&of(&folders[0])).await;
        until_reconciling(&first).await;
        let second = server(&of(&folders[1])).await;
        // As long as the first renews its lease, the second stands by.
        let lease = Settings::default().lease.duration;
        let end = Instant::now() + lease + lease / 2;
        while Instant::now() < end {
            assert!(first.platform.is_reconciling() && !second.platform.is_reconciling());
            sleep(Duration::from_millis(100)).await;
        }
        first.platform.shutdown().await;
        let start = Instant::now();
        until_reconciling(&second).await;
        assert!(start.elapsed() < lease / 2, "a lease that was given back is free at once");
    }
}
