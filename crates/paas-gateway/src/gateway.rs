//! The gateway itself, without the process around it.

mod apply;
mod drain;
mod status;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use apply::Strictness;
pub use drain::DrainEvent;
pub use status::{CallerStatus, InstanceStatus, ListenerStatus, Status};

use crate::{
    Result,
    access_log::AccessLog,
    config::{Config, InstanceId, Limits, ListenerId},
    listen::{Callers, Listeners, Origin},
    stats::{Counters, Key, Registry, Source, Statistics},
    table::Table,
    upstream::{DrainHub, Instance},
};

/// How long a connection waits for a request when the gateway ends: one that was sent already comes within it.
const LINGER: Duration = Duration::from_millis(100);

/// How a [`Gateway`] is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayOptions {
    /// Where the access log goes; `None` for nowhere.
    pub log_folder: Option<PathBuf>,
    /// Where the config in force is kept, so that the next gateway serves it at once; `None` for nowhere.
    pub config_file: Option<PathBuf>,
}

impl GatewayOptions {
    /// Writes an access log into this folder.
    #[must_use]
    pub fn with_log_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.log_folder = Some(folder.into());
        self
    }

    /// Keeps the config in force in this file.
    #[must_use]
    pub fn with_config_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.config_file = Some(file.into());
        self
    }
}

/// A running gateway, in the tokio runtime that it was started in. Dropping the last clone does not stop it: see
/// [`Gateway::shutdown`].
#[derive(Debug, Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
}

/// What every task of the gateway shares.
#[derive(Debug)]
pub(crate) struct Inner {
    table: RwLock<Arc<Table>>,
    instances: Mutex<Instances>,
    pub(crate) registry: Registry,
    log: AccessLog,
    hub: DrainHub,
    config_file: Option<PathBuf>,
    /// Held while a config is applied; the config in force.
    applied: tokio::sync::Mutex<Applied>,
    pub(crate) listeners: Mutex<Listeners>,
    pub(crate) callers: Mutex<Callers>,
    permits: RwLock<Arc<Semaphore>>,
    /// One task for each connection of a client.
    pub(crate) connections: TaskTracker,
    /// Cancelled when nothing new is to be accepted any more; listeners and callers have children of it. A connection
    /// whose token is cancelled closes after its next response.
    pub(crate) stop: CancellationToken,
    /// Cancelled when connections are not to wait for a next request any more.
    pub(crate) hurry: CancellationToken,
    /// Users of instances in a gateway that this one took over from, and that has not ended yet.
    predecessor: Mutex<HashMap<InstanceId, (u32, u32)>>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Applied {
    config: Option<Arc<Config>>,
    persisted: bool,
}

#[derive(Debug, Default)]
struct Instances {
    /// Those that the config names.
    current: HashMap<InstanceId, Arc<Instance>>,
    /// Those that it named once, and that are used still.
    leaving: Vec<Arc<Instance>>,
}

impl Gateway {
    /// Starts a gateway that serves nothing yet.
    ///
    /// # Errors
    /// `Io` if the folder of the log cannot be made.
    pub fn start(options: GatewayOptions) -> Result<Self> {
        let log = match &options.log_folder {
            None => AccessLog::off(),
            Some(folder) => AccessLog::start(folder).map_err(|source| {
                crate::Error::io("start the access log", source).with("folder", folder.display())
            })?,
        };
        let inner = Arc::new(Inner {
            table: RwLock::new(Arc::new(Table::empty())),
            instances: Mutex::default(),
            registry: Registry::default(),
            log,
            hub: DrainHub::new(),
            config_file: options.config_file,
            applied: tokio::sync::Mutex::default(),
            listeners: Mutex::default(),
            callers: Mutex::default(),
            permits: RwLock::new(Arc::new(Semaphore::new(apply::room(&Limits::default())))),
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
            hurry: CancellationToken::new(),
            predecessor: Mutex::default(),
            started: Instant::now(),
        });
        let sweeper = Arc::downgrade(&inner);
        let stop = inner.stop.clone();
        tokio::spawn(async move {
            let sweep = async {
                loop {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    let Some(inner) = sweeper.upgrade() else { return };
                    inner.sweep();
                }
            };
            tokio::select! {
                () = sweep => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(Self { inner })
    }

    /// What was counted so far.
    pub fn statistics(&self) -> Statistics {
        Statistics { entries: self.inner.registry.snapshot(), access_log_lost: self.inner.log.lost() }
    }

    /// Stops accepting, lets what is open come to its end for as long as the grace allows, then leaves the rest to be
    /// cut by the end of the runtime. Keep-alive connections are closed after the request that they carry; idle ones
    /// almost at once: a request that is on its way already is answered.
    /// Returns how many connections were left.
    pub async fn shutdown(&self, grace: Duration) -> usize {
        self.stop_accepting(LINGER);
        self.inner.connections.close();
        let ended = async {
            self.inner.connections.wait().await;
            // Upgraded connections live on without a task of the client's connection.
            let mut drains = self.inner.hub.subscribe();
            while self.inner.users() > 0 {
                // The hub tells only of instances that accept no more, which none does now.
                let _ = tokio::time::timeout(Duration::from_millis(200), drains.recv()).await;
            }
        };
        let _ = tokio::time::timeout(grace, ended).await;
        self.inner.connections.len().max(self.inner.users())
    }

    /// Closes the listening sockets (those that were handed to another gateway live on there) and lets the clients'
    /// connections end after the request that they carry, or after the next, if that comes within the time.
    pub(crate) fn stop_accepting(&self, linger: Duration) {
        if self.inner.stop.is_cancelled() {
            return;
        }
        self.inner.stop.cancel();
        let hurry = self.inner.hurry.clone();
        tokio::spawn(async move {
            tokio::time::sleep(linger).await;
            hurry.cancel();
        });
        lock(&self.inner.listeners).close();
        lock(&self.inner.callers).close();
        let instances = lock(&self.inner.instances);
        for instance in instances.current.values() {
            instance.sweep();
        }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Inner {
    /// The table in force.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.read().expect("no holder of this lock panics").clone()
    }

    pub(crate) fn log(&self) -> &AccessLog {
        &self.log
    }

    pub(crate) fn permits(&self) -> Arc<Semaphore> {
        self.permits.read().expect("no holder of this lock panics").clone()
    }

    /// The counters for requests of an origin that the table in force does not know (any more).
    pub(crate) fn unrouted(&self, origin: &Origin) -> Arc<Counters> {
        let source = match origin {
            Origin::Listener(listener) => Source::Listener(ListenerId::clone(listener)),
            Origin::Caller { component, .. } => Source::Component(component.clone()),
        };
        self.registry.counters(Key { source, service: None, revision: None })
    }

    /// Requests and connections on all instances.
    fn users(&self) -> usize {
        let instances = lock(&self.instances);
        let all = instances.current.values().chain(&instances.leaving);
        all.map(|instance| {
            let (requests, connections) = instance.load();
            requests as usize + connections as usize
        })
        .sum()
    }

    fn sweep(&self) {
        let mut instances = lock(&self.instances);
        instances.leaving.retain(|instance| !instance.is_idle());
        for instance in instances.current.values() {
            instance.sweep();
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}
