//! The processes of a session: a command, and what it started.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::state::session_of;

/// How often it is looked whether a session is empty.
const PAUSE: Duration = Duration::from_millis(10);

/// A session, by the number of the process that made it. That number is nobody else's as long as a process of the session
/// lives, or the first one was not waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session(Pid);

impl Session {
    /// The session that a process has made, or is about to make.
    pub(super) fn of(leader: Pid) -> Self {
        Self(leader)
    }

    /// Tells every process of it that the terminal is gone, whether or not there was one. Stopped ones are woken.
    pub(super) fn hang_up(self) {
        self.signal(Signal::HUP);
        self.signal(Signal::CONT);
    }

    pub(super) fn kill(self) {
        self.signal(Signal::KILL);
    }

    /// Ends what is left of it, and waits until it is gone or was killed.
    pub(super) fn end(self, grace: Duration) {
        if self.members().is_empty() {
            return;
        }
        self.hang_up();
        let until = Instant::now() + grace;
        while !self.members().is_empty() {
            if Instant::now() >= until {
                self.kill();
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn signal(self, signal: Signal) {
        // The group of the command itself, even where /proc hides the processes of other users.
        let _ = kill_process_group(self.0, signal);
        for member in self.members() {
            let Ok(process) = pidfd_open(member, PidfdFlags::empty()) else { continue };
            // The descriptor holds the process that has the number now; only then is its session compared.
            let raw = member.as_raw_nonzero().get();
            let has_got_it = rustix::process::getpgid(Some(member)).is_ok_and(|group| group == self.0);
            if !has_got_it && session_of(raw) == Some(self.number()) {
                let _ = pidfd_send_signal(&process, signal);
            }
        }
    }

    fn members(self) -> Vec<Pid> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| session_of(*pid) == Some(self.number()))
            .filter_map(Pid::from_raw)
            .collect()
    }

    fn number(self) -> i32 {
        self.0.as_raw_nonzero().get()
    }
}
