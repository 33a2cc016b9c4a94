//! Kubernetes behind the ports of [`paas_core`]: instances, routes, logs and commands on any cluster, without an operator,
//! a mesh or a definition of its own to install first.
//!
//! [`KubernetesCluster`] is the cluster, opened; [`KubernetesDriver`] opens one from a configuration.
//!
//! | port | is here |
//! |---|---|
//! | `Runtime` | a deployment for each revision of a component, a job for each run; the objects of manifests as they are |
//! | `Router` | routes of the Gateway API; without it, shares by counts behind one service |
//! | `Logs`, `Exec` | the API server's own |
//! | `Metrics`, `Nodes` | the metrics server; nodes, with evictions |
//! | `Spaces` | a namespace for each environment, with its bounds |
//!
//! The permissions that it needs are in `rbac.yaml` beside this crate's manifest.
//!
//! Everything made has the labels of its [`Installation`]; what somebody else made is reported and never touched.

mod build;
mod cluster;
mod driver;
mod error;
mod events;
mod exec;
mod forward;
mod logs;
mod manifests;
mod mirror;
mod nodes;
mod options;
mod probe;
mod rbac;
mod router;
mod runtime;
mod scheme;
mod space;
mod trouble;
mod watch;

pub mod client;
#[cfg(feature = "fake")]
pub mod fake;
pub mod gateway_api;

pub use kube;

pub use client::CallLimits;
pub use cluster::KubernetesCluster;
pub use driver::{KubernetesConfig, KubernetesDriver};
pub use events::ClusterEvent;
pub use options::{GatewayOptions, KubernetesOptions, SecurityLevel, SpaceOptions, VolumeOptions};
pub use scheme::Installation;
