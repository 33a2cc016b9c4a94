//! Watching over a command until it has ended.

use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid},
};

use super::{
    Order, Reply,
    channel::{receive, send},
    session::Session,
};

/// A process that this one has started, and that makes a session of its own.
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) process: OwnedFd,
}

impl Child {
    /// Waits until it has ended, without forgetting it: its number stays its own.
    fn status(&self) -> Option<WaitIdStatus> {
        loop {
            match waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Err(Errno::INTR) => {}
                other => return other.ok().flatten(),
            }
        }
    }

    /// Kills it, if it still lives, with its session, and forgets it.
    pub(super) fn end(self) {
        let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
        Session::of(self.pid).kill();
        while let Err(Errno::INTR) = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED) {}
    }
}

/// Does what the server orders, tells how the command has ended, and ends what it leaves behind. When the server is gone
/// or has closed the channel, the command is hung up, and killed after the grace period.
pub(super) fn until_over(child: Child, channel: &UnixStream, grace: Duration) {
    let session = Session::of(child.pid);
    let mut hung_up = false;
    let mut kill_at: Option<Instant> = None;
    loop {
        let (ended, told) = wait(&child, (!hung_up).then_some(channel), kill_at);
        if ended {
            break;
        }
        if told {
            match receive::<Order>(channel) {
                Ok(Some((Order::Signal { number }, _))) => {
                    if let Some(signal) = Signal::from_named_raw(number) {
                        let _ = kill_process_group(child.pid, signal);
                    }
                }
                Ok(None) | Err(_) => {
                    hung_up = true;
                    session.hang_up();
                    kill_at = Some(Instant::now() + grace);
                }
            }
        }
        if kill_at.is_some_and(|at| at <= Instant::now()) {
            kill_at = None;
            session.kill();
        }
    }
    let status = child.status();
    let code = status.and_then(|status| {
        status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
    });
    let _ = send(channel, &Reply::Exited { code: code.unwrap_or(255) }, &[]);
    session.end(if hung_up { Duration::ZERO } else { grace });
    child.end();
}

/// Waits for the command's end, a word of the server, or a point in time.
fn wait(child: &Child, channel: Option<&UnixStream>, until: Option<Instant>) -> (bool, bool) {
    let mut fds = vec![PollFd::new(&child.process, PollFlags::IN)];
    fds.extend(channel.map(|channel| PollFd::new(channel, PollFlags::IN)));
    let timeout = until.map(|at| {
        let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 })
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        // Memory ran out in the kernel; there is nothing better to do than to try again soon.
        Err(_) => std::thread::sleep(Duration::from_millis(50)),
    }
    let ready = |i: usize| fds.get(i).is_some_and(|fd: &PollFd<'_>| !fd.revents().is_empty());
    (ready(0), ready(1))
}
