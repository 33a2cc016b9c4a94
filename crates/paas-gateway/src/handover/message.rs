//! What is asked, what is answered, and the answering side.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use serde::{Deserialize, Serialize};

use super::packet::MAX_FDS;

/// The version of the protocol that this build speaks. A side that speaks several names them all in `hello`; the
/// highest one in common is used. Members may be added within a version, and unknown ones are ignored.
pub const VERSION: u32 = 1;

/// What a gateway asks of a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Request {
    /// Which version to speak; the first request of a connection.
    Hello {
        /// The versions that the gateway speaks.
        versions: Vec<u32>,
    },
    /// Unconnected stream sockets, which do not block, made in the instance's network namespace.
    Sockets {
        /// The family of the addresses that they will be connected to.
        family: Family,
        /// How many; the reply may carry fewer, but never none.
        count: u32,
    },
    /// All listening sockets: a reply names them, in the order of its descriptors. Each reply carries duplicates
    /// of the same sockets, so whoever asks again loses no waiting connection.
    Listeners,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// The answer to a [`Request`]: `{"ok":{…}}` or `{"error":"…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// It was done.
    Ok(T),
    /// It was not done; the text says why.
    Error(String),
}

/// What a shim answers to a [`Request`]. Members that do not belong to the request are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// To `hello`: the version to be spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// To `listeners`: what the descriptors are, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Listener>,
}

/// A listening socket made for a declared dependency.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Listener {
    /// The name under which the instance knows the dependency.
    pub name: String,
    /// The port that it listens on.
    pub port: u16,
}

/// Answers a request on behalf of the namespace that the calling thread is in: everything that a shim has to do.
/// The descriptors of the second part go with the answer; those that were made for it are owned by it.
///
/// ```
/// use paas_gateway::handover::{Answer, Request, VERSION, answer};
/// let (reply, fds) = answer(&Request::Hello { versions: vec![VERSION, 99] }, &[]);
/// assert!(matches!(reply, Answer::Ok(reply) if reply.version == Some(VERSION)));
/// assert!(fds.is_empty());
/// ```
pub fn answer<'a>(
    request: &Request,
    listeners: &'a [(Listener, OwnedFd)],
) -> (Answer<Reply>, Vec<Handed<'a>>) {
    match request {
        Request::Hello { versions } if versions.contains(&VERSION) => {
            (Answer::Ok(Reply { version: Some(VERSION), ..Reply::default() }), Vec::new())
        }
        Request::Hello { versions } => {
            let text = format!(
                "this shim speaks version {VERSION} of the handover protocol, asked for {versions:?}"
            );
            (Answer::Error(text), Vec::new())
        }
        Request::Sockets { family, count } => match sockets(*family, *count) {
            Ok(made) => (Answer::Ok(Reply::default()), made.into_iter().map(Handed::Made).collect()),
            Err(error) => (Answer::Error(format!("cannot make sockets: {error}")), Vec::new()),
        },
        Request::Listeners if listeners.len() > MAX_FDS => {
            (Answer::Error(format!("{} listeners, at most {MAX_FDS} fit", listeners.len())), Vec::new())
        }
        Request::Listeners => {
            let named = listeners.iter().map(|(listener, _)| listener.clone()).collect();
            let fds = listeners.iter().map(|(_, fd)| Handed::Kept(fd.as_fd())).collect();
            (Answer::Ok(Reply { listeners: named, ..Reply::default() }), fds)
        }
    }
}

/// A descriptor that goes with an [`answer`].
#[derive(Debug)]
pub enum Handed<'a> {
    /// Made for this answer, and closed here once it was sent.
    Made(OwnedFd),
    /// The shim keeps it.
    Kept(BorrowedFd<'a>),
}

impl AsFd for Handed<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Made(fd) => fd.as_fd(),
            Self::Kept(fd) => *fd,
        }
    }
}

/// As many as were asked for, [`MAX_FDS`] at most; fewer if the system has no more to give, but one at least.
fn sockets(family: Family, count: u32) -> std::io::Result<Vec<OwnedFd>> {
    let family = match family {
        Family::Inet => AddressFamily::INET,
        Family::Inet6 => AddressFamily::INET6,
    };
    let count = usize::try_from(count).unwrap_or(MAX_FDS).clamp(1, MAX_FDS);
    let mut made = Vec::with_capacity(count);
    while made.len() < count {
        match socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None) {
            Ok(socket) => made.push(socket),
            Err(_) if !made.is_empty() => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(made)
}
