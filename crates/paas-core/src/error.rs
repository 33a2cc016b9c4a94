//! The one public error of every port and of the engine.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The named object does not exist.
    NotFound,
    /// An object of this name exists already.
    AlreadyExists,
    /// The object changed since it was read, or is in a state that does not allow the operation.
    Conflict,
    /// No valid credentials were presented.
    Unauthenticated,
    /// The actor may not do this.
    Denied,
    /// A quota is used up.
    QuotaExceeded,
    /// The input is wrong; [`Error::faults`] names every fault.
    Invalid,
    /// The backend lacks the capability; nothing was done.
    Unsupported,
    /// The backend cannot be reached or is overloaded; nothing is known about the outcome.
    Unavailable,
    /// The caller's fencing epoch is older than one already seen: another server owns the work.
    Fenced,
    /// The requested point of a feed is no longer kept: list again.
    Compacted,
    /// A reader was too slow for a bounded stream: list again.
    Lagged,
    /// The input exceeds a size bound.
    TooLarge,
    /// A thing that was running has vanished and its outcome is unknown.
    Lost,
    /// The caller stopped the operation.
    Cancelled,
    /// The time allowed has passed.
    Timeout,
    /// A defect of the platform or of its host.
    Internal,
}

impl ErrorKind {
    /// The kind in `snake_case`, as it appears in API answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Fenced => "fenced",
            Self::Compacted => "compacted",
            Self::Lagged => "lagged",
            Self::TooLarge => "too_large",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether repeating the operation can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// The same call gives the same answer.
    Never,
    /// The same call may succeed later.
    Later,
    /// The caller has to read the object again first.
    AfterRead,
}

/// One fault of an input, with the path of the field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Fault {
    /// Where, for example `components[1].ports[0].number`; empty for the whole input.
    pub path: String,
    /// What is wrong with which value, and the remedy.
    pub message: String,
}

impl Fault {
    /// A fault at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl StdError for Fault {}

/// The result of every fallible operation in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation that failed: its kind, what it was, on which objects, and why.
///
/// `Display` says what failed with which objects, without the source; [`Error::report`] prints the whole chain.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    faults: Vec<Fault>,
    remedy: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` while doing `operation`, which reads after "failed to": `"store a release"`.
    pub fn new(kind: ErrorKind, operation: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: operation.into(),
            context: Vec::new(),
            faults: Vec::new(),
            remedy: None,
            source: None,
        }))
    }

    /// An [`ErrorKind::Invalid`] with all faults of an input.
    pub fn invalid(operation: impl Into<Cow<'static, str>>, faults: Vec<Fault>) -> Self {
        let mut error = Self::new(ErrorKind::Invalid, operation);
        error.0.faults = faults;
        error
    }

    /// An [`ErrorKind::NotFound`] for the object `name` of the given noun.
    pub fn not_found(noun: &'static str, name: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("find the {noun}")).with_context(noun, name)
    }

    /// Adds a pair that identifies the object or names a parameter.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Adds the faults that led to it, each with the path of the field.
    #[must_use]
    pub fn with_faults(mut self, faults: Vec<Fault>) -> Self {
        self.0.faults.extend(faults);
        self
    }

    /// Adds the underlying cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what the user can do about it, as a whole sentence.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done.
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// The objects and parameters of the operation.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// Every fault of an invalid input; empty for other kinds.
    pub fn faults(&self) -> &[Fault] {
        &self.0.faults
    }

    /// What the user can do about it.
    pub fn remedy(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// Whether repeating the operation can help.
    pub fn retry(&self) -> Retry {
        match self.0.kind {
            ErrorKind::Unavailable | ErrorKind::Timeout => Retry::Later,
            ErrorKind::Conflict | ErrorKind::Compacted | ErrorKind::Lagged => Retry::AfterRead,
            _ => Retry::Never,
        }
    }

    /// The message with all its sources, faults and the remedy, for a log line or a terminal.
    pub fn report(&self) -> String {
        use fmt::Write as _;
        let mut text = self.to_string();
        let mut source = StdError::source(self);
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        for fault in &self.0.faults {
            let _ = write!(text, "\n  {fault}");
        }
        if let Some(remedy) = &self.0.remedy {
            let _ = write!(text, "\n{remedy}");
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}", self.0.operation)?;
        for (i, (name, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{name} {value}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        if self.0.source.is_none() && self.0.faults.is_empty() && self.0.kind != ErrorKind::Internal {
            write!(f, ": {}", self.0.kind.as_str().replace('_', " "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("context", &self.0.context)
            .field("faults", &self.0.faults)
            .field("remedy", &self.0.remedy)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}
