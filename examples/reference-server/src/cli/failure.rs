//! Why a command failed, and the exit code that says so.

use std::fmt;

use crate::rest::problem::Problem;

/// What the exit codes mean. They are part of the interface and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// An error that no other code names.
    Error,
    /// The command line is wrong.
    Usage,
    /// The release was aborted or failed.
    Aborted,
    /// The time allowed has passed.
    Timeout,
    /// The server cannot be reached.
    Unreachable,
    /// Not logged in, or not allowed.
    Denied,
    /// The object does not exist.
    NotFound,
    /// The object exists already, or its state does not allow this now.
    Conflict,
    /// The exit code of a command that ran in an instance.
    Command(u8),
}

impl Exit {
    /// The code of the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Error => 1,
            Self::Usage => 2,
            Self::Aborted => 3,
            Self::Timeout => 4,
            Self::Unreachable => 5,
            Self::Denied => 6,
            Self::NotFound => 7,
            Self::Conflict => 8,
            Self::Command(code) => code,
        }
    }
}

/// Why a command failed: a message, the remedy, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    pub remedy: Option<String>,
    /// The problem as the server sent it.
    pub problem: Option<Box<Problem>>,
}

impl Failure {
    /// A failure with this message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), remedy: None, problem: None }
    }

    /// A wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A command in an instance that ended with `code`; it has said why itself.
    pub fn command(code: i32) -> Self {
        Self::new(Exit::Command(u8::try_from(code & 0xff).unwrap_or(1)), "")
    }

    /// Adds what can be done about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.exit == Exit::NotFound
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let exit = match problem.status {
            401 | 403 => Exit::Denied,
            404 => Exit::NotFound,
            409 | 412 => Exit::Conflict,
            504 => Exit::Timeout,
            _ => Exit::Error,
        };
        let mut message = problem.detail.clone();
        for fault in &problem.faults {
            message.push_str("\n  ");
            message.push_str(&fault.to_string());
        }
        Self { exit, message, remedy: problem.remedy.clone(), problem: Some(Box::new(problem)) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Error, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
