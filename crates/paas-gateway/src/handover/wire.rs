//! The framing under tokio.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::RecvFlags;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixStream};

use super::packet::{Packet, Received, decode, encode, recv_raw, send_raw, truncated};
use crate::{Error, Result};

/// A connection of packets.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Not a stream: only its readiness and its descriptor are used.
    socket: UnixStream,
}

impl Wire {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self { socket }
    }

    /// A socket that does not block.
    pub(crate) fn from_fd(socket: OwnedFd) -> Result<Self> {
        UnixStream::from_std(socket.into())
            .map(Self::new)
            .map_err(|source| Error::io("watch a handover connection", source))
    }

    pub(crate) async fn send<T: Serialize>(&self, value: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = encode(value)?;
        self.socket
            .async_io(Interest::WRITABLE, || send_raw(&self.socket, &bytes, fds))
            .await
            .map_err(|source| Error::io("send a packet", source))
    }

    /// `None` if the other side has closed.
    pub(crate) async fn receive<T: DeserializeOwned>(&self) -> Result<Option<(T, Vec<OwnedFd>)>> {
        let received = self
            .socket
            .async_io(Interest::READABLE, || recv_raw(&self.socket))
            .await
            .map_err(|source| Error::io("receive a packet", source))?;
        match received {
            Received::Packet(Packet { bytes, fds }) => Ok(Some((decode(&bytes)?, fds))),
            Received::Truncated => Err(truncated()),
            Received::Closed => Ok(None),
        }
    }

    /// Becomes ready when there is something to read, the end included. It is looked at, because what the runtime
    /// remembers of the readiness may be from before the last packet was read.
    pub(crate) async fn readable(&self) {
        let look = || {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            rustix::net::recv(&self.socket, &mut [0_u8; 1], flags).map_err(std::io::Error::from)
        };
        // An error means the same to the caller: do not rely on this connection.
        let _ = self.socket.async_io(Interest::READABLE, look).await;
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
