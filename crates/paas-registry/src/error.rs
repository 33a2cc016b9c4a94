//! The one public error of the crate.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a call of this crate answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was, for callers that act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something given by the caller or found in a document does not parse.
    Invalid,
    /// The image, tag, manifest or blob does not exist.
    NotFound,
    /// The registry wants credentials, or refuses those it got.
    Denied,
    /// The registry asks to slow down, and kept asking.
    RateLimited,
    /// The registry cannot be reached (name, connection, TLS, time-out) or answers with server errors.
    Unavailable,
    /// Content differs from its digest or size.
    Corrupt,
    /// A media type, compression or feature that this crate does not handle.
    Unsupported,
    /// A bound of [`Limits`](crate::Limits) was exceeded.
    TooLarge,
    /// A layer tries what no honest layer does, such as writing outside its root.
    Hostile,
    /// The image exists, but not for the wanted platform.
    WrongPlatform,
    /// The disk or the quota is full.
    DiskFull,
    /// Another process works on the same thing and did not finish in time.
    Busy,
    /// Any other failure of the operating system.
    Io,
}

impl ErrorKind {
    /// The kind in words, as it appears in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not found",
            Self::Denied => "access denied",
            Self::RateLimited => "rate limited",
            Self::Unavailable => "unavailable",
            Self::Corrupt => "corrupt content",
            Self::Unsupported => "unsupported",
            Self::TooLarge => "too large",
            Self::Hostile => "hostile layer refused",
            Self::WrongPlatform => "no image for this platform",
            Self::DiskFull => "disk full",
            Self::Busy => "busy",
            Self::Io => "input/output error",
        }
    }

    const fn default_remedy(self) -> Option<&'static str> {
        match self {
            Self::Denied => Some("log in to the registry, or give credentials that may pull this image"),
            Self::RateLimited => Some("wait and try again, or log in for a higher limit"),
            Self::Unavailable => {
                Some("check the registry's address, the network and the registry itself, then try again")
            }
            Self::Corrupt => Some("pull or build the image again; if it stays, the source is damaged"),
            Self::Hostile => Some("do not use this image; build it again from a source that you trust"),
            Self::DiskFull => Some("free some space or remove unused images, then try again"),
            Self::Busy => Some("wait until the other process has finished"),
            _ => None,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure: its kind, what failed, the objects that it concerned, what to do, and the cause.
///
/// `Display` is one line, "failed to …", with the objects and the remedy and without the cause, which
/// [`std::error::Error::source`] gives.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    remedy: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure of `operation` ("pull image"): `message` says what was wrong.
    ///
    /// Public because implementations of [`Source`](crate::Source) outside this crate answer with it.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation,
            message: message.into(),
            context: Vec::new(),
            remedy: None,
            source: None,
        }))
    }

    /// A failure of the operating system; a full disk or a missing file get their own kinds.
    pub fn io(operation: &'static str, error: std::io::Error) -> Self {
        // Readers below us wrap our own errors into `io::Error`; they come out again as they were.
        let error = match error.downcast::<Self>() {
            Ok(own) => return own,
            Err(error) => error,
        };
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        };
        Self::new(kind, operation, error.to_string()).with_source(error)
    }

    /// Adds the object that the failure concerns.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        if !self.0.context.iter().any(|(k, _)| *k == key) {
            self.0.context.push((key, value.to_string()));
        }
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        matches!(self.0.kind, ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Busy)
    }

    /// What failed, as a verb phrase.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// What was wrong, without the operation, the objects and the remedy.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The objects that it concerned.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// What to do about it, if anything is known.
    pub fn remedy(&self) -> Option<&str> {
        self.0.remedy.as_deref().or(self.0.kind.default_remedy())
    }

    /// This error inside an [`std::io::Error`], for readers; [`Error::io`] gets it out again.
    pub(crate) fn into_io(self) -> std::io::Error {
        std::io::Error::other(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.0.operation)?;
        for (index, (key, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{key} {value}", if index == 0 { " (" } else { ", " })?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        write!(f, ": {}: {}", self.0.kind, self.0.message)?;
        match self.remedy() {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("message", &self.0.message)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
