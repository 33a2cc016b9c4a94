//! What is said over the control socket.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::codec::LengthDelimitedCodec;

use crate::{
    Config, Error, ErrorKind,
    config::{Fault, Faults, InstanceId},
};

/// The version of the control protocol that this build speaks. Calls, and members of what they carry, may be added
/// within a version.
pub const CONTROL_VERSION: u32 = 1;

/// The longest message: a config of some ten thousand instances has a tenth of it.
const LONGEST: usize = 64 << 20;

pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(LONGEST).new_codec()
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub(super) enum Call {
    Hello { versions: Vec<u32> },
    Apply { config: Box<Config> },
    Config,
    Status,
    WaitDrained { instances: Vec<InstanceId>, timeout_ms: u64 },
    Statistics,
    WatchDrains,
    Shutdown { grace_ms: u64 },
}

impl Call {
    /// How long an answer may take.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::WaitDrained { timeout_ms, .. } => {
                Duration::from_millis(*timeout_ms).saturating_add(Duration::from_secs(5))
            }
            Self::Apply { .. } => Duration::from_secs(30),
            _ => Duration::from_secs(10),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer<T> {
    Ok(T),
    Error(Refused),
}

/// What a gateway says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the control protocol to be spoken.
    pub version: u32,
    /// The process of the gateway.
    pub pid: u32,
    /// The version of this crate that it was built of.
    pub build: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refused {
    kind: Kind,
    message: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    faults: Vec<Fault>,
}

/// A kind that this build may not know yet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Kind {
    Known(ErrorKind),
    Unknown(String),
}

impl From<&Error> for Refused {
    fn from(error: &Error) -> Self {
        let faults = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Faults>());
        Self {
            kind: Kind::Known(error.kind()),
            message: if faults.is_some() { error.to_string() } else { error.chain() },
            faults: faults.map(|faults| faults.0.clone()).unwrap_or_default(),
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let kind = match refused.kind {
            Kind::Known(kind) => kind,
            Kind::Unknown(_) => ErrorKind::Protocol,
        };
        let error = Self::new(kind, "have the gateway do as asked").with_detail(refused.message);
        if refused.faults.is_empty() { error } else { error.because(Faults(refused.faults)) }
    }
}
