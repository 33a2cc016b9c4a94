//! Descriptors that the runtime of tokio watches.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Watches a descriptor.
// The newer constructors are `unsafe`, because a type may change its descriptor behind the reactor's back. An `OwnedFd`
// does not, so the one without `unsafe` is sound here.
#[allow(deprecated)]
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
