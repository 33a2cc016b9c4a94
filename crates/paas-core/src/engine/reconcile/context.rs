//! What the reconcilers of one holder of the lease share.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::cache::Cache;
use crate::engine::queue::KeyedQueue;
use crate::engine::{Changes, EventRecord, Services};
use crate::error::{Error, ErrorKind, Result};
use crate::name::{AppEnv, ClusterName, ComponentKey, TrackKey};
use crate::port::{
    Change, ClusterPorts, Document, Epoch, Expect, InstanceId, Revision, RouteBinding, ServiceTraffic, Write,
};
use crate::release::Refusal;

/// How long a backend may take for one call.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a reconciler works on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// An application in an environment.
    App(AppEnv),
    /// A component on a cluster.
    Track(TrackKey),
    /// A one-off command, or a run of a scheduled job, on a cluster.
    Run(AppEnv, ClusterName, InstanceId),
    /// The schedule of a component, on the cluster where its next run would go.
    Schedule(ComponentKey, ClusterName),
    /// The access points of an application on a cluster.
    Routes(AppEnv, ClusterName),
    /// What a deleted application has left on a cluster.
    Tombstone(AppEnv, ClusterName),
    /// What nobody declares on a cluster.
    Orphans(ClusterName),
    /// The spaces of environments on a cluster.
    Spaces(ClusterName),
    /// What is still known of a cluster that was removed.
    Forget(ClusterName),
}

impl Key {
    /// The cluster whose backends are called. Keys without one work on the store only.
    pub(super) fn cluster(&self) -> Option<&ClusterName> {
        match self {
            Self::Track(track) => Some(&track.cluster),
            Self::Run(_, cluster, _)
            | Self::Schedule(_, cluster)
            | Self::Routes(_, cluster)
            | Self::Tombstone(_, cluster)
            | Self::Orphans(cluster)
            | Self::Spaces(cluster) => Some(cluster),
            Self::App(_) | Self::Forget(_) => None,
        }
    }
}

pub(super) struct Context {
    pub(super) services: Arc<Services>,
    pub(super) cache: Cache,
    pub(super) queue: KeyedQueue<Key>,
    pub(super) epoch: Epoch,
    guard: Expect,
    memory: Mutex<Memory>,
}

/// What need not survive: it is found again by looking, or by a call that changes nothing.
#[derive(Default)]
struct Memory {
    /// The traffic that each router was told last.
    told: HashMap<TrackKey, ServiceTraffic>,
    /// The access points that each router was told last.
    routes: HashMap<(ClusterName, AppEnv), Vec<RouteBinding>>,
    refusals: HashMap<TrackKey, Refusal>,
    /// Whose run it is.
    runs: HashMap<InstanceId, Key>,
    /// Verdicts that nobody can give, by step.
    verdicts: HashMap<TrackKey, BTreeMap<String, crate::release::Verdict>>,
}

impl Context {
    pub(super) fn new(
        services: Arc<Services>,
        cache: Cache,
        queue: KeyedQueue<Key>,
        epoch: Epoch,
        guard: Expect,
    ) -> Self {
        Self { services, cache, queue, epoch, guard, memory: Mutex::default() }
    }

    /// The expectation of every transaction.
    pub(super) fn guard(&self) -> &Expect {
        &self.guard
    }

    /// The ports of a cluster. One that is not open is like one that does not answer: it may be there later.
    pub(super) fn ports(&self, cluster: &ClusterName) -> Result<ClusterPorts> {
        if let Some(ports) = self.services.clusters().get(cluster) {
            return Ok(ports.clone());
        }
        let error = Error::new(ErrorKind::Unavailable, "use a cluster that is not open")
            .with_context("cluster", cluster)
            .with_remedy("Look at it with its administrators, or take it from the environment's clusters.");
        let closed = Err(match self.services.cluster_failure(cluster) {
            Some(why) => error.with_source(why),
            None => error,
        });
        self.services.outages().note(cluster, &closed, self.services.now());
        closed
    }

    /// Commits, unless the lease was lost or anything that was read has changed. The cache shows it at once, and whoever it
    /// concerns, `own` aside, is woken.
    pub(super) async fn commit(&self, mut changes: Changes, events: &[EventRecord], own: &Key) -> Result<()> {
        self.services.events().add(&self.services, &mut changes, events).await?;
        if changes.is_empty() {
            return Ok(());
        }
        changes.expect(self.guard.clone());
        let txn = changes.into_txn();
        let writes = txn.writes.clone();
        let revision = match self.services.store().commit(txn).await {
            Ok(revision) => revision,
            Err(error) => {
                if error.kind() == ErrorKind::Conflict {
                    self.refresh(&writes).await;
                }
                return Err(error);
            }
        };
        for change in as_changes(writes, revision) {
            for key in self.cache.apply(change) {
                if key != *own {
                    self.queue.add(key);
                }
            }
        }
        self.services.events().trim(&self.services, events).await;
        Ok(())
    }

    /// Reads again what turned out to be older than the store. The feed would bring it, too, a little later.
    async fn refresh(&self, writes: &[Write]) {
        for write in writes {
            let key = write.key().clone();
            if let Ok(Some(document)) = self.services.store().get(&key).await {
                let change = Change { revision: document.modified, key, document: Some(document) };
                for key in self.cache.apply(change) {
                    self.queue.add(key);
                }
            }
        }
    }

    /// Whether an error means that another server has taken over.
    pub(super) async fn is_fenced(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Fenced => true,
            ErrorKind::Conflict if error.operation() == "commit a transaction" => {
                let guard = crate::port::Txn { expect: vec![self.guard.clone()], writes: Vec::new() };
                let answer = self.services.store().commit(guard).await;
                answer.is_err_and(|error| error.kind() == ErrorKind::Conflict)
            }
            _ => false,
        }
    }

    /// A call of a backend, with a bound on its time.
    pub(super) async fn call<T>(
        &self,
        what: &'static str,
        cluster: &ClusterName,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let asked = self.services.now();
        let answer = match tokio::time::timeout(PATIENCE, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(ErrorKind::Timeout, what)
                .with_context("cluster", cluster)
                .with_context("seconds", PATIENCE.as_secs())),
        };
        self.services.outages().note(cluster, &answer, asked);
        answer
    }

    /// Wakes a key at a time of the platform's clock.
    pub(super) fn wake_at(&self, key: Key, at: Timestamp) {
        let wait = at.duration_since(self.services.now());
        // A little late rather than a little early: waking early would decide nothing.
        let wait = Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(1);
        self.queue.add_at(key, Instant::now() + wait);
    }

    pub(super) fn told(&self, track: &TrackKey) -> Option<ServiceTraffic> {
        self.memory().told.get(track).cloned()
    }

    pub(super) fn set_told(&self, track: &TrackKey, traffic: Option<ServiceTraffic>) {
        let mut memory = self.memory();
        match traffic {
            Some(traffic) => memory.told.insert(track.clone(), traffic),
            None => memory.told.remove(track),
        };
    }

    pub(super) fn told_routes(&self, cluster: &ClusterName, at: &AppEnv) -> Option<Vec<RouteBinding>> {
        self.memory().routes.get(&(cluster.clone(), at.clone())).cloned()
    }

    pub(super) fn set_told_routes(
        &self,
        cluster: &ClusterName,
        at: &AppEnv,
        routes: Option<Vec<RouteBinding>>,
    ) {
        let mut memory = self.memory();
        let key = (cluster.clone(), at.clone());
        match routes {
            Some(routes) => memory.routes.insert(key, routes),
            None => memory.routes.remove(&key),
        };
    }

    pub(super) fn refusal(&self, track: &TrackKey) -> Option<Refusal> {
        self.memory().refusals.get(track).cloned()
    }

    pub(super) fn set_refusal(&self, track: &TrackKey, refusal: Option<Refusal>) {
        let mut memory = self.memory();
        match refusal {
            Some(refusal) => memory.refusals.insert(track.clone(), refusal),
            None => memory.refusals.remove(track),
        };
    }

    pub(super) fn verdicts(&self, track: &TrackKey) -> BTreeMap<String, crate::release::Verdict> {
        self.memory().verdicts.get(track).cloned().unwrap_or_default()
    }

    /// Nobody judges in this version: the step says so and waits for a user.
    pub(super) fn cannot_judge(&self, track: &TrackKey, step: String) {
        let mut memory = self.memory();
        let verdicts = memory.verdicts.entry(track.clone()).or_default();
        verdicts.clear();
        verdicts.insert(step, crate::release::Verdict::Inconclusive);
    }

    pub(super) fn remember_run(&self, id: InstanceId, key: Key) {
        self.memory().runs.insert(id, key);
    }

    pub(super) fn forget_run(&self, id: &InstanceId) {
        self.memory().runs.remove(id);
    }

    pub(super) fn owner_of_run(&self, id: &InstanceId) -> Option<Key> {
        self.memory().runs.get(id).cloned()
    }

    /// Forgets everything about an application that is gone.
    pub(super) fn forget(&self, at: &AppEnv) {
        let mut memory = self.memory();
        memory.told.retain(|track, _| track.component.at != *at);
        memory.refusals.retain(|track, _| track.component.at != *at);
        memory.verdicts.retain(|track, _| track.component.at != *at);
        memory.routes.retain(|(_, app), _| app != at);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the feed will tell of writes that were just committed.
fn as_changes(writes: Vec<Write>, revision: Revision) -> impl Iterator<Item = Change> {
    writes.into_iter().map(move |write| match write {
        Write::Put { key, schema, body, index } => {
            let document =
                Document { key: key.clone(), schema, body, index, created: revision, modified: revision };
            Change { revision, key, document: Some(document) }
        }
        Write::Delete { key } => Change { revision, key, document: None },
    })
}
