//! Commands inside instances.

use std::fmt;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{BoxStream, InstanceId, RunInput};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TrackKey;

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

impl Default for TerminalSize {
    /// That of most terminals whose size is not known: 80 columns of 24 rows.
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// Where a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecTarget {
    /// In a running instance of the track; the first ready one if none is named.
    Instance(TrackKey, Option<InstanceId>),
    /// Attached to a run that was started with [`Runtime::start_run`](super::Runtime::start_run).
    Run(InstanceId),
}

/// What runs and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOptions {
    /// The command and its arguments; at least one word, except when attaching to a run.
    pub command: Vec<String>,
    /// With a terminal of this size; without one, output and error output stay apart.
    pub terminal: Option<TerminalSize>,
    /// Whether input is passed on.
    pub stdin: bool,
}

impl ExecOptions {
    /// Refuses what a run was not started with.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub fn check_run(&self, id: &InstanceId, input: RunInput) -> Result<()> {
        let lacks = match input {
            RunInput::None if self.stdin => "input",
            RunInput::None | RunInput::Stream if self.terminal.is_some() => "a terminal",
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Unsupported, format!("attach to a run with {lacks}"))
            .with_context("run", id)
            .with_remedy(format!("It was started without; start one with {lacks}.")))
    }
}

/// What the caller sends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecInput {
    /// Bytes for the standard input.
    Stdin(Vec<u8>),
    /// The end of the standard input.
    CloseStdin,
    /// The terminal has another size.
    Resize(TerminalSize),
    /// A signal for the command, by number.
    Signal(i32),
}

/// What the command gives back. [`ExecOutput::Exit`] is the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecOutput {
    /// Bytes of the standard output, or of the terminal.
    Stdout(Vec<u8>),
    /// Bytes of the error output.
    Stderr(Vec<u8>),
    /// The command ended with this code; 128 + n if signal n ended it.
    Exit(i32),
}

/// A command under way.
pub struct ExecSession {
    /// Takes input; bounded. Dropping it closes the standard input.
    pub input: mpsc::Sender<ExecInput>,
    /// Gives output, then the exit code.
    pub output: BoxStream<ExecOutput>,
}

impl fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecSession").finish_non_exhaustive()
    }
}

/// Commands inside instances.
///
/// # Contract
/// - The command runs with the instance's user, environment, limits and rights.
/// - A command that does not exist in the image fails with [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming it.
/// - Dropping the session ends the command (hang-up, then kill), also that of a run with input or a terminal; any other
///   run that is attached to goes on.
/// - Who attaches to a run passes input only to one that was started with it, and has a terminal only of one that was
///   started with that: anything else is [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported). What a run prints is
///   not lost to one who attaches late.
/// - Every byte that the command printed before it ended comes before the exit code.
/// - No instance that runs is [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
#[async_trait]
pub trait Exec: fmt::Debug + Send + Sync + 'static {
    /// Starts a command, or attaches to a run.
    async fn exec(&self, target: &ExecTarget, options: &ExecOptions) -> Result<ExecSession>;
}
