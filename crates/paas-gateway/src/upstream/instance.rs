//! One instance, for as long as the config names it or somebody uses it.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::broadcast;

use super::{
    Connection, Dialer,
    lease::Load,
    pool::{self, Pool},
};
use crate::config::{self, Dial, InstanceId, RevisionId};

/// How long an instance that could not be connected to is avoided while there are others.
const SUSPECT: Duration = Duration::from_millis(500);

/// One instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) revision: RevisionId,
    pub(crate) dial: Dial,
    dialer: Dialer,
    pool: Pool,
    pub(super) load: Load,
    /// Whether new requests may come. It is read *after* the load was raised, and the load is read *after* it was
    /// cleared: so whoever clears it and then sees no load knows that none comes.
    accepting: AtomicBool,
    suspected: Mutex<Option<Instant>>,
    hub: DrainHub,
}

/// Where instances that became free are told.
#[derive(Debug, Clone)]
pub(crate) struct DrainHub {
    sender: broadcast::Sender<InstanceId>,
}

impl DrainHub {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::channel(256).0 }
    }

    /// Instances that have been left by the last of their users, since now.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<InstanceId> {
        self.sender.subscribe()
    }

    pub(crate) fn tell(&self, instance: &InstanceId) {
        // Without receivers there is nobody to tell.
        let _ = self.sender.send(instance.clone());
    }
}

impl Instance {
    pub(crate) fn new(config: &config::Instance, hub: DrainHub) -> Self {
        Self {
            id: config.id.clone(),
            revision: config.revision.clone(),
            dial: config.dial.clone(),
            dialer: Dialer::new(&config.dial),
            pool: Pool::default(),
            load: Load::default(),
            accepting: AtomicBool::new(false),
            suspected: Mutex::default(),
            hub,
        }
    }

    /// Lets requests come, or no more. Connections that idle are closed then.
    pub(crate) fn set_accepting(&self, accepting: bool) {
        let before = self.accepting.swap(accepting, SeqCst);
        if !accepting {
            self.pool.clear();
            if before && self.load.is_zero() {
                self.hub.tell(&self.id);
            }
        }
    }

    /// Whether requests may come.
    pub(crate) fn is_accepting(&self) -> bool {
        self.accepting.load(SeqCst)
    }

    /// Requests in flight and connections that are open.
    pub(crate) fn load(&self) -> (u32, u32) {
        self.load.get()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.load.is_zero()
    }

    /// A pooled connection, the one used last. If it must not fail, it is looked at first.
    pub(crate) fn pooled(&self, port: u16, look: bool) -> Option<Connection> {
        self.pool.take(port, look)
    }

    /// A new connection for HTTP.
    pub(crate) async fn connect_http(self: &Arc<Self>, port: u16, limit: Duration) -> io::Result<Connection> {
        let stream = self.connect(port, limit).await?;
        pool::handshake(stream, port).await
    }

    /// A new connection.
    pub(crate) async fn connect(&self, port: u16, limit: Duration) -> io::Result<tokio::net::TcpStream> {
        let connected = self.dialer.connect(port, limit).await;
        *self.suspected.lock().expect("no holder of this lock panics") =
            connected.is_err().then(|| Instant::now() + SUSPECT);
        connected
    }

    /// Whether it was not to be connected to a moment ago.
    pub(crate) fn is_suspected(&self) -> bool {
        self.suspected
            .lock()
            .expect("no holder of this lock panics")
            .is_some_and(|until| Instant::now() < until)
    }

    /// Takes a connection back for the next request, if there may be one.
    pub(crate) fn give_back(self: &Arc<Self>, connection: Connection) {
        if connection.is_ready() {
            self.keep(connection);
        } else if !connection.is_closed() {
            // The response is read, the connection's own task has yet to notice.
            let instance = self.clone();
            tokio::spawn(async move {
                if let Some(connection) = connection.ready().await {
                    instance.keep(connection);
                }
            });
        }
    }

    fn keep(&self, connection: Connection) {
        if self.is_accepting() {
            self.pool.put(connection);
            // It may have stopped accepting in between.
            if !self.is_accepting() {
                self.pool.clear();
            }
        }
    }

    /// Closes pooled connections that have idled too long, or were closed by the other side.
    pub(crate) fn sweep(&self) {
        self.pool.sweep();
    }

    pub(super) fn released(&self) {
        if self.load.is_zero() && !self.is_accepting() {
            self.hub.tell(&self.id);
        }
    }
}
