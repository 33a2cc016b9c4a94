//! The server's side of a shim's socket.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use paas_gateway::handover::{self, Client, Family};
use rustix::{io::Errno, net::RecvFlags};
use serde::de::DeserializeOwned;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Mutex,
    time::timeout,
};

use crate::{Error, ErrorKind, Result, shim::Operation};

/// Longer than a shim needs on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that is made anew when it fails.
#[derive(Debug)]
pub(super) struct ShimClient {
    socket: PathBuf,
    idle: Mutex<Option<Client>>,
}

impl ShimClient {
    pub(super) async fn connect(socket: PathBuf) -> Result<Self> {
        let client = timeout(PATIENCE, Client::connect(&socket)).await.map_err(|_| silent(&socket))??;
        Ok(Self { socket, idle: Mutex::new(Some(client)) })
    }

    /// For an instance that has ended: nobody answers.
    pub(super) fn of_none(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::new(None) }
    }

    pub(super) async fn call<A: DeserializeOwned>(&self, operation: &Operation) -> Result<A> {
        let mut idle = self.idle.lock().await;
        // Taken out: if this future is dropped half-way, the connection is out of step and goes with it.
        let mut client = self.usable(idle.take()).await?;
        let answer =
            timeout(PATIENCE, client.call(operation, &[])).await.map_err(|_| silent(&self.socket))?;
        let (value, _) = answer?;
        *idle = Some(client);
        Ok(value)
    }

    pub(super) async fn sockets(&self, family: Family, count: u32) -> Result<Vec<OwnedFd>> {
        let mut idle = self.idle.lock().await;
        let mut client = self.usable(idle.take()).await?;
        let sockets =
            timeout(PATIENCE, client.sockets(family, count)).await.map_err(|_| silent(&self.socket))??;
        *idle = Some(client);
        Ok(sockets)
    }

    async fn usable(&self, idle: Option<Client>) -> Result<Client> {
        match idle {
            Some(client) => Ok(client),
            None => Ok(timeout(PATIENCE, Client::connect(&self.socket))
                .await
                .map_err(|_| silent(&self.socket))??),
        }
    }
}

fn silent(socket: &Path) -> Error {
    Error::new(ErrorKind::Unavailable, "talk to a shim")
        .with("socket", socket.display())
        .with_detail("it does not answer")
}

/// A connection that is only listened to.
#[derive(Debug)]
pub(super) struct Ear {
    socket: AsyncFd<OwnedFd>,
}

/// What is heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Packet,
    Closed,
}

impl Ear {
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let socket = handover::connect(path)?;
        rustix::io::ioctl_fionbio(&socket, true).map_err(|errno| Error::io("watch a shim", errno))?;
        let socket = crate::ready::watch(socket, Interest::READABLE)
            .map_err(|source| Error::io("watch a shim", source))?;
        Ok(Self { socket })
    }

    /// Asks to be told of new log records.
    pub(super) fn follow_log(&self) -> Result<()> {
        Ok(handover::send_json(self.socket.get_ref(), &Operation::Follow, &[])?)
    }

    /// Waits for packets, as one however many wait, or for the end.
    pub(super) async fn hear(&self) -> Heard {
        loop {
            let Ok(mut ready) = self.socket.readable().await else { return Heard::Closed };
            let mut heard = false;
            // Without a pause in between: what was heard must be told.
            loop {
                let mut buffer = [0; 256];
                match rustix::net::recv(self.socket.get_ref(), &mut buffer[..], RecvFlags::empty()) {
                    Ok((0, _)) => return Heard::Closed,
                    Ok(_) => heard = true,
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(_) => return Heard::Closed,
                }
            }
            ready.clear_ready();
            if heard {
                return Heard::Packet;
            }
        }
    }
}
