//! What a shim does on request, besides handing over sockets.

use std::time::Duration;

use jiff::Timestamp;
use paas_gateway::handover::{Answer, Request};
use serde::{Deserialize, Serialize};

/// A request on `shim.sock`: the gateway's, or one of our own.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ShimRequest {
    Handover(Request),
    Own(Operation),
}

/// The server's operations. They belong to the version of the protocol that `hello` agrees on; a shim of an older one
/// answers what it does not know with an error, and the server does without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Operation {
    /// How the instance is.
    Status,
    /// Sends a signal to pid 1 of the instance.
    Signal { number: i32 },
    /// Asks the instance to end, and kills it when the time is over. Said again, the earlier end of time counts.
    Stop { grace_ms: u64 },
    /// From now on an empty document comes on this connection whenever something was written to the log.
    Follow,
}

/// How an instance is, as its shim sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShimStatus {
    pub pid: i32,
    pub started_at: Timestamp,
    /// Bytes of output that were dropped because the disk was full.
    #[serde(default)]
    pub dropped_log_bytes: u64,
    #[serde(default)]
    pub stopping: bool,
}

/// What is done with a request of our own.
#[derive(Debug)]
pub(super) enum Effect {
    None,
    Signal(i32),
    Stop(Duration),
    Follow,
}

/// The answer of a request that has no value to it.
pub(super) fn done() -> Answer<serde_json::Value> {
    Answer::Ok(serde_json::Value::Object(serde_json::Map::new()))
}

impl Operation {
    pub(super) fn effect(&self) -> Effect {
        match self {
            Self::Status => Effect::None,
            Self::Signal { number } => Effect::Signal(*number),
            Self::Stop { grace_ms } => Effect::Stop(Duration::from_millis(*grace_ms)),
            Self::Follow => Effect::Follow,
        }
    }
}
