//! A running instance.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use jiff::Timestamp;
use paas_gateway::handover::Family;
use rustix::process::Signal;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{Mutex, watch},
};

use super::{
    leftovers,
    logs::{self, LogOptions, LogStream},
    shim_client::{Ear, ShimClient},
};
use crate::{
    Error, ErrorKind, Exit, InstanceId, InstanceSpec, Result,
    shim::{Operation, ShimStatus},
    state::{InstanceDir, does_nothing_about},
};

/// A running instance, or one that was running when it was attached to; [`exited`](Self::exited) tells.
///
/// Copies refer to the same instance. Dropping them leaves it running.
#[derive(Debug, Clone)]
pub struct Instance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: InstanceDir,
    spec: InstanceSpec,
    shim: ShimClient,
    /// Unconnected sockets of the instance's namespace.
    sockets: Mutex<Vec<OwnedFd>>,
    exit: watch::Receiver<Option<Exit>>,
    /// Waits for its end, if that was still to come.
    watcher: Option<tokio::task::AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// Its first process, as the host sees it.
    pub pid: i32,
    /// When it started.
    pub started_at: Timestamp,
    /// Bytes of its output that were dropped because the disk was full.
    pub dropped_log_bytes: u64,
    /// Whether it was asked to end.
    pub stopping: bool,
}

impl Instance {
    /// Connects to the shim. One that has ended meanwhile is an instance all the same: it knows how.
    pub(super) async fn connect(dir: InstanceDir, spec: InstanceSpec) -> Result<Self> {
        if let Some(exit) = dir.read_exit()? {
            return Ok(Self::ended(dir, spec, exit));
        }
        let ear = Ear::connect(&dir.socket());
        let shim = ShimClient::connect(dir.socket()).await;
        let (ear, shim) = match (ear, shim) {
            (Ok(ear), Ok(shim)) => (ear, shim),
            (Err(error), _) | (_, Err(error)) => {
                return match dir.read_exit()? {
                    Some(exit) => Ok(Self::ended(dir, spec, exit)),
                    None => Err(error),
                };
            }
        };
        let (tell, exit) = watch::channel(None);
        let watched = dir.clone();
        let watcher = tokio::spawn(async move {
            while ear.hear().await != super::shim_client::Heard::Closed {}
            let exit = how_it_ended(&watched).await;
            // Nobody listens any more if all handles are gone.
            let _ = tell.send(Some(exit));
        })
        .abort_handle();
        let watcher = Some(watcher);
        Ok(Self(Arc::new(Inner { dir, spec, shim, sockets: Mutex::default(), exit, watcher })))
    }

    fn ended(dir: InstanceDir, spec: InstanceSpec, exit: Exit) -> Self {
        let shim = ShimClient::of_none(dir.socket());
        // The value outlives its sender.
        let (_, exit) = watch::channel(Some(exit));
        Self(Arc::new(Inner { dir, spec, shim, sockets: Mutex::default(), exit, watcher: None }))
    }

    /// Its name.
    pub fn id(&self) -> &InstanceId {
        &self.0.spec.id
    }

    /// What it was made from.
    pub fn spec(&self) -> &InstanceSpec {
        &self.0.spec
    }

    pub(crate) fn dir(&self) -> &InstanceDir {
        &self.0.dir
    }

    /// How it is.
    ///
    /// # Errors
    /// `Unavailable` if its shim does not answer, such as when it has ended.
    pub async fn status(&self) -> Result<InstanceStatus> {
        let ShimStatus { pid, started_at, dropped_log_bytes, stopping } =
            self.0.shim.call(&Operation::Status).await?;
        Ok(InstanceStatus { pid, started_at, dropped_log_bytes, stopping })
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<Exit> {
        self.0.exit.borrow().clone()
    }

    /// Waits until it has ended.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.0.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        // The task that tells lives as long as this handle does.
        ended.unwrap_or_else(Exit::lost)
    }

    /// Asks it to end by its stop signal, kills it after the grace period, and waits until it is gone. If its program
    /// has no handler for the signal, which the kernel then withholds from it, it is killed at once.
    ///
    /// The shim keeps the time: an instance that was asked to end does so even if this future is dropped or this process
    /// ends.
    ///
    /// # Errors
    /// `Unavailable` if its shim does not answer.
    pub async fn stop(&self, grace: Duration) -> Result<Exit> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.call_unless_ended(&Operation::Stop { grace_ms }).await?;
        Ok(self.wait().await)
    }

    /// Kills it with everything in it, and waits until it is gone.
    ///
    /// # Errors
    /// `Unavailable` if its shim does not answer.
    pub async fn kill(&self) -> Result<Exit> {
        self.call_unless_ended(&Operation::Signal { number: Signal::KILL.as_raw() }).await?;
        Ok(self.wait().await)
    }

    /// Sends a signal, by number, to its first process.
    ///
    /// # Errors
    /// `NotRunning` if it has ended; `Unavailable` if there is no such signal or its shim does not answer.
    pub async fn signal(&self, number: i32) -> Result<()> {
        if let Some(exit) = self.exited() {
            return Err(not_running(self.id(), &exit));
        }
        self.0.shim.call::<serde_json::Value>(&Operation::Signal { number }).await.map(drop)
    }

    /// Whether its first process neither handles nor ignores a signal, which the kernel then withholds from it.
    pub(crate) fn does_nothing_about(&self, signal: i32) -> bool {
        let state = self.0.dir.read_state().ok().flatten();
        state.is_some_and(|state| state.is_alive() && does_nothing_about(state.pid, signal))
    }

    async fn call_unless_ended(&self, operation: &Operation) -> Result<()> {
        if self.exited().is_some() {
            return Ok(());
        }
        match self.0.shim.call::<serde_json::Value>(operation).await {
            Ok(_) => Ok(()),
            // It may have ended meanwhile: the watcher has the last word.
            Err(error) => match tokio::time::timeout(Duration::from_secs(1), self.wait()).await {
                Ok(_) => Ok(()),
                Err(_) => Err(error.with("instance", self.id())),
            },
        }
    }

    /// Connects to an address inside, such as `127.0.0.1:8080` or `[::1]:8080`.
    ///
    /// # Errors
    /// `Unavailable` if nothing listens there (yet), or the instance has ended.
    pub async fn connect_to(&self, address: SocketAddr) -> Result<TcpStream> {
        let fail = |source| {
            Error::io("connect to an instance", source).with("instance", self.id()).with("address", address)
        };
        let socket = match address {
            SocketAddr::V4(_) => self.pooled_socket().await?,
            SocketAddr::V6(_) => self.sockets(Family::Inet6, 1).await?.pop(),
        };
        let socket = socket.ok_or_else(|| fail(std::io::ErrorKind::NotConnected.into()))?;
        let stream = TcpSocket::from_std_stream(socket.into()).connect(address).await.map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        Ok(stream)
    }

    /// Unconnected sockets of its network namespace: one at least.
    ///
    /// # Errors
    /// `Unavailable` if its shim does not answer.
    pub async fn sockets(&self, family: Family, count: u32) -> Result<Vec<OwnedFd>> {
        self.0.shim.sockets(family, count).await.map_err(|error| error.with("instance", self.id()))
    }

    async fn pooled_socket(&self) -> Result<Option<OwnedFd>> {
        let mut pool = self.0.sockets.lock().await;
        if pool.is_empty() {
            // Probes come one after the other; four save three round trips of four.
            *pool = self.sockets(Family::Inet, 4).await?;
        }
        Ok(pool.pop())
    }

    /// What it said.
    ///
    /// # Errors
    /// What the system said.
    pub fn logs(&self, options: LogOptions) -> Result<LogStream> {
        logs::open(&self.0.dir, options)
    }
}

fn not_running(id: &InstanceId, exit: &Exit) -> Error {
    Error::new(ErrorKind::NotRunning, "reach an instance").with("instance", id).with_detail(exit.to_string())
}

/// Reads how an instance ended whose shim is gone; buries it if nobody saw its end.
async fn how_it_ended(dir: &InstanceDir) -> Exit {
    match dir.read_exit() {
        Ok(Some(exit)) => exit,
        _ => leftovers::bury(dir).await.unwrap_or_else(|error| {
            tracing::warn!(directory = %dir.path().display(), "{}", error.chain());
            Exit::lost()
        }),
    }
}
