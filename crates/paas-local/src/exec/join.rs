//! `__exec DIR`: what stays outside of the instance for as long as a command runs in it.

use std::{
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Gid, Uid},
    io::Errno,
    mount::MountPropagationFlags,
    process::{DumpableBehavior, Pid, PidfdFlags, pidfd_open},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use super::{
    Entered, Entry, Reply, Request,
    channel::{receive, send},
    watch::{self, Child},
};
use crate::{
    Failure, boot,
    error::{ErrorKind, Step},
    program::sealed_self,
    state::{InstanceDir, State},
};

pub(crate) fn main(dir: &Path) -> ExitCode {
    let Ok(channel) = boot::take_stdin() else { return ExitCode::FAILURE };
    let Ok(Some((request, streams))) = receive::<Request>(&channel) else { return ExitCode::FAILURE };
    // The signals of the server's terminal are not for the command.
    let _ = rustix::process::setsid();
    let grace = request.grace;
    match start(&InstanceDir::new(dir), request, streams, &channel) {
        Ok((child, terminal)) => {
            let fds: Vec<BorrowedFd<'_>> = terminal.iter().map(AsFd::as_fd).collect();
            // If the server is gone, so is the channel, which is noticed at once.
            let _ = send(&channel, &Reply::Started, &fds);
            // The server has the only one: when it closes that, the terminal is gone for the command.
            drop(terminal);
            watch::until_over(child, &channel, grace);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = send(&channel, &Reply::Failed(failure), &[]);
            ExitCode::FAILURE
        }
    }
}

/// Starts the command, and waits until it runs. Gives its terminal, if it has one.
fn start(
    dir: &InstanceDir,
    request: Request,
    streams: Vec<OwnedFd>,
    channel: &UnixStream,
) -> Result<(Child, Option<OwnedFd>), Failure> {
    let spec = dir.read_spec().map_err(|error| Failure::new(error.kind(), error.chain()))?;
    let state = dir.read_state().map_err(|error| Failure::new(error.kind(), error.chain()))?;
    let state = state.ok_or_else(ended)?;
    let (entry, user_namespace) = {
        let State { cgroup, user_namespace, .. } = state.clone();
        (Entry { request, spec, cgroup, user_namespace }, user_namespace)
    };
    let started = join(dir, &state, user_namespace).and_then(|(child, inside)| {
        match enter(&entry, &streams, &inside, channel) {
            Ok(terminal) => Ok((child, terminal)),
            Err(failure) => {
                child.end();
                Err(failure)
            }
        }
    });
    // Whatever the kernel said of an instance that ends meanwhile.
    started.map_err(|failure| if state.is_alive() { failure } else { ended() })
}

fn ended() -> Failure {
    Failure::new(ErrorKind::NotRunning, "the instance has ended")
}

/// Starts a process in the instance's user and pid namespaces, and gives the channel to it.
fn join(dir: &InstanceDir, state: &State, user_namespace: bool) -> Result<(Child, UnixStream), Failure> {
    let first = Pid::from_raw(state.pid).ok_or_else(ended)?;
    let first = pidfd_open(first, PidfdFlags::empty()).map_err(|errno| match errno {
        Errno::SRCH => ended(),
        errno => Failure::io("find the instance's first process", errno),
    })?;
    // The descriptor holds the process that has the number now; only then is it compared.
    if !state.is_alive() {
        return Err(ended());
    }
    // The new process shares this one's memory for a moment, and is seen by those of the instance.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step("hide from other processes")?;
    if user_namespace {
        move_into_thread_name_spaces(first.as_fd(), ThreadNameSpaceType::USER)
            .step("join the instance's user namespace")?;
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
            .step("become group 0 of the namespace")?;
        rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
            .step("become user 0 of the namespace")?;
    }
    // For the program's own read-only mount. The instance's mounts are joined by who does not start this program again.
    unshare(CloneFlags::CLONE_NEWNS).step("make a mount namespace")?;
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .step("detach the mounts from the host's")?;
    let program = sealed_self(dir)?;
    let (ours, theirs) = boot::pair().step("make a channel into the instance")?;
    move_into_thread_name_spaces(first.as_fd(), ThreadNameSpaceType::PROCESS_ID)
        .step("join the instance's pid namespace")?;
    let child = Command::new(program.path())
        .arg0("paas-exec")
        .arg("__exec_inside")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .step("start a process in the instance")?;
    let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = raw.ok_or_else(|| Failure::new(ErrorKind::Io, "a child has no pid"))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).step("watch a process in the instance")?;
    Ok((Child { pid, process }, ours))
}

/// Tells the new process what to become, and waits until it has, or says why not.
fn enter(
    entry: &Entry,
    streams: &[OwnedFd],
    inside: &UnixStream,
    server: &UnixStream,
) -> Result<Option<OwnedFd>, Failure> {
    let fds: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).collect();
    let step = "start the command in the instance";
    send(inside, entry, &fds).step(step)?;
    let mut terminal = None;
    loop {
        wait_for_either(inside, server).step(step)?;
        match receive::<Entered>(inside).step(step)? {
            Some((Entered::Terminal, mut fds)) => terminal = fds.pop(),
            Some((Entered::Failed(failure), _)) => return Err(failure),
            None => return Ok(terminal),
        }
    }
}

/// Waits for a word from inside; fails if the server closes the channel before.
fn wait_for_either(inside: &UnixStream, server: &UnixStream) -> std::io::Result<()> {
    loop {
        // The server has nothing to say yet, and whether it is there is told without asking.
        let mut fds = [PollFd::new(inside, PollFlags::IN), PollFd::new(server, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) if !fds[1].revents().is_empty() => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
