//! The framing: one packet, one document, and the descriptors that belong to it.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, ErrorKind, Result};

/// The most bytes in one packet.
pub const MAX_PACKET: usize = 16 * 1024;

/// The most file descriptors in one packet; the kernel's own bound is 253 (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 64;

/// One packet as it came.
#[derive(Debug)]
pub struct Packet {
    /// The document; never empty.
    pub bytes: Vec<u8>,
    /// The descriptors that came with it, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Sends one packet. Never raises `SIGPIPE`.
///
/// # Errors
/// `Invalid` if the packet is empty, longer than [`MAX_PACKET`], or carries more than [`MAX_FDS`] descriptors;
/// otherwise what the system said: on a socket that does not block and has no room, that is `WouldBlock`.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    if bytes.is_empty() || bytes.len() > MAX_PACKET || fds.len() > MAX_FDS {
        return Err(Error::new(ErrorKind::Invalid, "send a packet").with_detail(format!(
            "a packet holds 1 to {MAX_PACKET} bytes and up to {MAX_FDS} descriptors, this one {} and {}",
            bytes.len(),
            fds.len()
        )));
    }
    send_raw(socket, bytes, fds).map_err(|source| Error::io("send a packet", source))
}

/// Receives one packet; `None` if the other side has closed.
///
/// # Errors
/// `Protocol` if the packet or its descriptors were cut short (they are closed then); otherwise what the system said.
pub fn recv(socket: impl AsFd) -> Result<Option<Packet>> {
    match recv_raw(socket).map_err(|source| Error::io("receive a packet", source))? {
        Received::Closed => Ok(None),
        Received::Packet(packet) => Ok(Some(packet)),
        Received::Truncated => Err(truncated()),
    }
}

/// Sends a value as JSON in one packet.
///
/// # Errors
/// As [`send`]; `Invalid` also if the value cannot be written as JSON.
pub fn send_json<T: Serialize>(socket: impl AsFd, value: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
    send(socket, &encode(value)?, fds)
}

/// Receives a value as JSON in one packet; `None` if the other side has closed.
///
/// # Errors
/// As [`recv`]; `Protocol` also if the document is not a `T`. The connection is still in step then: a server can
/// answer with the error and go on.
pub fn recv_json<T: DeserializeOwned>(socket: impl AsFd) -> Result<Option<(T, Vec<OwnedFd>)>> {
    match recv(socket)? {
        None => Ok(None),
        Some(packet) => Ok(Some((decode(&packet.bytes)?, packet.fds))),
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|source| Error::new(ErrorKind::Invalid, "write a packet as JSON").because(source))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|source| Error::new(ErrorKind::Protocol, "read a packet as JSON").because(source))
}

pub(super) fn truncated() -> Error {
    Error::new(ErrorKind::Protocol, "receive a packet")
        .with_detail(format!("it was cut short: more than {MAX_PACKET} bytes or {MAX_FDS} descriptors"))
}

pub(super) enum Received {
    Closed,
    Packet(Packet),
    Truncated,
}

pub(super) fn send_raw(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

pub(super) fn recv_raw(socket: impl AsFd) -> std::io::Result<Received> {
    let mut bytes = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    // Owned at once, so that nothing leaks whatever is decided below.
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Ok(Received::Truncated);
    }
    if received.bytes == 0 {
        return Ok(Received::Closed);
    }
    bytes.truncate(received.bytes);
    bytes.shrink_to_fit();
    Ok(Received::Packet(Packet { bytes, fds }))
}
