//! The engine: composes the ports into a platform, keeps its documents, and runs the actions and the reconcilers.
//!
//! - [`Platform`] is built from ports; [`Session`] is what an actor does with it.
//! - [`documents`] is the one place that knows every kind of document; [`Collections`] and [`Changes`] read and write
//!   them with their types.
//! - [`Services`] is what actions and reconcilers share.

mod builder;
mod canonical;
mod clusters;
mod collection;
mod conditions;
mod deletion;
pub mod documents;
mod events;
mod history;
mod lease;
mod outages;
mod platform;
mod queue;
mod reconcile;
mod rollout;
mod secrets;
mod services;
mod session;
mod status;

pub use builder::{PlatformBuilder, Settings};
pub use canonical::canonical_json;
pub use clusters::ClusterSet;
pub(crate) use clusters::open_request;
pub use collection::{Changes, Collections, Record, Records, Stored};
pub use conditions::{Condition, Conditions, Subject};
pub use deletion::remove_documents;
pub use documents::{
    AppEnvRecord, AppRecord, ClusterRecord, ClusterUseRecord, ConfigRecord, Deleting, EventKind, EventRecord,
    ForgottenRecord, Grant, Offline, RequestRecord, Revoked, RolloutRecord, RoutesRecord, RunOrigin,
    RunRecord, ScaleRecord, ScheduleRecord, SecretRecord, Skipped, TemplateRecord, TombstoneRecord,
    TrackRecord, number_name,
};
pub use events::EventLog;
pub use history::prune;
pub use lease::{LeaseOptions, OnHeld};
pub use outages::{Outage, Outages};
pub use platform::Platform;
pub use queue::{Backoff, KeyedQueue, Work};
pub use rollout::{Advanced, RolloutView, advance};
pub use secrets::SecretResolver;
pub use services::Services;
pub use session::{
    AppTraffic, AppUsage, CallTraffic, EventAt, InstanceUsage, LatencySummary, Outcome, Progress,
    RouteTraffic, Session, SilentCluster, TrafficSummary, VersionTraffic,
};
pub use status::{
    AppState, AppStatus, ClusterStatus, ComponentStatus, InstanceStatus, RolloutStatus, RouteStatus,
    ScheduleStatus, TrackStatus, VersionStatus,
};
