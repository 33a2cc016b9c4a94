//! What happened to applications, for people.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::Record;
use crate::model::ReleaseNumber;
use crate::name::{ClusterName, ComponentName};
use crate::port::{DocumentKey, Revision, Scope};

/// Something that happened. Each scope keeps a bounded number of its newest events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// The document's name: the store's revision when it was written, and an id.
    pub id: String,
    /// What it is about.
    pub scope: Scope,
    /// What kind of event it is.
    pub kind: EventKind,
    /// When it happened.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who caused it, such as `user:alice` or `system`.
    pub actor: String,
    /// What happened, as a sentence.
    pub message: String,
    /// The release that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// The component that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentName>,
    /// The cluster that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
}

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// Something was created.
    Created,
    /// Something was changed.
    Changed,
    /// Something is being deleted, or is gone.
    Deleted,
    /// A release was made.
    ReleaseStarted,
    /// A release came a step further.
    ReleaseProgressed,
    /// A release waits for something.
    ReleaseHeld,
    /// A release became the current one.
    ReleaseCommitted,
    /// A release did not become the current one.
    ReleaseAborted,
    /// The number of instances was changed.
    Scaled,
    /// Taken offline.
    Stopped,
    /// Brought back online.
    Started,
    /// Settings or secrets were changed.
    Configured,
    /// Access points were changed.
    Routed,
    /// An instance does not run or serve.
    InstanceFailed,
    /// An instance runs again after a failure.
    InstanceRecovered,
    /// A cluster cannot be reached, or refuses something.
    ClusterFailed,
    /// A command was run in an instance.
    CommandRun,
    /// A run of a scheduled job failed.
    RunFailed,
    /// A scheduled job did not run at a time of its schedule.
    RunSkipped,
    /// Others had changed the space of an environment on a cluster, and it was restored.
    SpaceRestored,
}

impl EventRecord {
    /// The parent of the events of a scope.
    pub fn parent_of(scope: &Scope) -> String {
        match scope {
            Scope::Platform | Scope::Cluster { .. } => String::new(),
            Scope::Org { org } => org.to_string(),
            Scope::Env(env) => env.org.to_string(),
            Scope::App(app) => app.org.to_string(),
            Scope::AppEnv(at) => at.to_string(),
        }
    }

    /// The name of an event that is written when the store is at `base`; names sort by time, ties aside.
    pub fn name_for(base: Revision, id: uuid::Uuid) -> String {
        format!("{}-{}", super::number_name(base.0), id.simple())
    }
}

impl Record for EventRecord {
    const KIND: &'static str = "event";

    fn key(&self) -> DocumentKey {
        DocumentKey::new(Self::KIND, Self::parent_of(&self.scope), &self.id)
    }
}
