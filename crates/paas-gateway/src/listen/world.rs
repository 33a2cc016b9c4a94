//! The listeners of the world.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Origin, accept::accept_all};
use crate::{
    Error, ErrorKind, Result,
    config::{Listener, ListenerId},
    gateway::{Inner, ListenerStatus, Strictness, lock},
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// How long until an address that could not be listened on is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Listening sockets of the gateway that this one takes over from, with the addresses they were configured with.
#[derive(Debug, Default)]
pub(crate) struct Inherited(pub(crate) HashMap<(ListenerId, SocketAddr), OwnedFd>);

/// All listeners, by name and the address that they were configured with.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: HashMap<(ListenerId, SocketAddr), Open>,
    order: Vec<(ListenerId, SocketAddr)>,
}

#[derive(Debug)]
struct Open {
    state: State,
    stop: CancellationToken,
}

#[derive(Debug)]
enum State {
    Bound(Arc<TcpListener>),
    Failed(String),
}

/// Sockets for those listeners of a config that are new.
pub(crate) type NewlyBound = Vec<((ListenerId, SocketAddr), std::result::Result<TcpListener, String>)>;

impl Listeners {
    /// Binds what a config has and the one before had not. Nothing is accepted yet.
    pub(crate) fn bind_new(
        &self,
        config: &[Listener],
        mut inherited: Inherited,
        strictness: Strictness,
    ) -> Result<NewlyBound> {
        let mut bound = Vec::new();
        for listener in config {
            let key = (listener.id.clone(), listener.address);
            if self.open.contains_key(&key) {
                continue;
            }
            // Same address, other name: the socket goes on under the new one.
            let renamed = (listener.address.port() != 0)
                .then(|| self.open.iter().find(|((_, address), _)| *address == listener.address))
                .flatten();
            let socket = match (inherited.0.remove(&key), renamed) {
                (Some(fd), _) => listener_of(fd),
                (None, Some((_, Open { state: State::Bound(socket), .. }))) => {
                    rustix::io::dup(socket).map_err(std::io::Error::from).and_then(listener_of)
                }
                _ => bind(listener.address),
            };
            match socket {
                Ok(socket) => bound.push((key, Ok(socket))),
                Err(error) if strictness == Strictness::AsFarAsPossible => {
                    bound.push((key, Err(error.to_string())));
                }
                Err(error) => {
                    return Err(Error::new(ErrorKind::Conflict, "listen")
                        .with("listener", &listener.id)
                        .with("address", listener.address)
                        .because(error));
                }
            }
        }
        Ok(bound)
    }

    /// Begins to accept on what is new, and ends what the config has no more.
    pub(crate) fn switch(&mut self, inner: &Arc<Inner>, config: &[Listener], bound: NewlyBound) {
        self.order = config.iter().map(|listener| (listener.id.clone(), listener.address)).collect();
        for (key, socket) in bound {
            let stop = inner.stop.child_token();
            let state = match socket {
                Ok(socket) => State::Bound(start(inner, socket, &key.0, &stop)),
                Err(error) => {
                    tracing::error!(listener = %key.0, address = %key.1, error, "cannot listen; trying on");
                    tokio::spawn(try_on(inner.clone(), key.clone(), stop.clone()));
                    State::Failed(error)
                }
            };
            self.open.insert(key, Open { state, stop });
        }
        let order = &self.order;
        self.open.retain(|key, open| {
            let stays = order.contains(key);
            if !stays {
                open.stop.cancel();
            }
            stays
        });
    }

    pub(crate) fn close(&mut self) {
        for (_, open) in self.open.drain() {
            open.stop.cancel();
        }
    }

    pub(crate) fn status(&self) -> Vec<ListenerStatus> {
        let status = |key: &(ListenerId, SocketAddr)| {
            let (bound, error) = match self.open.get(key).map(|open| &open.state) {
                Some(State::Bound(socket)) => (socket.local_addr().ok(), None),
                Some(State::Failed(error)) => (None, Some(error.clone())),
                None => (None, Some("closed".into())),
            };
            ListenerStatus { listener: key.0.clone(), bound, error }
        };
        self.order.iter().map(status).collect()
    }

    /// The listening sockets, for a gateway that takes over.
    pub(crate) fn sockets(&self) -> Vec<((ListenerId, SocketAddr), Arc<TcpListener>)> {
        let sockets = self.open.iter().filter_map(|(key, open)| match &open.state {
            State::Bound(socket) => Some((key.clone(), socket.clone())),
            State::Failed(_) => None,
        });
        sockets.collect()
    }
}

fn start(
    inner: &Arc<Inner>,
    socket: TcpListener,
    id: &ListenerId,
    stop: &CancellationToken,
) -> Arc<TcpListener> {
    let socket = Arc::new(socket);
    let origin = Origin::Listener(id.clone());
    tokio::spawn(accept_all(inner.clone(), socket.clone(), origin, stop.clone()));
    socket
}

async fn try_on(inner: Arc<Inner>, key: (ListenerId, SocketAddr), stop: CancellationToken) {
    let trying = async {
        loop {
            tokio::time::sleep(AGAIN).await;
            let bound = bind(key.1);
            let mut listeners = lock(&inner.listeners);
            // Still wanted? It may have been given up, or given up and wanted again.
            let Some(open) = listeners.open.get_mut(&key).filter(|_| !stop.is_cancelled()) else { return };
            match bound {
                Ok(socket) => {
                    tracing::info!(listener = %key.0, address = %key.1, "listens at last");
                    open.state = State::Bound(start(&inner, socket, &key.0, &stop));
                    return;
                }
                Err(error) => open.state = State::Failed(error.to_string()),
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = trying => {}
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    listener_of(socket)
}

fn listener_of(fd: OwnedFd) -> std::io::Result<TcpListener> {
    let socket = StdListener::from(fd);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}
