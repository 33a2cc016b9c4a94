//! Connecting to an instance.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::net::{TcpSocket, TcpStream};

use crate::{
    config::Dial,
    handover::{Client, Family},
};

/// How many sockets are fetched at once.
const BATCH: u32 = 8;

/// Makes connections to one instance.
#[derive(Debug)]
pub(crate) enum Dialer {
    Tcp(IpAddr),
    Handover(Handover),
}

/// Connects with sockets that a shim hands over.
#[derive(Debug)]
pub(crate) struct Handover {
    path: PathBuf,
    client: tokio::sync::Mutex<Option<Client>>,
    /// Sockets not used yet, for IPv4 and IPv6. They stay good when the shim is gone.
    stock: [Mutex<Vec<OwnedFd>>; 2],
    /// Whether the instance answered on `::1` the last time.
    prefers_v6: AtomicBool,
}

impl Dialer {
    pub(crate) fn new(dial: &Dial) -> Self {
        match dial {
            Dial::Tcp(address) => Self::Tcp(*address),
            Dial::Handover(path) => Self::Handover(Handover {
                path: path.clone(),
                client: tokio::sync::Mutex::default(),
                stock: Default::default(),
                prefers_v6: AtomicBool::new(false),
            }),
        }
    }

    /// A connection to a port of the instance.
    pub(crate) async fn connect(&self, port: u16, limit: Duration) -> io::Result<TcpStream> {
        let connecting = async {
            match self {
                Self::Tcp(address) => TcpStream::connect((*address, port)).await,
                Self::Handover(handover) => handover.connect(port).await,
            }
        };
        let stream = match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => connected?,
            Err(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection within {} ms", limit.as_millis()),
                ));
            }
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Handover {
    /// An application may listen on 127.0.0.1 or on `::1` only: what worked last is tried first.
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let v6_first = self.prefers_v6.load(Relaxed);
        match self.connect_family(v6_first, port).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let stream = self.connect_family(!v6_first, port).await.map_err(|_| error)?;
                self.prefers_v6.store(!v6_first, Relaxed);
                Ok(stream)
            }
            other => other,
        }
    }

    async fn connect_family(&self, v6: bool, port: u16) -> io::Result<TcpStream> {
        let address = if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let socket = self.socket(v6).await?;
        TcpSocket::from_std_stream(socket.into()).connect(SocketAddr::new(address, port)).await
    }

    async fn socket(&self, v6: bool) -> io::Result<OwnedFd> {
        if let Some(socket) = self.take(v6) {
            return Ok(socket);
        }
        // One fetch at a time; who waited for it finds the stock filled.
        let mut client = self.client.lock().await;
        if let Some(socket) = self.take(v6) {
            return Ok(socket);
        }
        let mut fresh = false;
        loop {
            // Taken out, so that a fetch that is cancelled half-way leaves no connection out of step behind.
            let mut connected = if let Some(connected) = client.take() {
                connected
            } else {
                fresh = true;
                Client::connect(&self.path).await.map_err(io::Error::other)?
            };
            let family = if v6 { Family::Inet6 } else { Family::Inet };
            match connected.sockets(family, BATCH).await {
                Ok(mut sockets) => {
                    *client = Some(connected);
                    let socket = sockets.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
                    self.lock(v6).extend(sockets);
                    return Ok(socket);
                }
                // A shim that was replaced since: once more, with the one that is there now.
                Err(_) if !fresh => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn take(&self, v6: bool) -> Option<OwnedFd> {
        self.lock(v6).pop()
    }

    fn lock(&self, v6: bool) -> std::sync::MutexGuard<'_, Vec<OwnedFd>> {
        self.stock[usize::from(v6)].lock().expect("no holder of this lock panics")
    }
}
