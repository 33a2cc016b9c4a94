//! Sockets at paths of any length.
//!
//! `sun_path` holds 108 bytes, a state directory may be longer. The folder is opened, and the socket is named
//! through `/proc/self/fd/<folder>/<name>`, which is short always.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, listen, socket_with},
};

use crate::{Error, ErrorKind, Result};

/// Listens at a path, for packets. What is at the path is replaced. The socket does not block and may be used by its
/// owner only: the folder should be private, because a socket file's mode is set just after it was made.
///
/// # Errors
/// `Invalid` if the path has no file name or a file name longer than 80 bytes; otherwise what the system said.
pub fn bind(path: &Path) -> Result<OwnedFd> {
    let operation = "listen for handovers";
    let fail = |source: io::Error| Error::io(operation, source).with("path", path.display());
    let socket = packet_socket(SocketFlags::NONBLOCK).map_err(fail)?;
    let (folder, address) = short_address(path, operation)?;
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(fail(source)),
        _ => {}
    }
    rustix::net::bind(&socket, &address).map_err(|errno| fail(errno.into()))?;
    drop(folder);
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, owner_only).map_err(fail)?;
    listen(&socket, 64).map_err(|errno| fail(errno.into()))?;
    Ok(socket)
}

/// Accepts one connection from a socket of [`bind`]; the connection blocks, and closes on exec.
///
/// # Errors
/// What the system said; `WouldBlock` if nobody is waiting.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    loop {
        match accept_with(listener.as_fd(), SocketFlags::CLOEXEC) {
            Ok(socket) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Connects to a path, for packets. The socket blocks.
///
/// # Errors
/// `Unavailable` if nobody listens there; `Invalid` as in [`bind`]; otherwise what the system said.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    open(path, SocketFlags::empty())
}

pub(super) fn open(path: &Path, flags: SocketFlags) -> Result<OwnedFd> {
    let operation = "connect for a handover";
    let fail = |source: io::Error| Error::io(operation, source).with("path", path.display());
    let socket = packet_socket(flags).map_err(fail)?;
    let (folder, address) = short_address(path, operation)?;
    let connected = loop {
        match rustix::net::connect(&socket, &address) {
            Err(Errno::INTR) => {}
            other => break other,
        }
    };
    drop(folder);
    match connected {
        Ok(()) => Ok(socket),
        // The backlog is full: the listener lives, but is busy.
        Err(Errno::AGAIN) => Err(Error::new(ErrorKind::Unavailable, operation)
            .with("path", path.display())
            .because(Errno::AGAIN)),
        Err(errno) => Err(fail(errno.into())),
    }
}

fn packet_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | flags, None)?)
}

/// The address stays good only as long as the folder is open.
pub(crate) fn short_address(path: &Path, operation: &'static str) -> Result<(File, SocketAddrUnix)> {
    let invalid = |detail: &str| {
        Error::new(ErrorKind::Invalid, operation).with("path", path.display()).with_detail(detail)
    };
    let name = path.file_name().map(OsStr::as_bytes).ok_or_else(|| invalid("the path has no file name"))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder =
        File::open(parent).map_err(|source| Error::io(operation, source).with("path", path.display()))?;
    let mut short = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    short.extend_from_slice(name);
    let address =
        SocketAddrUnix::new(short).map_err(|_| invalid("the file name is longer than about 80 bytes"))?;
    Ok((folder, address))
}
