//! What instances use.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::InstanceId;
use crate::error::Result;
use crate::name::TrackKey;
use crate::quantity::{Bytes, Cpu};

/// What an instance uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// The processor time per time that went by, averaged over a window that the backend chooses; absent until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// The memory that it holds and that cannot be taken from it without a loss.
    pub memory: Bytes,
}

/// What instances use.
///
/// # Contract
/// - [`Metrics::usage`] tells of the instances of a track for which there are figures; one that was just started may be
///   missing. A track that does not exist has none.
/// - Figures are not older than two minutes.
/// - Where a cluster has no metrics the call fails with
///   [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) and says what has to be installed.
#[async_trait]
pub trait Metrics: fmt::Debug + Send + Sync + 'static {
    /// What the instances of a track use.
    async fn usage(&self, track: &TrackKey) -> Result<BTreeMap<InstanceId, Usage>>;
}
