//! One Linux machine, with everything in one directory.

use std::sync::Arc;

use anyhow::Context as _;
use paas_adapters::{KeyFile, SqliteStore};
use paas_core::engine::{PlatformBuilder, SecretResolver};
use paas_core::{ClusterName, Platform};
use paas_local::{LocalMachine, MachineOptions};
use paas_registry::OciImages;

pub(crate) use paas_local::helper_main;

/// A platform whose one cluster is this machine.
pub(crate) async fn builder(directory: Option<String>) -> anyhow::Result<PlatformBuilder> {
    let directory = directory.context("name a directory for the platform, then two images")?;
    std::fs::create_dir_all(&directory)?;
    let store = Arc::new(SqliteStore::open(format!("{directory}/paas.db")).await?);
    let keys = Arc::new(KeyFile::open(format!("{directory}/keys.json"))?);
    let secrets = Arc::new(SecretResolver::new(store.clone(), keys.clone()));
    let machine = LocalMachine::open(MachineOptions::new(&directory), secrets).await?;
    let images = Arc::new(OciImages::default());
    let builder = Platform::builder().store(store).key_ring(keys).registry(images);
    Ok(builder.cluster(ClusterName::local(), machine.ports()))
}
