//! Carrying bytes between a command and whoever asked for it.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;

use futures::future::join_all;
use paas_core::port::{ExecInput, ExecOutput, ExecSession};
use paas_core::{Error, ErrorKind, Result};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::OPERATION;
use super::input::{Input, feed};
use crate::exec::{Process, Streams};

/// How many pieces of input or output wait at most.
pub(super) const PIECES: usize = 16;
const PIECE_BYTES: usize = 16 << 10;
/// The most that is read of a stream after the end of its command: more than a pipe or a terminal holds, so that only
/// what other processes go on printing is cut.
const REST_BYTES: usize = 1 << 20;

pub(super) type Outputs = mpsc::Sender<Result<ExecOutput>>;
/// A stream of the command, and what its bytes are for the caller.
type From<'a> = (&'a AsyncFd<OwnedFd>, fn(Vec<u8>) -> ExecOutput);

/// A session from the ends of its two channels.
pub(super) fn session(
    input: mpsc::Sender<ExecInput>,
    output: mpsc::Receiver<Result<ExecOutput>>,
) -> ExecSession {
    let output = futures::stream::unfold(output, |mut output| async move {
        output.recv().await.map(|piece| (piece, output))
    });
    ExecSession { input, output: Box::pin(output) }
}

/// Gives a command to its caller. It is hung up when the session is dropped, or the machine is closed.
pub(super) fn open(process: Process, stdin: bool, closing: CancellationToken) -> ExecSession {
    let (input, inputs) = mpsc::channel(PIECES);
    let (outputs, output) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let mut process = process;
        let last = tokio::select! {
            last = carry(&mut process, stdin, inputs, &outputs) => last,
            () = closing.cancelled() => Err(Error::new(ErrorKind::Unavailable, "go on with a command")
                .with_remedy("The machine was closed.")),
        };
        drop(process);
        // Nobody has to listen.
        let _ = outputs.send(last).await;
    });
    session(input, output)
}

/// Carries until the command has ended and everything that it printed was passed on, or nobody listens any more.
pub(super) async fn carry(
    process: &mut Process,
    stdin: bool,
    inputs: mpsc::Receiver<ExecInput>,
    outputs: &Outputs,
) -> Result<ExecOutput> {
    let Process { control, streams } = process;
    let control = &*control;
    let stdin_end = match streams {
        Streams::Pipes { stdin, .. } => stdin.take(),
        Streams::Terminal(_) => None,
    };
    let (terminal, from): (_, Vec<From<'_>>) = match &*streams {
        Streams::Terminal(terminal) => (Some(terminal), vec![(terminal, ExecOutput::Stdout)]),
        Streams::Pipes { stdout, stderr, .. } => {
            (None, vec![(stdout, ExecOutput::Stdout), (stderr, ExecOutput::Stderr)])
        }
    };
    let code = {
        let feed = async {
            let mut input = Input::new(stdin_end, terminal);
            if !stdin {
                input.end();
            }
            feed(control, input, inputs).await;
            pending().await
        };
        let copy = async {
            join_all(from.iter().map(|from| copy(*from, outputs))).await;
            pending().await
        };
        tokio::select! {
            code = control.exited() => code.map_err(|error| {
                Error::new(ErrorKind::Lost, "find out how a command ended").with_source(error)
            })?,
            () = outputs.closed() => return Err(Error::new(ErrorKind::Cancelled, OPERATION)),
            never = feed => never,
            never = copy => never,
        }
    };
    for from in from {
        rest(from, outputs).await;
    }
    Ok(ExecOutput::Exit(code))
}

/// Passes on what a stream gives until it ends. Whenever this is dropped, nothing that was read is lost.
async fn copy((stream, piece): From<'_>, outputs: &Outputs) {
    loop {
        // First the room, then the bytes.
        let Ok(room) = outputs.reserve().await else { return };
        match read(stream).await {
            Ok(bytes) if !bytes.is_empty() => room.send(Ok(piece(bytes))),
            // The other side of a terminal that nobody has open gives an error.
            Ok(_) | Err(_) => return,
        }
    }
}

/// Passes on what a stream still holds.
async fn rest((stream, piece): From<'_>, outputs: &Outputs) {
    let mut left = REST_BYTES;
    while left > 0
        && let Ok(bytes) = read_now(stream.get_ref())
        && !bytes.is_empty()
    {
        left = left.saturating_sub(bytes.len());
        if outputs.send(Ok(piece(bytes))).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &AsyncFd<OwnedFd>) -> io::Result<Vec<u8>> {
    loop {
        let mut ready = stream.readable().await?;
        if let Ok(outcome) = ready.try_io(|stream| read_now(stream.get_ref())) {
            return outcome;
        }
    }
}

fn read_now(stream: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut buffer = [0; PIECE_BYTES];
    loop {
        match rustix::io::read(stream, &mut buffer) {
            Ok(count) => return Ok(buffer[..count].to_vec()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
