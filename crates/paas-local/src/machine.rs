//! One machine behind the ports of [`paas_core`]: sets of instances that are kept, and the gateway that finds them.
//!
//! Each instance has a task of its own, its *keeper*, which starts a container, asks how it is, starts another when it
//! ends, and takes it out of service in order. Everything declared is on disk before a call returns, so that keepers are
//! made again after a restart: they find their containers running, or start new ones.

mod container;
mod document;
mod error;
mod exec;
mod gateway;
mod health;
mod images;
mod keeper;
mod logs;
mod metrics;
mod render;
mod router;
mod run;
mod runtime;
mod set;
mod traffic;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paas_core::port::{BoxStream, ClusterPorts, RouterEvent, RuntimeEvent, SecretSource};
use paas_core::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, broadcast};

use crate::{Host, Instances, Limitation, StateLock};
use document::Documents;
use gateway::GatewayLink;
use images::Images;
use set::Sets;

/// How many containers are started at the same time: more only wait for the processors.
const STARTS: usize = 4;
/// Changes that a slow watcher may be behind.
const EVENTS: usize = 1024;

/// How a machine is opened.
#[derive(Debug, Clone)]
pub struct MachineOptions {
    /// The directory for everything: containers, images, volumes, what is declared.
    pub directory: PathBuf,
    /// Where the gateway listens for HTTP; port 0 lets the system choose.
    pub gateway: SocketAddr,
    /// Names control groups, so that several installations on a machine do not meet.
    pub installation: String,
}

impl MachineOptions {
    /// Everything in `directory`, with the gateway on a loopback port that the system chooses.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            gateway: SocketAddr::from(([127, 0, 0, 1], 0)),
            installation: "paas".to_owned(),
        }
    }

    /// Lets the gateway listen at `address`.
    #[must_use]
    pub fn with_gateway(mut self, address: SocketAddr) -> Self {
        self.gateway = address;
        self
    }

    /// Names the installation.
    #[must_use]
    pub fn with_installation(mut self, installation: impl Into<String>) -> Self {
        self.installation = installation.into();
        self
    }
}

/// One Linux machine as a cluster: [`Runtime`](paas_core::port::Runtime), [`Router`](paas_core::port::Router),
/// [`Logs`](paas_core::port::Logs) and [`Exec`](paas_core::port::Exec).
///
/// Clones share it. Dropping the last one stops the keepers; instances and gateway go on, and the next one to open the
/// directory finds them.
#[derive(Debug, Clone)]
pub struct LocalMachine {
    shared: Arc<Shared>,
    /// Stops the keepers with the last handle; keepers have the shared part only.
    _open: Arc<tokio_util::sync::DropGuard>,
}

/// What keepers and ports share.
#[derive(Debug)]
struct Shared {
    instances: Instances,
    images: Images,
    secrets: Arc<dyn SecretSource>,
    documents: Documents,
    volumes: PathBuf,
    sets: Mutex<Sets>,
    gateway: GatewayLink,
    /// Held while what the gateway is told is read, changed and written.
    routing: Mutex<()>,
    router_events: broadcast::Sender<RouterEvent>,
    events: broadcast::Sender<RuntimeEvent>,
    starts: Semaphore,
    tasks: tokio_util::task::TaskTracker,
    closing: tokio_util::sync::CancellationToken,
    /// Held until the machine is closed.
    lock: Mutex<Option<StateLock>>,
}

impl LocalMachine {
    /// Opens a directory, finds what runs in it, starts what is missing, and starts the gateway or finds it running.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another process has the directory, naming it; [`ErrorKind::Unavailable`] if the gateway
    /// cannot be started or listen; [`ErrorKind::Internal`] for what the system refused.
    pub async fn open(options: MachineOptions, secrets: Arc<dyn SecretSource>) -> Result<Self> {
        let directory = prepare(&options.directory)?;
        let lock = StateLock::acquire(&directory)?;
        let host = {
            let installation = installation(&options.installation, &directory);
            // It starts helpers to try what they may do.
            tokio::task::spawn_blocking(move || Host::probe(&installation))
                .await
                .map_err(|error| Error::new(ErrorKind::Internal, "look at this machine").with_source(error))?
        };
        let host = Arc::new(host);
        let instances = Instances::open(directory.join("instances"), host.clone())?;
        let documents = Documents::open(directory.join("declared"))?;
        let images = Images::open(&directory.join("images"), &host)?;
        let closing = tokio_util::sync::CancellationToken::new();
        let folder = directory.join("gateway");
        let gateway =
            GatewayLink::open(&folder, options.gateway, documents.router()?, closing.clone()).await?;
        let volumes = directory.join("volumes");
        make_private(&volumes)?;
        let shared = Arc::new(Shared {
            instances,
            images,
            secrets,
            volumes,
            sets: Mutex::new(Sets::default()),
            gateway,
            routing: Mutex::new(()),
            router_events: broadcast::Sender::new(EVENTS),
            events: broadcast::Sender::new(EVENTS),
            starts: Semaphore::new(STARTS),
            tasks: tokio_util::task::TaskTracker::new(),
            closing,
            documents,
            lock: Mutex::new(Some(lock)),
        });
        shared.recover().await?;
        gateway::watch_over(&shared);
        let open = Arc::new(shared.closing.clone().drop_guard());
        Ok(Self { shared, _open: open })
    }

    /// The ports of this machine.
    pub fn ports(&self) -> ClusterPorts {
        let machine = Arc::new(self.clone());
        ClusterPorts {
            logs: Some(machine.clone()),
            exec: Some(machine.clone()),
            metrics: Some(machine.clone()),
            traffic: Some(machine.clone()),
            nodes: Some(machine.clone()),
            ..ClusterPorts::new(machine.clone(), machine)
        }
    }

    /// What this machine cannot offer, to be told at start-up.
    pub fn limitations(&self) -> &[Limitation] {
        self.shared.instances.host().limitations()
    }

    /// What this machine offers.
    pub fn host(&self) -> &Host {
        self.shared.instances.host()
    }

    /// Where the gateway listens for HTTP.
    pub fn gateway_address(&self) -> SocketAddr {
        self.shared.gateway.address()
    }

    /// The gateway's own view: what it counted, whom it serves.
    pub fn gateway(&self) -> paas_gateway::Control {
        self.shared.gateway.control()
    }

    /// Where images are kept.
    pub fn images(&self) -> &paas_registry::ImageStore {
        self.shared.images.store()
    }

    /// Stops the keepers, waits for them, and leaves the directory to the next one who opens it. Instances and gateway go
    /// on. Whoever still has a handle may look, and changes are refused with [`ErrorKind::Unavailable`].
    pub async fn close(&self) {
        {
            // A change that is being written is whole then, and the next one is refused.
            let _sets = self.shared.sets();
            let _routing = self.shared.routing();
            self.shared.closing.cancel();
        }
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let is_empty = {
            let sets = self.shared.sets();
            sets.sets.is_empty() && sets.runs.is_empty()
        };
        if is_empty {
            // Nothing runs, so nothing of ours stays on the machine; the next opening makes the group anew.
            self.shared.instances.host().release();
        }
        drop(self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Shared {
    /// Nothing in this crate panics while it holds the lock.
    fn sets(&self) -> MutexGuard<'_, Sets> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while what the gateway is told is read, changed and written.
    fn routing(&self) -> MutexGuard<'_, ()> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses what a closed machine cannot do any more. Asked under the lock of what is changed.
    fn check_open(&self) -> Result<()> {
        if !self.closing.is_cancelled() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, "change what this machine does")
            .with_remedy("The machine was closed: open it again."))
    }

    fn tell(&self, event: RuntimeEvent) {
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    fn watch(&self) -> BoxStream<RuntimeEvent> {
        let receiver = self.events.subscribe();
        Box::pin(futures::stream::unfold(Some(receiver), |receiver| async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Ok(event) => Some((Ok(event), Some(receiver))),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    Some((Err(Error::new(ErrorKind::Lagged, "watch the machine")), None))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        }))
    }
}

/// Makes the directory and gives its real path.
fn prepare(directory: &Path) -> Result<PathBuf> {
    make_private(directory)?;
    directory.canonicalize().map_err(|error| {
        Error::new(ErrorKind::Internal, "open the machine's directory")
            .with_context("directory", directory.display())
            .with_source(error)
    })
}

fn make_private(directory: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(directory).map_err(|error| {
        Error::new(ErrorKind::Internal, "make a directory")
            .with_context("directory", directory.display())
            .with_source(error)
    })
}

/// The installation's name with a mark of the directory: two directories are two installations.
fn installation(name: &str, directory: &Path) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    directory.hash(&mut hasher);
    format!("{name}-{:08x}", hasher.finish() & 0xffff_ffff)
}
