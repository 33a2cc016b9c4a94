//! An application: its components and access points.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Component, RouteSpec, StrategySpec};
use crate::error::{Error, Fault};

/// An application as its team declares it: the content of `paas.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppSpec {
    /// The components, at least one, with distinct names.
    pub components: Vec<Component>,
    /// The access points through which the outside reaches components.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSpec>,
    /// How a new release replaces the old one; the environment's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategySpec>,
}

impl AppSpec {
    /// The JSON schema of `paas.yaml` (JSON Schema, draft 2020-12).
    pub fn json_schema_document() -> serde_json::Value {
        schemars::schema_for!(AppSpec).into()
    }
}

/// Checks a declared object whole: every fault with its path, not the first one only.
pub trait Validate {
    /// Appends the faults of this value, whose own path is `path` (empty at the root).
    fn faults(&self, path: &str, faults: &mut Vec<Fault>);

    /// Checks the value as a whole.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with every fault.
    fn validate(&self, operation: &'static str) -> Result<(), Error> {
        let mut faults = Vec::new();
        self.faults("", &mut faults);
        if faults.is_empty() { Ok(()) } else { Err(Error::invalid(operation, faults)) }
    }
}
