//! The server's side of a command.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::Stdio,
    time::Duration,
};

use rustix::{net::Shutdown, pipe::PipeFlags};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixStream,
    process::Command,
};

use super::{
    Order, Reply, Request,
    channel::{receive_async, send_async},
};
use crate::{Error, ErrorKind, Failure, Instance, Result, boot, error::Step, ready};

const OPERATION: &str = "run a command in an instance";
/// Longer than joining an instance takes on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command that runs in an instance.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) control: Control,
    pub(crate) streams: Streams,
}

/// The hold on a command. Dropping it hangs the command up.
#[derive(Debug)]
pub(crate) struct Control(UnixStream);

/// Our ends of a command's streams.
#[derive(Debug)]
pub(crate) enum Streams {
    Terminal(AsyncFd<OwnedFd>),
    /// The input can be closed alone.
    Pipes {
        stdin: Option<AsyncFd<OwnedFd>>,
        stdout: AsyncFd<OwnedFd>,
        stderr: AsyncFd<OwnedFd>,
    },
}

/// A pipe: our end, which does not block, and the command's.
struct Pipe {
    ours: AsyncFd<OwnedFd>,
    theirs: OwnedFd,
}

impl Pipe {
    fn to_command() -> io::Result<Self> {
        let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { ours: watch(ours, Interest::WRITABLE)?, theirs })
    }

    fn from_command() -> io::Result<Self> {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { ours: watch(ours, Interest::READABLE)?, theirs })
    }
}

fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    ready::watch(fd, interest)
}

impl Process {
    /// Starts a command. If this future is dropped, there is no command.
    ///
    /// # Errors
    /// `NotRunning` if the instance has ended; the kinds of [`Instances::start`](crate::Instances::start) if the command
    /// cannot be executed.
    pub(crate) async fn start(instance: &Instance, request: &Request) -> Result<Self> {
        let started = match tokio::time::timeout(PATIENCE, start(instance, request)).await {
            Ok(started) => started,
            Err(_) => Err(Failure::new(ErrorKind::Unavailable, "the instance does not let anything in")),
        };
        started.map_err(|failure| {
            Error::new(failure.kind, OPERATION).with("instance", instance.id()).with_detail(failure.message)
        })
    }
}

impl Control {
    /// Sends a signal to the command's process group.
    pub(crate) async fn signal(&self, number: i32) -> Result<()> {
        let sent = send_async(&self.0, &Order::Signal { number }, &[]).await;
        sent.map_err(|source| Error::io("send a signal to a command", source))
    }

    /// Hangs the command up, as dropping this does, and waits until it has ended or was killed.
    pub(crate) async fn hang_up(&self) {
        // The helper hears nothing more, but still says how the command ended.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
        // A helper that is stuck is not waited for.
        let _ = tokio::time::timeout(PATIENCE, self.exited()).await;
    }

    /// Waits until the command has ended; 128 + n if signal n ended it.
    ///
    /// # Errors
    /// `Unavailable` if that cannot be known any more.
    pub(crate) async fn exited(&self) -> Result<i32> {
        match receive_async::<Reply>(&self.0).await {
            Ok(Some((Reply::Exited { code }, _))) => Ok(code),
            Ok(_) => Err(Error::new(ErrorKind::Unavailable, "wait for a command")
                .with_detail("what watched over it was killed, and the command with it")),
            Err(source) => Err(Error::io("wait for a command", source)),
        }
    }
}

async fn start(instance: &Instance, request: &Request) -> std::result::Result<Process, Failure> {
    let (ours, theirs) = boot::pair().step("make a channel to the command's helper")?;
    ours.set_nonblocking(true).step("watch the helper")?;
    let channel = UnixStream::from_std(ours).step("watch the helper")?;
    let pipes = match request.terminal {
        Some(_) => None,
        None => Some(pipes().step("make the command's pipes")?),
    };
    let helper = Command::new("/proc/self/exe")
        .arg0("paas-exec")
        .arg("__exec")
        .arg(instance.dir().path())
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .step("start the command's helper")?;
    // It ends when the channel closes; until then it is waited for by the runtime of tokio.
    drop(helper);
    let step = "have the command started";
    let (pipes, theirs) = pipes.unzip();
    {
        let theirs: Vec<OwnedFd> = theirs.map(Vec::from).unwrap_or_default();
        let fds: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
        send_async(&channel, request, &fds).await.step(step)?;
    }
    let streams = match receive_async::<Reply>(&channel).await.step(step)? {
        Some((Reply::Started, mut fds)) => match (pipes, fds.pop()) {
            (Some(pipes), _) => pipes,
            (None, Some(terminal)) => {
                let both = Interest::READABLE.add(Interest::WRITABLE);
                Streams::Terminal(watch(terminal, both).step("watch the command's terminal")?)
            }
            (None, None) => return Err(Failure::new(ErrorKind::Protocol, "the helper gave no terminal")),
        },
        Some((Reply::Failed(failure), _)) => return Err(failure),
        Some((Reply::Exited { .. }, _)) | None => {
            return Err(Failure::new(ErrorKind::Unavailable, "the helper ended before the command ran"));
        }
    };
    Ok(Process { control: Control(channel), streams })
}

fn pipes() -> io::Result<(Streams, [OwnedFd; 3])> {
    let (stdin, stdout, stderr) = (Pipe::to_command()?, Pipe::from_command()?, Pipe::from_command()?);
    let streams = Streams::Pipes { stdin: Some(stdin.ours), stdout: stdout.ours, stderr: stderr.ours };
    Ok((streams, [stdin.theirs, stdout.theirs, stderr.theirs]))
}
