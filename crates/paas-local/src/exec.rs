//! Programs executed in a running instance.
//!
//! The server starts `__exec DIR`, which stays outside: it joins the instance's user and pid namespaces, starts
//! `__exec_inside` in them, watches over it, and ends when it has ended. That one joins the other namespaces, gives up
//! what the instance's own program gave up, and becomes the command.
//!
//! Output does not pass through the helper: the server holds the other ends of the command's pipes, or the terminal. What
//! binds the command to the server is the channel. When that closes, whatever the reason, the helper hangs up: everything
//! in the command's session is told by `SIGHUP`, and killed if it is still there after a grace period. The same is done
//! with what a command leaves behind in its session when it has ended; what shall stay makes a session of its own.

mod channel;
mod join;
mod process;
mod session;
mod watch;

use std::time::Duration;

use rustix::termios::Winsize;
use serde::{Deserialize, Serialize};

use crate::{Failure, InstanceSpec, Secrets, cgroup::Cgroup};

pub(crate) use channel::{receive, send};
pub(crate) use join::main as join_main;
pub(crate) use process::{Control, Process, Streams};

/// What shall run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    pub command: Vec<String>,
    /// The secret part of the instance's environment, which is in none of its files.
    pub secrets: Secrets,
    /// With a terminal of this size; without one, the command's three streams come with the request.
    pub terminal: Option<Size>,
    /// How long the command may go on after it was hung up.
    pub grace: Duration,
}

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size {
    pub rows: u16,
    pub columns: u16,
}

impl From<Size> for Winsize {
    fn from(Size { rows, columns }: Size) -> Self {
        Self { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}

/// What the server is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// The command runs. The terminal comes with it, if it has one.
    Started,
    /// There is no command.
    Failed(Failure),
    /// The command has ended; 128 + n if signal n ended it.
    Exited { code: i32 },
}

/// What the server wants while the command runs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// A signal for the command's process group.
    Signal { number: i32 },
}

/// What `__exec_inside` is told. The command's streams come with it, unless it has a terminal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub request: Request,
    pub spec: InstanceSpec,
    pub cgroup: Option<Cgroup>,
    pub user_namespace: bool,
}

/// What `__exec_inside` answers; it closes the channel by becoming the command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entered {
    /// Our side of the command's terminal comes with it.
    Terminal,
    /// It cannot become the command.
    Failed(Failure),
}
