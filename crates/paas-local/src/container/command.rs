//! `__exec_inside`: a further program in a running container.

use std::{
    convert::Infallible,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::ExitCode,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{DumpableBehavior, Pid, PidfdFlags, Signal},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use super::{
    init::{enter, limit_resources},
    privileges::drop_privileges,
    program::{Environment, execute},
    terminal,
    user::{self, Identity},
};
use crate::{
    Failure, boot,
    error::{ErrorKind, Step},
    exec::{self, Entered, Entry, Size},
};

pub(crate) fn main() -> ExitCode {
    let Ok(channel) = boot::take_stdin() else { return ExitCode::from(125) };
    let Ok(Some((entry, streams))) = exec::receive::<Entry>(&channel) else {
        // Whoever started us is gone, and with it the reason to run.
        return ExitCode::from(125);
    };
    let Err(failure) = run(entry, streams, &channel);
    let _ = exec::send(&channel, &Entered::Failed(failure), &[]);
    ExitCode::from(125)
}

fn run(entry: Entry, streams: Vec<OwnedFd>, channel: &UnixStream) -> Result<Infallible, Failure> {
    let Entry { request, spec, cgroup, user_namespace } = entry;
    // What this process is and holds is nobody's business until it is one of the instance's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step("hide from other processes")?;
    if let Some(cgroup) = &cgroup {
        cgroup.join().step("join the control group")?;
    }
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    join()?;
    rustix::process::setsid().step("make a session")?;
    let identity = user::resolve(spec.user.as_deref())?;
    let mut environment = Environment::of_instance(&spec, request.secrets.env, &identity);
    match request.terminal {
        Some(size) => {
            take_terminal(size, &identity, channel)?;
            environment = environment.or("TERM", "xterm");
        }
        None => take_pipes(&streams, &identity)?,
    }
    drop(streams);
    limit_resources(&spec.limits)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    enter(spec.working_dir.as_deref(), spec.read_only_root)?;
    // Whatever the embedding program had open without close-on-exec must not reach the command.
    close_fds::set_fds_cloexec(3, &[]);
    drop_privileges(&identity, user_namespace)?;
    bind_to_helper(channel)?;
    execute(&request.command, &environment)
}

/// Joins the namespaces of the container's first process, which is the first one that this process sees.
fn join() -> Result<(), Failure> {
    let first = rustix::process::pidfd_open(Pid::INIT, PidfdFlags::empty()).step("find the container")?;
    let namespaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::NETWORK;
    move_into_thread_name_spaces(first.as_fd(), namespaces).step("join the container's namespaces")?;
    // Old kernels lack it, and nothing depends on it.
    let _ = move_into_thread_name_spaces(first.as_fd(), ThreadNameSpaceType::CONTROL_GROUP);
    Ok(())
}

fn take_terminal(size: Size, identity: &Identity, channel: &UnixStream) -> Result<(), Failure> {
    let (ours, theirs) = terminal::open(size, identity)?;
    exec::send(channel, &Entered::Terminal, &[ours.as_fd()]).step("hand the terminal over")?;
    rustix::process::ioctl_tiocsctty(&theirs).step("make the terminal that of the session")?;
    take_streams([&theirs, &theirs, &theirs])
}

fn take_pipes(streams: &[OwnedFd], identity: &Identity) -> Result<(), Failure> {
    let [stdin, stdout, stderr] = streams else {
        return Err(Failure::new(ErrorKind::Protocol, "a command has three streams"));
    };
    take_streams([stdin, stdout, stderr])?;
    identity.own_standard_streams();
    Ok(())
}

fn take_streams([stdin, stdout, stderr]: [&OwnedFd; 3]) -> Result<(), Failure> {
    rustix::stdio::dup2_stdin(stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(stderr))
        .step("connect the command's streams")
}

/// Ends with the helper outside, should that be killed. The kernel forgets the wish when a process changes its user, so
/// this comes last.
fn bind_to_helper(channel: &UnixStream) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step("be bound to the helper")?;
    // It may have been killed before.
    let mut helper = [PollFd::new(channel, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut helper, Some(&now)).step("look for the helper")?;
    if helper[0].revents().is_empty() {
        Ok(())
    } else {
        Err(Failure::new(ErrorKind::Unavailable, "the helper outside is gone"))
    }
}
