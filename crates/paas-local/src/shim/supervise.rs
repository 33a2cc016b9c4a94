//! The loop of a shim.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use paas_gateway::handover::{self, Answer, Packet};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{SendFlags, SocketFlags, accept_with},
    process::{Signal, WaitId, WaitIdOptions},
};

use super::{
    control::{Effect, Operation, ShimRequest, ShimStatus, done},
    log::{STDERR, STDOUT},
    prepare::Running,
};
use crate::state::{Exit, ExitSlot, InstanceDir, handles};

/// More connections than the server, the gateway and some readers of logs need.
const MAX_CLIENTS: usize = 64;
/// The most readers of logs, so that they keep nobody else out. The others look at the log from time to time.
const MAX_FOLLOWERS: usize = 32;

struct Client {
    socket: OwnedFd,
    follows_log: bool,
}

struct Shim<'a> {
    dir: &'a InstanceDir,
    running: Running,
    clients: Vec<Client>,
    kill_at: Option<Instant>,
}

pub(super) fn run(dir: &InstanceDir, running: Running, slot: ExitSlot) -> ExitCode {
    let mut shim = Shim { dir, running, clients: Vec::new(), kill_at: None };
    while !shim.turn() {}
    shim.end(slot)
}

impl Shim<'_> {
    /// Waits for something to happen, and deals with it; `true` when the instance has ended.
    fn turn(&mut self) -> bool {
        let Ready { ended, stdout, stderr, control, clients } = self.wait();
        let mut wrote = false;
        if stdout {
            wrote |= self.running.log.read_from(&self.running.stdout, STDOUT);
        }
        if stderr {
            wrote |= self.running.log.read_from(&self.running.stderr, STDERR);
        }
        // From behind, so that the places of the others stay.
        for i in clients.into_iter().rev() {
            if !self.serve(i) {
                self.clients.swap_remove(i);
            }
        }
        if control
            && let Ok(socket) =
                accept_with(&self.running.control, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
            && self.clients.len() < MAX_CLIENTS
        {
            self.clients.push(Client { socket, follows_log: false });
        }
        if wrote {
            self.wake_followers();
        }
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            let _ = rustix::process::pidfd_send_signal(&self.running.pidfd, Signal::KILL);
        }
        ended
    }

    fn wait(&self) -> Ready {
        let mut fds = vec![
            PollFd::new(&self.running.pidfd, PollFlags::IN),
            PollFd::new(&self.running.stdout, PollFlags::IN),
            PollFd::new(&self.running.stderr, PollFlags::IN),
            PollFd::new(&self.running.control, PollFlags::IN),
        ];
        fds.extend(self.clients.iter().map(|client| PollFd::new(&client.socket, PollFlags::IN)));
        let timeout = self.kill_at.map(|at| {
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 })
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // Memory ran out in the kernel; there is nothing better to do than to try again soon.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
        let ready = |i: usize| fds.get(i).is_some_and(|fd: &PollFd<'_>| !fd.revents().is_empty());
        Ready {
            ended: ready(0),
            stdout: ready(1),
            stderr: ready(2),
            control: ready(3),
            clients: (0..self.clients.len()).filter(|i| ready(4 + i)).collect(),
        }
    }

    /// Answers one request; `false` when the connection is of no more use.
    fn serve(&mut self, client: usize) -> bool {
        let socket = &self.clients[client].socket;
        let bytes = match handover::recv(socket) {
            Ok(Some(Packet { bytes, .. })) => bytes,
            Ok(None) | Err(_) => return false,
        };
        match serde_json::from_slice(&bytes) {
            Ok(ShimRequest::Handover(request)) => {
                let (reply, handed) = handover::answer(&request, &self.running.listeners);
                let fds: Vec<BorrowedFd<'_>> = handed.iter().map(AsFd::as_fd).collect();
                handover::send_json(socket, &reply, &fds).is_ok()
            }
            Ok(ShimRequest::Own(operation)) => self.operate(client, &operation),
            Err(error) => {
                let answer: Answer<()> =
                    Answer::Error(format!("this shim does not know the request: {error}"));
                handover::send_json(socket, &answer, &[]).is_ok()
            }
        }
    }

    fn operate(&mut self, client: usize, operation: &Operation) -> bool {
        let answer = match operation.effect() {
            Effect::None => serde_json::to_value(self.status())
                .map_or_else(|error| Answer::Error(error.to_string()), Answer::Ok),
            Effect::Signal(number) => self.signal(number),
            Effect::Stop(grace) => self.stop(grace),
            Effect::Follow => {
                if self.clients.iter().filter(|client| client.follows_log).count() >= MAX_FOLLOWERS {
                    return false;
                }
                self.clients[client].follows_log = true;
                done()
            }
        };
        handover::send_json(&self.clients[client].socket, &answer, &[]).is_ok()
    }

    fn status(&self) -> ShimStatus {
        ShimStatus {
            pid: self.running.state.pid,
            started_at: self.running.state.started_at,
            dropped_log_bytes: self.running.log.dropped(),
            stopping: self.kill_at.is_some(),
        }
    }

    fn signal(&self, number: i32) -> Answer<serde_json::Value> {
        let Some(signal) = Signal::from_named_raw(number) else {
            return Answer::Error(format!("there is no signal {number}"));
        };
        match rustix::process::pidfd_send_signal(&self.running.pidfd, signal) {
            // It has ended already; its exit record says how.
            Ok(()) | Err(Errno::SRCH) => done(),
            Err(errno) => Answer::Error(format!("cannot send signal {number}: {errno}")),
        }
    }

    /// The kernel withholds from pid 1 the signals for which it has no handler. Outside of a container such a program
    /// would end at once, so there is nothing to wait for here either.
    fn stop(&mut self, grace: Duration) -> Answer<serde_json::Value> {
        let signal = self.running.stop_signal;
        if signal == Signal::KILL.as_raw() || grace.is_zero() || !handles(self.running.state.pid, signal) {
            return self.signal(Signal::KILL.as_raw());
        }
        let at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
        self.signal(signal)
    }

    fn wake_followers(&mut self) {
        self.clients.retain(|client| {
            !client.follows_log
                // A reader that is behind has a waiting packet already, which is all it needs.
                || !matches!(
                    rustix::net::send(&client.socket, b"{}", SendFlags::NOSIGNAL | SendFlags::DONTWAIT),
                    Err(errno) if errno != Errno::AGAIN
                )
        });
    }

    /// Writes the end down, and leaves nothing behind but the folder.
    fn end(mut self, slot: ExitSlot) -> ExitCode {
        let status =
            rustix::process::waitid(WaitId::PidFd(self.running.pidfd.as_fd()), WaitIdOptions::EXITED);
        self.running.log.drain(&self.running.stdout, STDOUT);
        self.running.log.drain(&self.running.stderr, STDERR);
        self.running.log.finish();
        let mut exit = Exit::now();
        if let Ok(Some(status)) = status {
            exit.code = status.exit_status();
            exit.signal = status.terminating_signal();
        }
        if let Some(cgroup) = &self.running.state.cgroup {
            exit.out_of_memory = cgroup.out_of_memory();
        }
        let written = slot.fill(self.dir, &exit);
        // Whoever watches learns of the end by the closed connection, and finds the record.
        let _ = std::fs::remove_file(self.dir.socket());
        self.clients.clear();
        // With pid 1 everything else of its namespace is gone, or will be in a moment.
        if let Some(cgroup) = &self.running.state.cgroup {
            cgroup.remove(Duration::from_secs(1));
        }
        if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

struct Ready {
    ended: bool,
    stdout: bool,
    stderr: bool,
    control: bool,
    clients: Vec<usize>,
}
