//! The clusters that a platform can use now: those that it was built with, and those that were added at run time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

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

/// How long the opening of a cluster may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a platform that starts waits for its clusters to be open.
const SOON: Duration = Duration::from_secs(2);
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

    /// Whether this version of a record is open, or its name is taken.
    fn is_open(&self, record: &Stored<ClusterRecord>) -> bool {
        let same = |added: &Added| added.modified == record.modified && added.ports.is_ok();
        self.is_built_in(&record.value.name) || self.added().get(&record.value.name).is_some_and(same)
    }

    /// Takes in how the opening of a version of a record went.
    fn put(&self, opened: Opened) {
        let Opened { cluster, modified, ports } = opened;
        match &ports {
            Ok(_) => tracing::info!(%cluster, "opened a cluster"),
            Err(error) => tracing::warn!(%cluster, error = %error.report(), "cannot open a cluster"),
        }
        self.added().insert(cluster, Added { modified, ports });
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

/// How the opening of a version of a cluster's record went.
struct Opened {
    cluster: ClusterName,
    modified: Revision,
    ports: Result<ClusterPorts>,
}

async fn open(services: &Services, record: Stored<ClusterRecord>) -> Opened {
    let work = async {
        let (driver, request) = open_request(services, &record.value).await?;
        driver.open(&request).await
    };
    let ports = timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "open a cluster").with_context("seconds", PATIENCE.as_secs()))
    });
    Opened { cluster: record.value.name, modified: record.modified, ports }
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
    /// Opens what is there, then follows the changes. Without drivers nothing can be opened, and nothing is followed. A
    /// cluster that takes its time is not waited for.
    pub(super) async fn start(services: &Arc<Services>) -> Result<Option<Self>> {
        if services.cluster_registry().drivers.is_empty() {
            return Ok(None);
        }
        let mut keeper = Keeper::load(Arc::clone(services)).await?;
        let _ = timeout(SOON, keeper.settle()).await;
        Ok(Some(Self(tokio::spawn(keeper.run()))))
    }
}

/// Opens clusters as their documents say, each by itself, so that one that is away delays no other.
struct Keeper {
    services: Arc<Services>,
    feed: ChangeStream,
    opening: JoinSet<Opened>,
    /// The newest version of each record.
    declared: BTreeMap<ClusterName, Revision>,
}

impl Keeper {
    /// Begins to open every cluster that has a document.
    async fn load(services: Arc<Services>) -> Result<Self> {
        let from = services.store().revision().await?;
        let feed = services.store().watch(from).await?;
        let mut keeper = Self { services, feed, opening: JoinSet::new(), declared: BTreeMap::new() };
        keeper.look().await?;
        Ok(keeper)
    }

    /// Reads every document: forgets clusters that are gone, begins to open those that are not open.
    async fn look(&mut self) -> Result<()> {
        let records = self.services.collections().all::<ClusterRecord>(ListOptions::default()).await?;
        let names: Vec<ClusterName> = records.iter().map(|record| record.value.name.clone()).collect();
        self.services.cluster_registry().keep(&names);
        self.declared.clear();
        for record in records {
            self.open(record);
        }
        Ok(())
    }

    fn open(&mut self, record: Stored<ClusterRecord>) {
        self.declared.insert(record.value.name.clone(), record.modified);
        if !self.services.cluster_registry().is_open(&record) {
            let services = Arc::clone(&self.services);
            self.opening.spawn(async move { open(&services, record).await });
        }
    }

    /// Waits until everything that is being opened is open, or is not.
    async fn settle(&mut self) {
        while let Some(opened) = self.opening.join_next().await {
            self.take_in(opened.ok());
        }
    }

    fn take_in(&self, opened: Option<Opened>) {
        // Meanwhile it may have been removed, or changed: then another opening is under way.
        let is_declared = |opened: &Opened| self.declared.get(&opened.cluster) == Some(&opened.modified);
        if let Some(opened) = opened.filter(is_declared) {
            self.services.cluster_registry().put(opened);
        }
    }

    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let unsettled = self.services.cluster_registry().has_failures() && self.opening.is_empty();
            tokio::select! {
                change = self.feed.next() => match change {
                    Some(Ok(change)) => {
                        failures = 0;
                        self.take(change);
                    }
                    // What the feed missed is read again.
                    _ => {
                        failures += 1;
                        sleep(AGAIN.after(failures)).await;
                        self.follow_again().await;
                    }
                },
                Some(opened) = self.opening.join_next(), if !self.opening.is_empty() => self.take_in(opened.ok()),
                // A key ring or a cluster that could not be reached may be there now.
                () = sleep(AGAIN.longest), if unsettled => {
                    if let Err(error) = self.look().await {
                        tracing::debug!(error = %error.report(), "the clusters cannot be read");
                    }
                }
            }
        }
    }

    async fn follow_again(&mut self) {
        match Self::load(Arc::clone(&self.services)).await {
            Ok(again) => *self = again,
            Err(error) => tracing::debug!(error = %error.report(), "the clusters cannot be followed"),
        }
    }

    fn take(&mut self, change: Change) {
        if change.key.kind != ClusterRecord::KIND {
            return;
        }
        match change.document.map(Stored::<ClusterRecord>::decode) {
            None => {
                self.declared.retain(|cluster, _| cluster.as_str() != change.key.name);
                self.services.cluster_registry().remove(&change.key.name);
            }
            Some(Ok(record)) => self.open(record),
            Some(Err(error)) => {
                tracing::warn!(error = %error.report(), "the record of a cluster cannot be read");
            }
        }
    }
}
