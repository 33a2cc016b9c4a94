//! Objects as somebody wrote them for a cluster's own interface.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ValueSource;

/// An object of a cluster's own interface, such as Kubernetes' `Deployment`: `apiVersion`, `kind`, `metadata.name`, and
/// what its kind has.
///
/// An object of the kind `Secret` holds no values. Each entry of its `stringData` says where its value comes from, as
/// `{secret: NAME}` or `{config: NAME}`, so that no record has a value in plain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Manifest(pub Map<String, Value>);

impl Manifest {
    /// The group and version of its kind, such as `apps/v1`; empty if it has none.
    pub fn api_version(&self) -> &str {
        self.text("apiVersion")
    }

    /// The group of its kind, such as `apps`; empty for the oldest kinds.
    pub fn group(&self) -> &str {
        self.api_version().rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// Its kind, such as `Deployment`; empty if it has none.
    pub fn kind(&self) -> &str {
        self.text("kind")
    }

    /// Its name; empty if it has none.
    pub fn name(&self) -> &str {
        self.0.get("metadata").and_then(|meta| meta.get("name")).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is a Kubernetes `Secret`.
    pub fn is_secret(&self) -> bool {
        self.kind() == "Secret" && self.group().is_empty()
    }

    /// Whether data is lost with it: it is a volume, or has volumes made.
    pub fn keeps_data(&self) -> bool {
        let templates = self.0.get("spec").and_then(|spec| spec.get("volumeClaimTemplates"));
        let has_some = templates.and_then(Value::as_array).is_some_and(|all| !all.is_empty());
        self.kind() == "PersistentVolumeClaim" || has_some
    }

    /// Where the values of a `Secret` come from, by their keys; nothing for what is no source.
    pub fn secret_values(&self) -> impl Iterator<Item = (&str, Option<ValueSource>)> {
        let data = self.0.get("stringData").filter(|_| self.is_secret()).and_then(Value::as_object);
        data.into_iter().flatten().map(|(key, value)| {
            let source = value.is_object().then(|| serde_json::from_value(value.clone()).ok()).flatten();
            (key.as_str(), source)
        })
    }

    /// Under which name a template keeps the value of a `Secret`'s key.
    pub fn value_name(&self, key: &str) -> String {
        format!("{self}/{key}")
    }

    fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

impl fmt::Display for Manifest {
    /// `Deployment/web`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.name())
    }
}
