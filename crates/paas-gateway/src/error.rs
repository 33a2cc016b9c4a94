//! The one error of this crate.

use std::{error::Error as StdError, fmt};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input is wrong; sending it again cannot help.
    Invalid,
    /// The input is older than what is in force.
    Stale,
    /// The other side is not there (yet, or any more); a retry can help.
    Unavailable,
    /// The other side was too slow; a retry can help.
    Timeout,
    /// The other side speaks another version, or does not keep to the protocol.
    Protocol,
    /// Somebody else holds what was asked for: a lock, an address.
    Conflict,
    /// The operating system refused.
    Io,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anything being changed by the caller.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Stale => "stale",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timed out",
            Self::Protocol => "protocol violated",
            Self::Conflict => "conflict",
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

    /// An error whose kind follows from that of the system's error.
    pub fn io(operation: &'static str, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::NotFound
            | Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::BrokenPipe
            | Io::UnexpectedEof
            | Io::NotConnected => ErrorKind::Unavailable,
            Io::TimedOut => ErrorKind::Timeout,
            Io::AddrInUse => ErrorKind::Conflict,
            _ => ErrorKind::Io,
        };
        Self::new(kind, operation).because(source)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_objects_and_leaves_the_cause_to_the_chain() {
        let error = Error::io("bind a listener", std::io::Error::from(std::io::ErrorKind::AddrInUse))
            .with("listener", "http")
            .with("address", "127.0.0.1:80");
        assert_eq!(error.to_string(), "failed to bind a listener (listener=http, address=127.0.0.1:80)");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.chain().ends_with(": address in use"), "{}", error.chain());
    }
}
