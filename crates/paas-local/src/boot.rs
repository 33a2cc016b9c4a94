//! The channel between a process of this crate and the helper that it starts: frames of JSON over a stream socket that
//! is the helper's standard input, closed when the helper becomes another program.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Failure, InstanceSpec, Secrets, cgroup::Cgroup};

const MAX_FRAME: usize = 64 << 20;

/// What a shim is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub secrets: Secrets,
    pub cgroup: Option<Cgroup>,
    /// Whether to make a user namespace; the maps are written by the starting process.
    pub user_namespace: bool,
}

/// What a shim says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BootReply {
    /// The user namespace is there; write its maps, then answer with [`Mapped`].
    NeedsMaps,
    /// The instance runs.
    Started {
        pid: i32,
    },
    /// Work in a user namespace is done, with what came of it.
    Done(serde_json::Value),
    Failed(Failure),
}

/// The maps are written, or why not.
pub(crate) type Mapped = Result<(), Failure>;

/// What `__init` is told; it answers with a [`Failure`], or closes the channel by becoming the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub spec: InstanceSpec,
    pub secrets: Secrets,
    pub cgroup: Option<Cgroup>,
    pub user_namespace: bool,
}

/// The length of what follows, in network order.
pub(crate) type Head = [u8; HEAD];
pub(crate) const HEAD: usize = 4;

/// A value as it travels.
pub(crate) fn frame<T: Serialize>(value: &T) -> io::Result<(Head, Vec<u8>)> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok((length.to_be_bytes(), body))
}

/// How much follows a head.
pub(crate) fn length(head: Head) -> io::Result<usize> {
    let length = u32::from_be_bytes(head) as usize;
    if length > MAX_FRAME { Err(io::ErrorKind::InvalidData.into()) } else { Ok(length) }
}

pub(crate) fn send<T: Serialize>(channel: &mut UnixStream, value: &T) -> io::Result<()> {
    let (head, body) = frame(value)?;
    channel.write_all(&head)?;
    channel.write_all(&body)
}

/// `None` if the other side closed.
pub(crate) fn receive<T: DeserializeOwned>(channel: &mut UnixStream) -> io::Result<Option<T>> {
    let mut head = Head::default();
    match channel.read_exact(&mut head) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
        {
            return Ok(None);
        }
        other => other?,
    }
    let mut body = vec![0; length(head)?];
    channel.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Takes the channel from standard input, which becomes `/dev/null`. The channel closes on exec.
pub(crate) fn take_stdin() -> io::Result<UnixStream> {
    let channel: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = dev_null()?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(channel.into())
}

pub(crate) fn dev_null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// A channel; the second half is for a child's standard input.
pub(crate) fn pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, theirs.as_fd().try_clone_to_owned()?))
}
