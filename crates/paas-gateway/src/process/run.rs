//! What the process does.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use super::takeover::{self, Taken};
use crate::{
    Config, Error, ErrorKind, Gateway, GatewayOptions, Result,
    control::{self, Order},
    unix,
};

/// What requests and connections are given when the process is told to end by a signal.
const GRACE: Duration = Duration::from_secs(30);

/// What they are given when another gateway has taken over, and nobody waits for the end.
const GRACE_AFTER_TAKEOVER: Duration = Duration::from_hours(24);

/// How long clients may keep idle connections then: their next request is answered, with the advice to close. There
/// the new gateway serves them.
const LINGER_AFTER_TAKEOVER: Duration = Duration::from_secs(10);

/// Tells a process that it is to take over from the one that runs.
pub(super) const TAKEOVER: &str = "PAAS_GATEWAY_TAKEOVER";

/// Which process the gateway is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: u32,
    pub(super) start_ticks: u64,
    pub(super) build: String,
}

impl Identity {
    pub(super) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join("gateway.json")).ok()?).ok()
    }

    pub(super) fn is_alive(&self) -> bool {
        unix::start_ticks(self.pid) == Some(self.start_ticks)
    }
}

/// Is the gateway of a folder, until it is told to end: by `SIGTERM` or `SIGINT` (with 30 seconds of grace; a second
/// signal ends it at once), by [`Control::shutdown`](crate::Control::shutdown), or by another gateway that takes
/// over. The folder is made, for its owner only. Log with `tracing`: the subscriber is the embedding program's.
///
/// # Errors
/// `Conflict` if another gateway runs in the folder; what the system said, if the folder or the sockets cannot be made.
pub fn run(folder: &Path) -> Result<()> {
    // A session of its own, so that nothing that is meant for the server's terminal or process group ends it. It
    // fails only if it is the leader of one already.
    let _ = rustix::process::setsid();
    unix::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_stack_size(512 * 1024)
        .thread_name("gateway")
        .enable_all()
        .build()
        .map_err(|source| Error::io("start the runtime", source))?;
    let ended = runtime.block_on(serve(folder));
    // What is open still has had its grace.
    runtime.shutdown_background();
    ended
}

async fn serve(folder: &Path) -> Result<()> {
    make_folder(folder)?;
    let mut terminated =
        signal(SignalKind::terminate()).map_err(|source| Error::io("listen for signals", source))?;
    let mut interrupted =
        signal(SignalKind::interrupt()).map_err(|source| Error::io("listen for signals", source))?;

    let taken =
        if std::env::var_os(TAKEOVER).is_some() { takeover::take(folder).await? } else { Taken::nothing() };
    let mut held = None;
    if !taken.is_from_somebody() {
        held = Some(Lock::take(folder)?);
    }
    let config_file = folder.join("config.json");
    let options =
        GatewayOptions::default().with_log_folder(folder.join("log")).with_config_file(&config_file);
    let gateway = Gateway::start(options)?;
    let Taken { inherited, predecessor } = taken;
    if let Some(config) = read_config(&config_file)? {
        // Written by a newer version, or damaged: keep running, so that a good one can be applied.
        if let Err(error) = gateway.resume(config, inherited).await {
            tracing::error!(error = error.chain(), "the config of the gateway before cannot be served");
        }
    }
    if let Some(predecessor) = predecessor {
        predecessor.commit(&gateway).await?;
    }
    let lock = match held {
        Some(lock) => lock,
        None => Lock::wait(folder, Duration::from_secs(5)).await?,
    };

    let (order_sender, mut orders) = mpsc::channel(1);
    let (pause, paused) = watch::channel(false);
    let control = tokio::spawn(control::serve(
        gateway.clone(),
        unix::listen_stream(&folder.join(control::SOCKET))?,
        paused,
        order_sender,
    ));
    let mut successor = takeover::Offer::open(folder, gateway.clone(), pause)?;
    write_identity(folder)?;
    tracing::info!(folder = %folder.display(), pid = std::process::id(), "the gateway serves");

    let grace = tokio::select! {
        _ = terminated.recv() => GRACE,
        _ = interrupted.recv() => GRACE,
        Some(Order::Shutdown(grace)) = orders.recv() => grace,
        taken = successor.committed() => {
            // From here on, everything in the folder is the successor's.
            control.abort();
            let _ = control.await;
            gateway.stop_accepting(LINGER_AFTER_TAKEOVER);
            drop(lock);
            taken.confirm(&gateway).await;
            tracing::info!("another gateway has taken over; draining");
            return drain(&gateway, GRACE_AFTER_TAKEOVER, &mut terminated, &mut interrupted).await;
        }
    };
    tracing::info!(grace_ms = grace.as_millis(), "the gateway is ending");
    drain(&gateway, grace, &mut terminated, &mut interrupted).await?;
    control.abort();
    drop(lock);
    Ok(())
}

async fn drain(
    gateway: &Gateway,
    grace: Duration,
    terminated: &mut tokio::signal::unix::Signal,
    interrupted: &mut tokio::signal::unix::Signal,
) -> Result<()> {
    let left = tokio::select! {
        left = gateway.shutdown(grace) => left,
        _ = terminated.recv() => gateway.shutdown(Duration::ZERO).await,
        _ = interrupted.recv() => gateway.shutdown(Duration::ZERO).await,
    };
    if left > 0 {
        tracing::warn!(left, "connections are cut, their grace is over");
    }
    Ok(())
}

pub(super) fn make_folder(folder: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| {
        Error::io("make the folder of the gateway", source).with("folder", folder.display())
    })
}

fn read_config(file: &Path) -> Result<Option<Config>> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("read the config", source).with("file", file.display())),
    };
    match serde_json::from_slice(&text) {
        Ok(config) => Ok(Some(config)),
        Err(error) => {
            let aside = file.with_extension("unreadable");
            tracing::error!(%error, aside = %aside.display(), "the config of the gateway before cannot be read; it \
                is put aside");
            std::fs::rename(file, &aside).map_err(|source| {
                Error::io("put an unreadable config aside", source).with("file", file.display())
            })?;
            Ok(None)
        }
    }
}

fn write_identity(folder: &Path) -> Result<()> {
    let pid = std::process::id();
    let identity = Identity {
        pid,
        start_ticks: unix::start_ticks(pid).unwrap_or_default(),
        build: env!("CARGO_PKG_VERSION").into(),
    };
    let path = folder.join("gateway.json");
    let text = serde_json::to_vec(&identity)
        .map_err(|source| Error::new(ErrorKind::Invalid, "write the identity").because(source))?;
    unix::write_whole(&path, &text)
        .map_err(|source| Error::io("write the identity", source).with("file", path.display()))
}

/// The right to be the gateway of a folder. The system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    fn take(folder: &Path) -> Result<Self> {
        let (file, path) = open_lock(folder, "gateway.lock")?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::AGAIN) => {
                let holder =
                    Identity::read(folder).map_or_else(|| "?".into(), |holder| holder.pid.to_string());
                Err(Error::new(ErrorKind::Conflict, "become the gateway of a folder")
                    .with("folder", folder.display())
                    .with_detail(format!("process {holder} is it already")))
            }
            Err(errno) => Err(Error::io("lock", errno.into()).with("file", path.display())),
        }
    }

    async fn wait(folder: &Path, patience: Duration) -> Result<Self> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match Self::take(folder) {
                Err(error)
                    if error.kind() == ErrorKind::Conflict && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                done => return done,
            }
        }
    }
}

pub(super) fn open_lock(folder: &Path, name: &str) -> Result<(File, PathBuf)> {
    let path = folder.join(name);
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let file = file.map_err(|source| Error::io("open a lock", source).with("file", path.display()))?;
    Ok((file, path))
}
