//! The clusters that a platform can use now: those that it was built with, and those that were added at run time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::documents::ClusterRecord;
use super::queue::Backoff;
use super::{Record as _, SecretResolver, Services, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::name::ClusterName;
use crate::port::{
    Change, ChangeStream, ClusterPorts, Driver, ListOptions, OpenCluster, Revision, SecretSource,
};

/// The ports of each cluster, as they were at one moment.
pub type ClusterSet = Arc<BTreeMap<ClusterName, ClusterPorts>>;

/// The pauses before the feed is followed again, and before a cluster that was not opened is tried again.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) };

/// The clusters of a platform, with what opens others.
pub(super) struct Clusters {
    built_in: BTreeMap<ClusterName, ClusterPorts>,
    drivers: BTreeMap<String, Arc<dyn Driver>>,
    added: Mutex<BTreeMap<ClusterName, Added>>,
    live: watch::Sender<ClusterSet>,
}

/// A cluster that was added at run time.
struct Added {
    /// Which version of its record was opened.
    modified: Revision,
    ports: Result<ClusterPorts>,
}

impl fmt::Debug for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.live.borrow().keys()).finish()
    }
}

impl Clusters {
    pub(super) fn new(
        built_in: BTreeMap<ClusterName, ClusterPorts>,
        drivers: BTreeMap<String, Arc<dyn Driver>>,
    ) -> Self {
        let live = watch::Sender::new(Arc::new(built_in.clone()));
        Self { built_in, drivers, added: Mutex::default(), live }
    }

    pub(super) fn now(&self) -> ClusterSet {
        Arc::clone(&self.live.borrow())
    }

    /// The set, now and whenever it changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<ClusterSet> {
        self.live.subscribe()
    }

    pub(super) fn is_built_in(&self, cluster: &ClusterName) -> bool {
        self.built_in.contains_key(cluster)
    }

    pub(super) fn built_in(&self) -> impl Iterator<Item = &ClusterName> {
        self.built_in.keys()
    }

    pub(super) fn drivers(&self) -> &BTreeMap<String, Arc<dyn Driver>> {
        &self.drivers
    }

    /// Why a cluster that was added was not opened.
    pub(super) fn failure(&self, cluster: &ClusterName) -> Option<String> {
        self.added().get(cluster).and_then(|added| added.ports.as_ref().err().map(Error::report))
    }

    fn added(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Added>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a cluster, unless this version of its record is open.
    async fn put(&self, services: &Services, record: Stored<ClusterRecord>) {
        let (name, modified) = (record.value.name.clone(), record.modified);
        let is_open = |added: &Added| added.modified == modified && added.ports.is_ok();
        if self.is_built_in(&name) || self.added().get(&name).is_some_and(is_open) {
            return;
        }
        let ports = match open_request(services, &record.value).await {
            Ok((driver, request)) => driver.open(&request).await,
            Err(error) => Err(error),
        };
        match &ports {
            Ok(_) => tracing::info!(cluster = %name, kind = record.value.kind, "opened a cluster"),
            Err(error) => tracing::warn!(cluster = %name, error = %error.report(), "cannot open a cluster"),
        }
        self.added().insert(name, Added { modified, ports });
        self.publish();
    }

    fn remove(&self, cluster: &str) {
        self.added().retain(|name, _| name.as_str() != cluster);
        self.publish();
    }

    /// Forgets what is not among `known`.
    fn keep(&self, known: &[ClusterName]) {
        self.added().retain(|name, _| known.contains(name));
        self.publish();
    }

    fn publish(&self) {
        let mut all = self.built_in.clone();
        for (name, added) in self.added().iter() {
            if let Ok(ports) = &added.ports {
                all.entry(name.clone()).or_insert_with(|| ports.clone());
            }
        }
        self.live.send_replace(Arc::new(all));
    }

    fn has_failures(&self) -> bool {
        self.added().values().any(|added| added.ports.is_err())
    }
}

/// What a driver needs to open or probe a cluster.
pub(crate) async fn open_request(
    services: &Services,
    record: &ClusterRecord,
) -> Result<(Arc<dyn Driver>, OpenCluster)> {
    let driver = services.driver(&record.kind)?;
    let credentials = match &record.credentials {
        Some(sealed) => {
            let context = ClusterRecord::context(&record.name);
            let opened = services.key_ring().open(&context, sealed).await;
            Some(opened.map_err(|error| error.with_context("cluster", &record.name))?)
        }
        None => None,
    };
    let (store, key_ring) = (Arc::clone(services.store()), Arc::clone(services.key_ring()));
    let secrets: Arc<dyn SecretSource> = Arc::new(SecretResolver::new(store, key_ring));
    let request = OpenCluster {
        name: record.name.clone(),
        installation: services.installation().to_owned(),
        config: record.config.clone(),
        credentials,
        secrets,
    };
    Ok((driver, request))
}

/// Keeps the set as the documents say. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follower {
    /// Opens what is there, then follows the changes. Without drivers nothing can be opened, and nothing is followed.
    pub(super) async fn start(services: &Arc<Services>) -> Result<Option<Self>> {
        if services.cluster_registry().drivers.is_empty() {
            return Ok(None);
        }
        let feed = load(services).await?;
        let services = Arc::clone(services);
        Ok(Some(Self(tokio::spawn(async move { follow(&services, feed).await }))))
    }
}

/// Opens every cluster that has a document; answers the changes after that.
async fn load(services: &Services) -> Result<ChangeStream> {
    let from = services.store().revision().await?;
    let feed = services.store().watch(from).await?;
    let records = services.collections().all::<ClusterRecord>(ListOptions::default()).await?;
    let names: Vec<ClusterName> = records.iter().map(|record| record.value.name.clone()).collect();
    let clusters = services.cluster_registry();
    clusters.keep(&names);
    for record in records {
        clusters.put(services, record).await;
    }
    Ok(feed)
}

async fn follow(services: &Services, mut feed: ChangeStream) {
    let mut failures = 0;
    loop {
        let pause = AGAIN.after(failures.max(1));
        let clusters = services.cluster_registry();
        tokio::select! {
            change = feed.next() => match change {
                Some(Ok(change)) => {
                    failures = 0;
                    take(services, change).await;
                    continue;
                }
                Some(Err(error)) if error.kind() == ErrorKind::Lagged || error.kind() == ErrorKind::Compacted => {}
                _ => sleep(pause).await,
            },
            // What was not opened may be opened now: a key ring that could not be reached, a file that was not there yet.
            () = sleep(AGAIN.longest), if clusters.has_failures() => {}
        }
        failures += 1;
        match load(services).await {
            Ok(again) => feed = again,
            Err(error) => tracing::debug!(error = %error.report(), "the clusters cannot be followed"),
        }
    }
}

async fn take(services: &Services, change: Change) {
    if change.key.kind != ClusterRecord::KIND {
        return;
    }
    let clusters = services.cluster_registry();
    match change.document.map(Stored::<ClusterRecord>::decode) {
        None => clusters.remove(&change.key.name),
        Some(Ok(record)) => clusters.put(services, record).await,
        Some(Err(error)) => tracing::warn!(error = %error.report(), "the record of a cluster cannot be read"),
    }
}
