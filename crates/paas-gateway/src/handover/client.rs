//! The asking side, for tokio.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::net::SocketFlags;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    address::open,
    message::{Answer, Family, Listener, Reply, Request, VERSION},
    packet::MAX_FDS,
    wire::Wire,
};
use crate::{Error, ErrorKind, Result};

/// A connection to a shim. After an error other than the shim's own answer it is out of step: drop it and connect
/// anew. Time limits are the caller's; a dropped future leaves the connection out of step too.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
}

impl Client {
    /// Connects and agrees on a version.
    ///
    /// # Errors
    /// `Unavailable` if no shim listens at the path, `Protocol` if there is no version in common.
    pub async fn connect(path: &Path) -> Result<Self> {
        let mut client = Self::connect_without_hello(path)?;
        let (reply, _) = client.request(&Request::Hello { versions: vec![VERSION] }).await?;
        match reply.version {
            Some(VERSION) => Ok(client),
            other => Err(Error::new(ErrorKind::Protocol, "agree on a handover version")
                .with("path", path.display())
                .with_detail(format!("offered {VERSION}, the shim chose {other:?}"))),
        }
    }

    /// Connects, and leaves the greeting to the caller: for servers with operations of their own.
    ///
    /// # Errors
    /// `Unavailable` if nobody listens at the path.
    pub fn connect_without_hello(path: &Path) -> Result<Self> {
        let socket = open(path, SocketFlags::NONBLOCK)?;
        Ok(Self { wire: Wire::from_fd(socket)? })
    }

    /// Unconnected sockets of the instance's namespace: at least one, at most `count`.
    ///
    /// # Errors
    /// `Unavailable` if the shim is gone or has none to give.
    pub async fn sockets(&mut self, family: Family, count: u32) -> Result<Vec<OwnedFd>> {
        let (_, fds) = self.request(&Request::Sockets { family, count }).await?;
        if fds.is_empty() {
            return Err(
                Error::new(ErrorKind::Protocol, "get sockets of an instance").with_detail("none came")
            );
        }
        Ok(fds)
    }

    /// The listening sockets of the instance's namespace, each with its name.
    ///
    /// # Errors
    /// `Unavailable` if the shim is gone, `Protocol` if names and descriptors do not match.
    pub async fn listeners(&mut self) -> Result<Vec<(Listener, OwnedFd)>> {
        let (reply, fds) = self.request(&Request::Listeners).await?;
        if reply.listeners.len() != fds.len() {
            return Err(Error::new(ErrorKind::Protocol, "get the listeners of an instance")
                .with_detail(format!("{} names came with {} sockets", reply.listeners.len(), fds.len())));
        }
        Ok(reply.listeners.into_iter().zip(fds).collect())
    }

    /// Sends any request and waits for its [`Answer`], for operations of the shim's own.
    ///
    /// # Errors
    /// `Unavailable` with the shim's words if it answers with an error, or if it is gone.
    pub async fn call<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        request: &Q,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(A, Vec<OwnedFd>)> {
        if fds.len() > MAX_FDS {
            return Err(Error::new(ErrorKind::Invalid, "send a packet").with_detail("too many descriptors"));
        }
        self.wire.send(request, fds).await?;
        let Some((answer, fds)) = self.wire.receive().await? else {
            return Err(Error::new(ErrorKind::Unavailable, "receive a handover reply")
                .with_detail("the shim closed the connection"));
        };
        match answer {
            Answer::Ok(value) => Ok((value, fds)),
            Answer::Error(text) => {
                Err(Error::new(ErrorKind::Unavailable, "have a shim do as asked").with_detail(text))
            }
        }
    }

    /// Becomes ready when the shim has closed the connection (or sent something unasked): it is gone.
    pub async fn closed(&self) {
        self.wire.readable().await;
    }

    pub(crate) fn into_wire(self) -> Wire {
        self.wire
    }

    async fn request(&mut self, request: &Request) -> Result<(Reply, Vec<OwnedFd>)> {
        self.call(request, &[]).await
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}
