//! The one error of this crate.

use std::{error::Error as StdError, fmt, io};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The specification is wrong; the same one fails again.
    InvalidSpec,
    /// The image cannot be run as it is: a missing `/etc` of the wrong type, no layers, a path that is not a directory.
    InvalidImage,
    /// The program to run is not in the image, or its interpreter or dynamic loader is not.
    EntryPointMissing,
    /// The program to run exists, but may not be executed.
    EntryPointNotExecutable,
    /// The program to run is for another processor or not a program at all.
    WrongArchitecture,
    /// The image's user or group is unknown to the image, or cannot be had on this host.
    BadUser,
    /// The working directory cannot be entered.
    BadWorkingDirectory,
    /// No such instance.
    NotFound,
    /// An instance of this name exists.
    AlreadyExists,
    /// The instance is not running any more.
    NotRunning,
    /// Another process holds what was asked for, such as the state directory.
    Busy,
    /// This host lacks what was asked for.
    Unsupported,
    /// The other side does not answer (yet, or any more); a retry can help.
    Unavailable,
    /// Another version is spoken on the other side, or it does not keep to the protocol.
    Protocol,
    /// The operating system refused.
    Io,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anything being changed by the caller.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Busy | Self::Io)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidSpec => "the specification is invalid",
            Self::InvalidImage => "the image is invalid",
            Self::EntryPointMissing => "the entry point is missing",
            Self::EntryPointNotExecutable => "the entry point is not executable",
            Self::WrongArchitecture => "the entry point is not a program for this machine",
            Self::BadUser => "the user cannot be had",
            Self::BadWorkingDirectory => "the working directory cannot be entered",
            Self::NotFound => "not found",
            Self::AlreadyExists => "exists already",
            Self::NotRunning => "not running",
            Self::Busy => "held by another process",
            Self::Unsupported => "not supported on this host",
            Self::Unavailable => "unavailable",
            Self::Protocol => "protocol violated",
            Self::Io => "refused by the system",
        }
    }
}

/// What failed, with which object, and why. `Display` does not repeat the [source](StdError::source).
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    detail: String,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of the operation, which completes the phrase "failed to …".
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self { kind, operation, detail: String::new(), context: Vec::new(), source: None }
    }

    /// An error whose kind follows from that of the system's error.
    pub fn io(operation: &'static str, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected
            | io::ErrorKind::TimedOut => ErrorKind::Unavailable,
            _ => ErrorKind::Io,
        };
        Self::new(kind, operation).because(source)
    }

    /// Says in words what was wrong, and what to do about it.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Names an object that took part.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.context.push((key, value.to_string()));
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was tried.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The objects that took part.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.context
    }

    /// What was wrong, in words; empty if the source says it all.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The error and its causes in one line, for a log.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.operation)?;
        for (i, (key, value)) in self.context.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.context.is_empty() {
            f.write_str(")")?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)
        } else if self.source.is_none() {
            write!(f, ": {}", self.kind.as_str())
        } else {
            Ok(())
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<paas_gateway::Error> for Error {
    fn from(source: paas_gateway::Error) -> Self {
        use paas_gateway::ErrorKind as Theirs;
        let kind = match source.kind() {
            Theirs::Protocol => ErrorKind::Protocol,
            Theirs::Invalid => ErrorKind::InvalidSpec,
            Theirs::Unavailable | Theirs::Timeout => ErrorKind::Unavailable,
            Theirs::Conflict => ErrorKind::Busy,
            _ => ErrorKind::Io,
        };
        Self::new(kind, "talk to a process of the runtime").because(source)
    }
}

/// Why a container could not be made, as it travels from the process that saw it to the one that reports it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What failed and why, in one line.
    pub message: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A step that the system refused.
    pub(crate) fn io(step: impl fmt::Display, source: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Io, format!("{step}: {source}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Failure {}

/// Names the step that failed.
pub(crate) trait Step<T> {
    fn step(self, step: impl fmt::Display) -> std::result::Result<T, Failure>;
}

impl<T, E: fmt::Display> Step<T> for std::result::Result<T, E> {
    fn step(self, step: impl fmt::Display) -> std::result::Result<T, Failure> {
        self.map_err(|source| Failure::io(step, source))
    }
}
