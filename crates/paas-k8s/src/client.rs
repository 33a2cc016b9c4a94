//! The way to an API server: every call has a time limit, calls are bounded in number and rate, and nothing is repeated
//! that could happen twice.
//!
//! kube itself has no read timeout and repeats any verb, POST too; its own retries are switched off here.

mod body;
mod bounded;
mod pace;

use std::fmt;
use std::time::Duration;

use kube::Client;
use kube::client::ClientBuilder;
use paas_core::{Error, ErrorKind, Result};
use tower::Layer;

pub use bounded::{Bounded, BoundedCalls};

/// The bounds of calls to one API server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallLimits {
    /// How long one call may take, its answer included; also the longest silence of a stream that sends bookmarks.
    pub timeout: Duration,
    /// The longest silence of a watch, in which the server sends a bookmark about every minute.
    pub watch_silence: Duration,
    /// How many calls may be under way at once; streams count until they begin.
    pub concurrent: usize,
    /// How many calls may begin in a second, in the long run.
    pub per_second: u32,
    /// How many calls may begin at once after a pause.
    pub burst: u32,
    /// How often a call that can be repeated is repeated.
    pub retries: u32,
    /// The longest pause that the server may ask for and get; beyond it the caller is told.
    pub longest_pause: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            watch_silence: Duration::from_secs(150),
            concurrent: 32,
            per_second: 100,
            burst: 200,
            retries: 4,
            longest_pause: Duration::from_secs(10),
        }
    }
}

impl CallLimits {
    /// Says how long one call may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Says how often a call that can be repeated is repeated.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Says how many calls may be under way at once.
    #[must_use]
    pub fn with_concurrent(mut self, concurrent: usize) -> Self {
        self.concurrent = concurrent.max(1);
        self
    }
}

/// Why a call was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// There was no answer in time. The call may have been carried out.
    TimedOut(Duration),
    /// The call could not be made.
    Failed(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(after) => write!(f, "the API server did not answer within {after:?}"),
            Self::Failed(why) => write!(f, "the API server cannot be reached: {why}"),
        }
    }
}

impl std::error::Error for CallError {}

/// A client for a configuration of kube, with bounds.
///
/// # Errors
/// [`ErrorKind::Invalid`] if certificates or addresses of the configuration cannot be used.
pub fn connect(mut config: kube::Config, limits: CallLimits) -> Result<Client> {
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(|error| {
        Error::new(ErrorKind::Invalid, "use the credentials of a cluster").with_source(error)
    })?;
    Ok(builder.with_layer(&BoundedCalls::new(limits)).build())
}

/// A client over any service that answers as an API server does, with bounds.
pub fn over<S, B>(service: S, limits: CallLimits) -> Client
where
    S: tower::Service<http::Request<kube::client::Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<tower::BoxError> + Send + Sync,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    Client::new(BoundedCalls::new(limits).layer(service), "default")
}
