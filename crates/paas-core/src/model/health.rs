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
///
/// Written with exactly one of `http`, `tcp` and `command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
#[schemars(with = "Written")]
pub struct Probe {
    /// What is asked.
    pub check: ProbeCheck,
    /// The time between two checks, in seconds. Until the first success the platform may ask more often.
    pub period_seconds: u32,
    /// How long one check may take, in seconds.
    pub timeout_seconds: u32,
    /// How many failures in a row make it failed.
    pub failure_threshold: u32,
    /// How many successes in a row make it passed.
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
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeCheck {
    /// A GET request that must be answered with a status from 200 to 399.
    Http {
        /// The path, beginning with `/`.
        path: String,
        /// The port by name; the component's first port if absent.
        port: Option<PortName>,
    },
    /// A connection that must be accepted.
    Tcp {
        /// The port by name; the component's first port if absent.
        port: Option<PortName>,
    },
    /// A command run in the instance that must exit with 0.
    Command(Vec<String>),
}

/// One probe, with exactly one of `http`, `tcp` and `command`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Probe")]
struct Written {
    /// A GET request that must be answered with a status from 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    http: Option<HttpCheck>,
    /// A connection that must be accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp: Option<TcpCheck>,
    /// A command run in the instance that must exit with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    /// The time between two checks, in seconds.
    #[serde(default = "Probe::default_period")]
    period_seconds: u32,
    /// How long one check may take, in seconds.
    #[serde(default = "Probe::default_timeout")]
    timeout_seconds: u32,
    /// How many failures in a row make it failed.
    #[serde(default = "Probe::default_failures")]
    failure_threshold: u32,
    /// How many successes in a row make it passed.
    #[serde(default = "Probe::default_successes")]
    success_threshold: u32,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpCheck {
    /// The path, beginning with `/`.
    path: String,
    /// The port by name; the component's first port if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<PortName>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TcpCheck {
    /// The port by name; the component's first port if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<PortName>,
}

impl TryFrom<Written> for Probe {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let check = match (written.http, written.tcp, written.command) {
            (Some(http), None, None) => ProbeCheck::Http { path: http.path, port: http.port },
            (None, Some(tcp), None) => ProbeCheck::Tcp { port: tcp.port },
            (None, None, Some(command)) => ProbeCheck::Command(command),
            _ => return Err("a probe needs exactly one of http, tcp and command".to_owned()),
        };
        Ok(Self {
            check,
            period_seconds: written.period_seconds,
            timeout_seconds: written.timeout_seconds,
            failure_threshold: written.failure_threshold,
            success_threshold: written.success_threshold,
        })
    }
}

impl From<Probe> for Written {
    fn from(probe: Probe) -> Self {
        let mut written = Self {
            http: None,
            tcp: None,
            command: None,
            period_seconds: probe.period_seconds,
            timeout_seconds: probe.timeout_seconds,
            failure_threshold: probe.failure_threshold,
            success_threshold: probe.success_threshold,
        };
        match probe.check {
            ProbeCheck::Http { path, port } => written.http = Some(HttpCheck { path, port }),
            ProbeCheck::Tcp { port } => written.tcp = Some(TcpCheck { port }),
            ProbeCheck::Command(command) => written.command = Some(command),
        }
        written
    }
}
