//! Every kind of document that the engine stores: the one place that knows kinds, parents and names.
//!
//! | kind | parent | name | record |
//! |---|---|---|---|
//! | `org` | | `ORG` | [`Organization`](crate::model::Organization) |
//! | `env` | `ORG` | `ENV` | [`Environment`](crate::model::Environment) |
//! | `app` | `ORG` | `APP` | [`AppRecord`] |
//! | `cluster` | | `CLUSTER` | [`ClusterRecord`] |
//! | `grant` | actor | scope | [`Grant`] |
//! | `app_env` | `ORG/ENV` | `APP` | [`AppEnvRecord`] |
//! | `scale` | `ORG/ENV/APP` | `COMPONENT` | [`ScaleRecord`] |
//! | `routes` | `ORG/ENV/APP` | `current` | [`RoutesRecord`] |
//! | `config` | `ORG/ENV/APP` | number | [`ConfigRecord`] |
//! | `secret` | `ORG/ENV/APP` | `NAME.` version | [`SecretRecord`] |
//! | `release` | `ORG/ENV/APP` | number | [`Release`](crate::model::Release) |
//! | `template` | `ORG/ENV/APP` | `COMPONENT.REVISION` | [`TemplateRecord`] |
//! | `rollout` | `ORG/ENV/APP` | `current` | [`RolloutRecord`] |
//! | `track` | `ORG/ENV/APP` | `COMPONENT@CLUSTER` | [`TrackRecord`] |
//! | `run` | `ORG/ENV/APP` | id | [`RunRecord`] |
//! | `schedule` | `ORG/ENV/APP` | `COMPONENT` | [`ScheduleRecord`] |
//! | `event` | `ORG/ENV/APP`, `ORG` or empty | revision and id | [`EventRecord`] |
//! | `audit` | `ORG` or empty | sequence number | [`AuditRecord`](crate::tenancy::AuditRecord) |
//! | `audit_head` | | `ORG` or `platform` | [`AuditHead`](crate::tenancy::AuditHead) |
//! | `request` | actor | request id | [`RequestRecord`] |
//! | `lease` | | shard | of the reconcilers |
//! | `epoch` | | shard | of the reconcilers |
//!
//! Numbers in names are padded with zeros to [`NUMBER_WIDTH`] digits, so that lists come in their order.

mod app;
mod cluster;
mod config;
mod event;
mod release;
mod request;
mod rollout;
mod run;
mod schedule;
mod tenant;
mod tombstone;

pub use app::{AppEnvRecord, AppRecord, Deleting, Offline, RoutesRecord, ScaleRecord, TemplateRecord};
pub use cluster::ClusterRecord;
pub use config::{ConfigRecord, Revoked, SecretRecord};
pub use event::{EventKind, EventRecord};
pub use request::RequestRecord;
pub use rollout::{RolloutRecord, TrackRecord};
pub use run::{RunOrigin, RunRecord};
pub use schedule::{ScheduleRecord, Skipped};
pub use tenant::Grant;
pub use tombstone::{ClusterUseRecord, ForgottenRecord, TombstoneRecord};

use crate::port::DocumentKey;

/// How many digits numbers in names have: those of the largest 64-bit number.
pub const NUMBER_WIDTH: usize = 20;

/// The name of a document that is identified by a number.
pub fn number_name(number: u64) -> String {
    format!("{number:0NUMBER_WIDTH$}")
}

/// The key of a document below an application in an environment.
pub(crate) fn below(kind: &str, at: &crate::name::AppEnv, name: impl Into<String>) -> DocumentKey {
    DocumentKey::new(kind, at.to_string(), name)
}
