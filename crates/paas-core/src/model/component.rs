//! A component: one workload of an application.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{FileMount, Manifest, Probes, Resources, Schedule, StrategySpec};
use crate::name::{ComponentName, PortName, VolumeName};

/// One workload of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// The name; other components reach it under this name.
    pub name: ComponentName,
    /// What kind of workload it is.
    #[serde(default)]
    pub kind: ComponentKind,
    /// The image: `name:tag` or `name@sha256:…` in a registry, `oci:PATH[:TAG]` for an OCI layout directory,
    /// `oci-archive:PATH[:TAG]` for an archive. A release pins it to a digest. Every kind but `manifests` needs one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the image's default arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// The working directory, absolute; the image's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The ports it listens on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Environment variables by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvVar>,
    /// Files placed into its file system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileMount>,
    /// Volumes that survive its instances. All instances share each of them; those of the kind `stateful` have each one of
    /// their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// What each instance may use.
    #[serde(default)]
    pub resources: Resources,
    /// How the platform learns that an instance has started, can serve, and still lives.
    #[serde(default)]
    pub probes: Probes,
    /// What happens when an instance ends by itself; `always` for whatever is kept running, `never` for jobs of both
    /// kinds, which run once: a release whose job fails goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// The components that it calls; it can reach no others. A component starts after what it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// How many instances run.
    #[serde(default)]
    pub instances: Instances,
    /// How an instance is taken out of service.
    #[serde(default)]
    pub termination: Termination,
    /// What an instance may do to its own system.
    #[serde(default)]
    pub security: Security,
    /// How a new release replaces the old one, if not as the application says. Of `rolling`, batches, pause and times are in
    /// force for the kind `stateful`, which runs no instance more than declared and lets one be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategySpec>,
    /// When a component of the kind `scheduled_job` runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The objects that a component of the kind `manifests` is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Manifest>,
}

/// What kind of workload a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ComponentKind {
    /// Serves requests on its ports, through routes and to other components.
    #[default]
    Service,
    /// Runs without being called.
    Worker,
    /// Runs to completion once per release.
    Job,
    /// Runs to completion at the times of its schedule. A release starts nothing of it: it says what the next run is.
    ScheduledJob,
    /// Serves requests like a service, or none, with instances that have an identity: each has a number, its ordinal, counted
    /// from 0, and volumes of its own, which come back with it. No two instances with the same ordinal run at once, so a
    /// release ends each instance before its successor starts, the highest ordinal first; with one instance it interrupts.
    Stateful,
    /// Objects of a cluster's own interface, such as Kubernetes YAML, applied as they are: a release makes, changes and
    /// removes them.
    Manifests,
}

impl ComponentKind {
    /// Whether nothing of it is kept running: it runs to completion, and has no instances to count.
    pub fn runs_to_completion(self) -> bool {
        matches!(self, Self::Job | Self::ScheduledJob)
    }

    /// Whether requests reach it on its ports, through routes and from other components.
    pub fn serves(self) -> bool {
        matches!(self, Self::Service | Self::Stateful)
    }
}

/// A port that a component listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The name, unique in the component.
    pub name: PortName,
    /// The TCP port number, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub number: u16,
    /// What is spoken on it.
    #[serde(default)]
    pub protocol: Protocol,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1, HTTP/2 without TLS, WebSocket; routed and counted by request.
    #[default]
    Http,
    /// Any protocol over TCP; routed and counted by connection.
    Tcp,
}

/// The value of an environment variable: plain text, or where it comes from.
///
/// A number or a truth value of YAML or JSON is read as its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EnvVar {
    /// The value itself.
    Value(#[schemars(with = "PlainValue")] String),
    /// A setting or secret of the application's configuration in the environment.
    From(ValueSource),
}

/// What is read as the text of a value.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "describes the schema only")]
enum PlainValue {
    Text(String),
    Number(f64),
    Truth(bool),
}

impl<'de> Deserialize<'de> for EnvVar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = EnvVar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or {config: NAME}, or {secret: NAME}")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<EnvVar, E> {
                Ok(EnvVar::Value(value.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<EnvVar, E> {
                Ok(EnvVar::Value(value.to_string()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<EnvVar, E> {
                Ok(EnvVar::Value(value.to_string()))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<EnvVar, E> {
                Ok(EnvVar::Value(value.to_string()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<EnvVar, E> {
                Ok(EnvVar::Value(value.to_string()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<EnvVar, A::Error> {
                ValueSource::deserialize(de::value::MapAccessDeserializer::new(map)).map(EnvVar::From)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A setting or a secret by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ValueSource {
    /// The setting of this name.
    Config(String),
    /// The secret of this name.
    Secret(String),
}

/// A volume and where an instance sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// The volume's name, unique in the component.
    pub name: VolumeName,
    /// The absolute path in the instance.
    pub path: String,
    /// Whether instances may only read it.
    #[serde(default)]
    pub read_only: bool,
}

/// What happens when an instance ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RestartPolicy {
    /// It is started again, with growing pauses if it ends early.
    Always,
    /// It is started again if it ended with an error.
    OnFailure,
    /// It is not started again.
    Never,
}

/// A component that another one calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The component called, in the same application.
    pub component: ComponentName,
    /// Its port by name; all its ports if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
}

/// How many instances run, and between which bounds the number may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Instances {
    /// The number at the first release. Later releases keep the live number, which scaling changes.
    pub count: u32,
    /// The least that scaling may set.
    pub min: u32,
    /// The most that scaling may set.
    pub max: u32,
}

impl Default for Instances {
    fn default() -> Self {
        Self { count: 1, min: 1, max: 10 }
    }
}

/// How an instance is taken out of service: no new requests, then `drain`, then the stop signal, then `grace`,
/// then it is killed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Termination {
    /// How long requests and connections that are under way may take to end, in seconds. A long-lived
    /// connection, such as a WebSocket, keeps its instance for so long and no longer.
    pub drain_seconds: u32,
    /// The time between the stop signal and the kill, in seconds.
    pub grace_seconds: u32,
}

impl Default for Termination {
    fn default() -> Self {
        Self { drain_seconds: 300, grace_seconds: 10 }
    }
}

/// What an instance may do to its own system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Whether its root file system is read-only (volumes and `/tmp` stay writable).
    pub read_only_root: bool,
    /// The user it runs as: `uid`, `uid:gid` or names of the image; the image's user if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}
