//! What each instance of a component may use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{Bytes, Cpu};

/// What each instance may use. An absent limit is the platform's default, and the backend's bound at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Processor time that one instance may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory that one instance may use; beyond it the instance is killed and named as out of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Space that one instance may write outside volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Bytes>,
    /// Processes and threads that one instance may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}
