//! How a new gateway takes over from the one that runs.
//!
//! Over `takeover.sock`, with the framing of [`handover`](crate::handover):
//! 1. `take`: the old one refuses configs from now on, sees to it that the one in force is on disk, and hands over its
//!    listening sockets, in as many packets as it takes.
//! 2. The new one reads the config and begins to accept, beside the old one: they share the queues.
//! 3. `commit`: the old one stops accepting, and gives up the folder: its lock, its sockets. What waits in the queues
//!    is the new one's.
//! 4. Until its own last connection has ended, the old one tells who uses which instance, so that nobody takes an
//!    instance for free that has users there.
//!
//! If the new one goes away before `commit`, the old one goes on as before.

use std::{
    collections::HashMap,
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener as StdListener,
    },
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    net::UnixListener,
    sync::{mpsc, watch},
};

use crate::{
    Error, ErrorKind, Gateway, Result,
    config::{InstanceId, ListenerId},
    gateway::lock,
    handover::{self, Answer, Client, Wire},
    listen::Inherited,
};

const SOCKET: &str = "takeover.sock";

/// The version of this protocol.
const VERSION: u32 = 1;

/// Sockets in one packet, with names and addresses that fit into it.
const BATCH: usize = 16;

/// Instances in one packet.
const USERS: usize = 24;

/// How often the old gateway looks who uses what.
const TELL: Duration = Duration::from_millis(50);

/// How long the other side may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    /// All listening sockets from the n-th on.
    Take {
        versions: Vec<u32>,
        from: usize,
    },
    Commit,
}

#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    listeners: Vec<(ListenerId, SocketAddr)>,
    total: usize,
}

/// A part of who uses what.
#[derive(Debug, Serialize, Deserialize)]
struct Users {
    users: Vec<(InstanceId, u32, u32)>,
    last: bool,
}

/// What a new gateway got.
pub(super) struct Taken {
    pub(super) inherited: Inherited,
    pub(super) predecessor: Option<Predecessor>,
}

impl Taken {
    pub(super) fn nothing() -> Self {
        Self { inherited: Inherited::default(), predecessor: None }
    }

    pub(super) fn is_from_somebody(&self) -> bool {
        self.predecessor.is_some()
    }
}

/// The old gateway, seen from the new one.
pub(super) struct Predecessor {
    client: Client,
}

/// Asks for the listening sockets. If nobody runs, there is nothing to take.
pub(super) async fn take(folder: &Path) -> Result<Taken> {
    let mut client = match Client::connect_without_hello(&folder.join(SOCKET)) {
        Ok(client) => client,
        Err(error) if error.kind() == ErrorKind::Unavailable => return Ok(Taken::nothing()),
        Err(error) => return Err(error),
    };
    let taking = async {
        let mut sockets = HashMap::new();
        let mut from = 0;
        loop {
            let request = Request::Take { versions: vec![VERSION], from };
            let (batch, fds): (Batch, Vec<OwnedFd>) = client.call(&request, &[]).await?;
            if batch.listeners.len() != fds.len() {
                return Err(Error::new(ErrorKind::Protocol, "take over listening sockets")
                    .with_detail("names and sockets do not match"));
            }
            let count = fds.len();
            sockets.extend(batch.listeners.into_iter().zip(fds));
            from += count;
            if from >= batch.total || count == 0 {
                return Ok(sockets);
            }
        }
    };
    let sockets = tokio::time::timeout(PATIENCE, taking)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "take over listening sockets")))?;
    Ok(Taken { inherited: Inherited(sockets), predecessor: Some(Predecessor { client }) })
}

impl Predecessor {
    /// Tells the old gateway to let go, and follows who uses what there until it ends.
    pub(super) async fn commit(mut self, gateway: &Gateway) -> Result<()> {
        match tokio::time::timeout(PATIENCE, self.client.call::<_, ()>(&Request::Commit, &[])).await {
            Ok(Ok(_)) => {}
            // It has ended meanwhile. Then its lock is free; if not, taking that will fail.
            Ok(Err(error)) if error.kind() == ErrorKind::Unavailable => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(Error::new(ErrorKind::Timeout, "take over from the gateway that runs")),
        }
        let wire = self.client.into_wire();
        // The first account is there before anybody can ask this gateway.
        let lives = follow(&wire, gateway).await;
        let gateway = gateway.clone();
        if lives {
            tokio::spawn(async move { while follow(&wire, &gateway).await {} });
        }
        Ok(())
    }
}

/// Reads one whole account; `false` if the old gateway has ended.
async fn follow(wire: &Wire, gateway: &Gateway) -> bool {
    let mut users = HashMap::new();
    loop {
        let Ok(Some((part, _))) = wire.receive::<Users>().await else {
            gateway.set_predecessor(&HashMap::new());
            return false;
        };
        users.extend(part.users.into_iter().map(|(id, requests, connections)| (id, (requests, connections))));
        if part.last {
            gateway.set_predecessor(&users);
            return true;
        }
    }
}

/// The readiness of this gateway to be taken over.
pub(super) struct Offer {
    committed: mpsc::Receiver<Commit>,
}

/// A new gateway that serves already, and waits for this one to let go.
pub(super) struct Commit {
    wire: Wire,
}

impl Offer {
    /// Listens for a successor. While one is at work, `pause` is true.
    pub(super) fn open(folder: &Path, gateway: Gateway, pause: watch::Sender<bool>) -> Result<Self> {
        let socket = StdListener::from(handover::bind(&folder.join(SOCKET))?);
        let listener =
            UnixListener::from_std(socket).map_err(|source| Error::io("listen for a successor", source))?;
        let (sender, committed) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let wire = Wire::new(stream);
                        if let Some(commit) = negotiate(wire, &gateway, &pause).await {
                            let _ = sender.send(commit).await;
                            return;
                        }
                        pause.send_replace(false);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a successor");
                        tokio::time::sleep(TELL).await;
                    }
                }
            }
        });
        Ok(Self { committed })
    }

    /// Waits for a successor; for ever, if none can come.
    pub(super) async fn committed(&mut self) -> Commit {
        match self.committed.recv().await {
            Some(commit) => commit,
            None => std::future::pending().await,
        }
    }
}

/// `None` if the successor went away, or did not keep to the protocol.
async fn negotiate(wire: Wire, gateway: &Gateway, pause: &watch::Sender<bool>) -> Option<Commit> {
    let mut sockets = Vec::new();
    loop {
        let received = tokio::time::timeout(PATIENCE, wire.receive::<Request>()).await;
        let request = match received {
            Ok(Ok(Some((request, _)))) => request,
            Ok(Ok(None)) => return None,
            Ok(Err(error)) => {
                tracing::warn!(error = error.chain(), "a successor does not keep to the protocol");
                return None;
            }
            Err(_) => {
                tracing::warn!("a successor takes too long; serving on");
                return None;
            }
        };
        let said = match request {
            Request::Commit if sockets.is_empty() && !*pause.borrow() => {
                wire.send(&Answer::<()>::Error("take first".into()), &[]).await
            }
            Request::Commit => return Some(Commit { wire }),
            Request::Take { versions, .. } if !versions.contains(&VERSION) => {
                let text =
                    format!("this gateway speaks version {VERSION} of the takeover, asked for {versions:?}");
                wire.send(&Answer::<()>::Error(text), &[]).await
            }
            Request::Take { from, .. } => {
                pause.send_replace(true);
                if let Err(error) = gateway.persist_now().await {
                    let text = format!("the config in force is not on disk: {}", error.chain());
                    wire.send(&Answer::<()>::Error(text), &[]).await
                } else {
                    if from == 0 {
                        sockets = lock(&gateway.inner().listeners).sockets();
                    }
                    let part: Vec<_> = sockets.iter().skip(from).take(BATCH).collect();
                    let listeners = part.iter().map(|(key, _)| key.clone()).collect();
                    let fds: Vec<_> = part.iter().map(|(_, socket)| socket.as_fd()).collect();
                    wire.send(&Answer::Ok(Batch { listeners, total: sockets.len() }), &fds).await
                }
            }
        };
        said.ok()?;
    }
}

impl Commit {
    /// Tells the successor that the folder is its own, and from now on who uses what here.
    pub(super) async fn confirm(self, gateway: &Gateway) {
        let gateway = gateway.clone();
        if self.wire.send(&Answer::Ok(()), &[]).await.is_err() {
            return;
        }
        tokio::spawn(async move {
            let mut told: Option<HashMap<InstanceId, (u32, u32)>> = None;
            loop {
                let users = gateway.users();
                if told.as_ref() != Some(&users) && tell(&self.wire, &users).await.is_err() {
                    return;
                }
                told = Some(users);
                tokio::time::sleep(TELL).await;
            }
        });
    }
}

async fn tell(wire: &Wire, users: &HashMap<InstanceId, (u32, u32)>) -> Result<()> {
    let all: Vec<_> =
        users.iter().map(|(id, (requests, connections))| (id.clone(), *requests, *connections)).collect();
    let mut parts = all.chunks(USERS).peekable();
    if parts.peek().is_none() {
        return wire.send(&Users { users: Vec::new(), last: true }, &[]).await;
    }
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        wire.send(&Users { users: part.to_vec(), last }, &[]).await?;
    }
    Ok(())
}
