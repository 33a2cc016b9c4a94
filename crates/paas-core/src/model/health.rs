//! Probes: how the platform learns that an instance has started, can serve, and still lives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::PortName;

/// The probes of a component. Without a readiness probe a service is ready when its first port accepts a
/// connection, and a worker when it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probes {
    /// Must pass once before the others begin; a slow start is not a dead instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
    /// Whether requests are sent to the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// Whether the instance still lives; it is restarted if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What is asked.
    #[serde(flatten)]
    pub check: ProbeCheck,
    /// The time between two checks, in seconds. Until the first success the platform may ask more often.
    #[serde(default = "Probe::default_period")]
    pub period_seconds: u32,
    /// How long one check may take, in seconds.
    #[serde(default = "Probe::default_timeout")]
    pub timeout_seconds: u32,
    /// How many failures in a row make it failed.
    #[serde(default = "Probe::default_failures")]
    pub failure_threshold: u32,
    /// How many successes in a row make it passed.
    #[serde(default = "Probe::default_successes")]
    pub success_threshold: u32,
}

impl Probe {
    /// A probe with the default period (10 s), timeout (1 s) and thresholds (3 failures, 1 success).
    pub fn new(check: ProbeCheck) -> Self {
        Self {
            check,
            period_seconds: Self::default_period(),
            timeout_seconds: Self::default_timeout(),
            failure_threshold: Self::default_failures(),
            success_threshold: Self::default_successes(),
        }
    }

    fn default_period() -> u32 {
        10
    }

    fn default_timeout() -> u32 {
        1
    }

    fn default_failures() -> u32 {
        3
    }

    fn default_successes() -> u32 {
        1
    }
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProbeCheck {
    /// A GET request that must be answered with a status from 200 to 399.
    Http {
        /// The path, beginning with `/`.
        path: String,
        /// The port by name; the component's first port if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<PortName>,
    },
    /// A connection that must be accepted.
    Tcp {
        /// The port by name; the component's first port if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<PortName>,
    },
    /// A command run in the instance that must exit with 0.
    Command(Vec<String>),
}
