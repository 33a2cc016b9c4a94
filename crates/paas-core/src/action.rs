//! Actions: everything that a user may do, and the one way to do it.
//!
//! An [`Action`] names the permission that it needs and the scope that it is about, checks its own input, and
//! prepares changes in a [`Work`]. [`Session::perform`](crate::engine::Session::perform) runs it: authorise (what
//! nothing allows is denied), validate (all faults at once), recognise a repeated request, prepare, and commit the
//! changes together with the audit record and the request record in one transaction. Embedders define actions of
//! their own with the same trait.

mod app;
mod audit;
mod cluster;
mod config;
mod control;
mod delete;
mod deploy;
mod env;
mod event;
mod grant;
mod node;
mod org;
mod page;
mod perform;
mod release;
mod restart;
mod rollback;
mod route;
mod run;
mod scale;
mod stream;
mod traffic;
mod work;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Fault, Result};
use crate::port::{DocumentKey, Permission, Revision, Scope, SecretValue};

pub use app::{AppInfo, CreateApp, GetApp, ListApps, ListStatus, NewApp, Status};
pub use audit::{AuditPage, ReadAudit};
pub use cluster::{
    AddCluster, ClusterChange, ClusterRemoval, ClusterState, ClusterView, GetCluster, ListClusters,
    NewCluster, PreviewRemoveCluster, RemoveCluster, UpdateCluster,
};
pub use config::{
    ConfigChange, ConfigItem, ConfigSummary, ConfigView, ConfigWritten, GetConfig, ListConfigHistory,
    RevokeSecret, SecretView, SetConfig, SetSecret, UnsetSecret,
};
pub use control::{AbortRelease, PauseRelease, ResumeRelease, RetryRelease, StartApp, StopApp};
pub use delete::{DeleteApp, DeleteAppEnv, DeletionPreview, PreviewDelete};
pub use deploy::{Deploy, DeployApp, DeployChange, ReleaseStarted, StartedComponent};
pub use env::{CreateEnv, DeleteEnv, EnvChange, EnvInfo, GetEnv, ListEnvs, NewEnv, UpdateEnv};
pub use event::ListEvents;
pub use grant::{GrantRole, ListGrants, RevokeGrant};
pub use node::{NodeUse, ReadNodes, ReadUsage, UseNode};
pub use org::{CreateOrg, DeleteOrg, GetOrg, ListOrgs, NewOrg, OrgChange, UpdateOrg};
pub use page::{ListPage, PageOptions, Versioned};
pub use release::{Change, Diff, DiffReleases, GetRelease, ListReleases, ReleaseSummary};
pub use restart::RestartApp;
pub use rollback::{Rollback, RollbackApp, RollbackTarget};
pub use route::{AddRoute, GetRoutes, RemoveRoute, RoutesView, SetRoutes};
pub use run::{AttachRun, GetRun, ListRuns, RunCommand, StopRun};
pub use scale::{ScaleApp, Scaled};
pub use stream::{ReadEvents, ReadLogs, UseExec};
pub use traffic::{ReadAllTraffic, ReadTraffic};
pub use work::Work;

pub(crate) use deploy::render::secret_refs;
pub(crate) use deploy::rollout::plan::on_cluster as plan_on_cluster;
pub(crate) use perform::{AuditTrail, Call, Denials, perform};
pub(crate) use route::merged as merged_routes;
pub(crate) use run::ATTENDED;

/// How an action is carried out and recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing. Only its denials are recorded.
    Read,
    /// It changes documents, and is recorded in their transaction.
    Change,
    /// It changes no document but does something worth a record, such as opening a terminal in an instance.
    Access,
}

/// Something that a user may do.
///
/// [`Action::run`] may be called several times for one request, when others changed what it had read: it must have no
/// effect but the changes that it leaves in its [`Work`].
#[async_trait]
pub trait Action: Send + Sync {
    /// What it answers. The answer is stored with the request id, so it must never hold a secret.
    type Output: Serialize + DeserializeOwned + Send + Sync;

    /// The name in audit records, such as `app.deploy`.
    const NAME: &'static str;

    /// Whether and how it changes anything.
    const EFFECT: Effect;

    /// What the actor needs.
    fn permission(&self) -> Permission;

    /// On what.
    fn scope(&self) -> Scope;

    /// Whether everybody may ask, because the action leaves out of its answer what the actor may not see.
    fn is_filtered(&self) -> bool {
        false
    }

    /// Appends every fault of the input that can be found without looking anything up.
    fn validate(&self, faults: &mut Vec<Fault>) {
        let _ = faults;
    }

    /// The input as far as audit records may show it: never a secret.
    fn detail(&self) -> Value;

    /// The whole input but its secrets, by which a repeated request is told from another one; it is stored as a hash.
    fn input(&self) -> Value {
        self.detail()
    }

    /// The secrets in the input, so that a repeated request can be told from another one.
    fn secrets(&self) -> Vec<&SecretValue> {
        Vec::new()
    }

    /// The document that [`RequestOptions::expected_revision`] is about.
    fn target(&self) -> Option<DocumentKey> {
        None
    }

    /// Completes the answer with the revision of the commit.
    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        let _ = (output, revision);
    }

    /// Prepares the changes and the answer.
    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output>;
}

/// How a single request is carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestOptions {
    /// Makes the request safe to repeat: the same id by the same actor gets the same answer for 24 hours, and another
    /// input under it is a [`Conflict`](crate::ErrorKind::Conflict). 1 to 200 printable characters.
    pub request_id: Option<String>,
    /// The request fails with [`Conflict`](crate::ErrorKind::Conflict) unless the object was last changed by this
    /// commit.
    pub expected_revision: Option<Revision>,
    /// Everything happens but the commit.
    pub dry_run: bool,
}
