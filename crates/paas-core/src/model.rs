//! What users declare, and the records that come of it.
//!
//! Every type reads from YAML and JSON, publishes a JSON schema, and is checked whole by [`Validate`].

mod app;
mod component;
mod config;
mod environment;
mod file;
mod health;
mod manifest;
mod release;
mod resources;
mod revision;
mod route;
mod schedule;
mod strategy;
mod validate;

pub use app::{AppSpec, Validate};
pub use component::{
    Component, ComponentKind, Dependency, EnvVar, Instances, Port, Protocol, RestartPolicy, Security,
    Termination, ValueSource, VolumeMount,
};
pub use config::{ConfigEntry, ConfigVersion, SealedSecret, SecretFingerprint, SecretRef};
pub use environment::{ClusterOrder, Environment, OnClusterFailure, OnRunning, Organization, Target};
pub use file::{FileMount, FileSource};
pub use health::{Probe, ProbeCheck, Probes};
pub use manifest::Manifest;
pub use release::{AppVersion, Keep, Release, ReleaseNumber, ReleaseOrigin, ReleaseState, ReleasedComponent};
pub use resources::Resources;
pub use revision::{CallTarget, ResolvedFile, ResolvedValue, RevisionId, Template};
pub use route::RouteSpec;
pub use schedule::{Overlap, Schedule, Timetable};
pub use strategy::{Amount, Percent, StrategySpec};
