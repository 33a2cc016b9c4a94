//! How an application is: composed from its documents and from what the clusters show at the moment of asking.

mod clusters;
mod compose;
mod schedules;
mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::ReleaseSummary;
use crate::engine::{Outage, RunRecord, Skipped};
use crate::model::{ComponentKind, ReleaseNumber, RevisionId, RouteSpec, Schedule};
use crate::name::{AppEnv, ClusterName, ComponentName};
use crate::port::{ExitStatus, ImagePull, InstanceFailure, InstanceId, InstancePhase, Revision};

/// How an application is in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppStatus {
    /// The application in its environment.
    pub at: AppEnv,
    /// In a word.
    pub state: AppState,
    /// Why it is not simply running, as sentences; empty if it is.
    pub reasons: Vec<String>,
    /// The current release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<ReleaseSummary>,
    /// The release that is under way, or that was aborted last and is newer than the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// The components, in the order in which they are declared.
    pub components: Vec<ComponentStatus>,
    /// The clusters of the environment, in their order, then those that it is leaving.
    pub clusters: Vec<ClusterStatus>,
    /// The access points.
    pub routes: Vec<RouteStatus>,
    /// The version of the configuration that the next release takes.
    pub config: u64,
    /// The revision of the store that the documents were read at: events from here on are not in this status.
    pub revision: Revision,
}

/// How an application is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AppState {
    /// It has no release yet.
    NotDeployed,
    /// A release is under way.
    Releasing,
    /// Every component has the instances that were declared, all ready.
    Running,
    /// It serves, with fewer ready instances than declared.
    Degraded,
    /// A component has no ready instance.
    Failing,
    /// It was taken offline.
    Stopped,
    /// It is being deleted.
    Deleting,
    /// A cluster cannot be asked.
    Unknown,
}

impl AppState {
    /// The state in `snake_case`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotDeployed => "not_deployed",
            Self::Releasing => "releasing",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
            Self::Unknown => "unknown",
        }
    }
}

/// How an application is on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterStatus {
    /// The cluster.
    pub cluster: ClusterName,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The release that every component there has, or the oldest that any has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// That it cannot be reached, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<Outage>,
    /// The components whose versions, instances and traffic there are not known because of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<ComponentName>,
    /// Why it is not at the current release, or what is done about it, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// Whether the application leaves it, because the environment does not have it any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// How far a release is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutStatus {
    /// The release.
    pub release: ReleaseNumber,
    /// The release that was current when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseNumber>,
    /// `running`, `aborting`, `committed` or `aborted`.
    pub state: String,
    /// Why it is aborted or being aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether a user paused it.
    pub paused: bool,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Who began it.
    pub actor: String,
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// The releases that wait for it to end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<ReleaseNumber>,
}

/// How a component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentStatus {
    /// Its name.
    pub name: ComponentName,
    /// What kind of workload it is.
    pub kind: ComponentKind,
    /// The declared number of instances on each cluster.
    pub count: u32,
    /// Whether it was taken offline.
    pub offline: bool,
    /// How many instances are declared on all clusters together; none while it is offline.
    pub desired: u32,
    /// How many of its instances can serve.
    pub ready: u32,
    /// When it runs, if it is a scheduled job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
    /// Each cluster's part.
    pub tracks: Vec<TrackStatus>,
}

/// How a scheduled job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleStatus {
    /// The schedule in force.
    pub schedule: Schedule,
    /// When it runs next; absent while it is offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub next: Option<Timestamp>,
    /// The run that was made last, which may be under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<RunRecord>,
    /// How many runs are under way.
    pub under_way: u32,
    /// The times at which nothing has run since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

/// How a component is on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrackStatus {
    /// The cluster.
    pub cluster: ClusterName,
    /// Where its release machine is, such as `Idle` or `Step(1).Ready`.
    pub phase: String,
    /// The step of the plan, from 1, and how many there are, while a release is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<(usize, usize)>,
    /// What keeps it from advancing, as sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<String>,
    /// When the release is aborted unless there is progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub deadline: Option<Timestamp>,
    /// The versions that have instances or traffic.
    pub versions: Vec<VersionStatus>,
    /// The instances, those that drain included.
    pub instances: Vec<InstanceStatus>,
    /// Why the cluster could not be asked; versions and instances are then unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
}

/// A version of a component on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionStatus {
    /// The revision.
    pub revision: RevisionId,
    /// The release that brought it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// How many instances it shall have.
    pub desired: u32,
    /// How many exist.
    pub total: u32,
    /// How many can serve.
    pub ready: u32,
    /// Its share of the requests, of the sum over all versions; absent if no router shares them out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// The identity.
    pub id: InstanceId,
    /// Its ordinal, if the component is stateful.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u32>,
    /// Its revision.
    pub revision: RevisionId,
    /// The release that brought the revision, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// Where it is in its life.
    pub phase: InstancePhase,
    /// Since when it can serve without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ready_since: Option<Timestamp>,
    /// When its process last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// How often it was started again.
    pub restarts: u32,
    /// How its process last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<ExitStatus>,
    /// Why it does not run or serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<InstanceFailure>,
    /// How far its image has come while it is being fetched, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<ImagePull>,
}

/// An access point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteStatus {
    /// The access point as declared.
    #[serde(flatten)]
    pub route: RouteSpec,
    /// The addresses that reach it, by cluster; empty until a router has it.
    pub addresses: BTreeMap<ClusterName, String>,
}
