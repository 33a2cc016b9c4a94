//! The request to stop, as a descriptor that can be polled beside others.
//!
//! The kernel drops a signal to pid 1 of a container unless it is handled; a blocked one waits for `signalfd`.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub struct StopSignal {
    descriptor: SignalFd,
}

/// What a wait ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Asked to stop.
    Stop,
    /// The other descriptor can be read.
    Readable,
    /// The time is over.
    Timeout,
}

impl StopSignal {
    /// Blocks the signals for this thread and every later one. To be called before there are others.
    pub fn install() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.thread_block()?;
        let descriptor = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { descriptor })
    }

    /// Waits for the signal, for `other` when there is one, for at most `timeout` when there is one.
    pub fn wait(&self, other: Option<&dyn AsFd>, timeout: Option<Duration>) -> io::Result<Woken> {
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            i32::try_from(timeout.as_millis())
                .ok()
                .and_then(|timeout| PollTimeout::try_from(timeout).ok())
                .unwrap_or(PollTimeout::MAX)
        });
        let mut polled = vec![PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        polled.extend(other.map(|other| PollFd::new(other.as_fd(), PollFlags::POLLIN)));
        match poll(&mut polled, timeout) {
            Err(nix::errno::Errno::EINTR) => return Ok(Woken::Timeout),
            outcome => outcome?,
        };
        if polled[0].any() == Some(true) && self.descriptor.read_signal()?.is_some() {
            return Ok(Woken::Stop);
        }
        let readable = polled.get(1).and_then(PollFd::any) == Some(true);
        Ok(if readable { Woken::Readable } else { Woken::Timeout })
    }
}
