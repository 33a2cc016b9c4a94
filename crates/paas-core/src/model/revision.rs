//! What makes a component's instances what they are, rendered once and stored.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ComponentKind, Manifest, Port, Probes, Resources, RestartPolicy, SecretRef, Security, Termination,
    VolumeMount,
};
use crate::error::Fault;
use crate::name::ComponentKey;

/// The identity of a template: the first 12 hexadecimal digits of the SHA-256 of its canonical form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct RevisionId(String);

impl RevisionId {
    /// Checks and wraps an identity.
    ///
    /// # Errors
    /// A [`Fault`] if it is not 1 to 63 lower-case letters, digits and hyphens.
    pub fn new(value: impl Into<String>) -> Result<Self, Fault> {
        let value = value.into();
        let valid = !value.is_empty()
            && value.len() <= 63
            && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if valid { Ok(Self(value)) } else { Err(Fault::new("", format!("{value:?} is not a revision"))) }
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RevisionId {
    type Err = Fault;
    fn from_str(value: &str) -> Result<Self, Fault> {
        Self::new(value)
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for RevisionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(|fault| serde::de::Error::custom(fault.message))
    }
}

/// Everything that makes an instance of a component what it is, with configuration resolved and the image
/// pinned. Its number of instances is not part of it.
///
/// The revision is a hash over a versioned canonical form of this record. It is computed once, when the
/// release is made, and stored with the template; no later version of the SDK computes it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    /// The component.
    pub component: ComponentKey,
    /// What kind of workload it is.
    pub kind: ComponentKind,
    /// The image as declared, for people.
    pub image: String,
    /// The digest of the image's manifest or index, `sha256:…`: what runs.
    pub digest: String,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the image's default arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The ports it listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Environment variables, resolved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, ResolvedValue>,
    /// Files, resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ResolvedFile>,
    /// Volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// Limits.
    #[serde(default)]
    pub resources: Resources,
    /// Probes.
    #[serde(default)]
    pub probes: Probes,
    /// What happens when an instance ends by itself.
    pub restart: RestartPolicy,
    /// The components that it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallTarget>,
    /// How an instance is taken out of service.
    #[serde(default)]
    pub termination: Termination,
    /// What an instance may do to its own system.
    #[serde(default)]
    pub security: Security,
    /// The objects of a component of the kind `manifests`. The values of their secrets are in `env`, under
    /// [`Manifest::value_name`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Manifest>,
    /// Changed by a restart, so that equal content makes a new revision.
    #[serde(default)]
    pub restart_nonce: u64,
}

/// A value with its configuration resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResolvedValue {
    /// Plain text.
    Plain(String),
    /// A secret, revealed to the runtime only.
    Secret(SecretRef),
}

/// A file with its configuration resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResolvedFile {
    /// The absolute path.
    pub path: String,
    /// What is in it.
    pub content: ResolvedValue,
    /// The permission bits.
    pub mode: u32,
}

/// A port of another component that a component may call, under that component's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallTarget {
    /// The component called.
    pub component: ComponentKey,
    /// Its port.
    pub port: Port,
}
