//! Removing clusters: what is still on one is named, and forgotten only if somebody insists.

use std::collections::BTreeSet;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::added;
use crate::action::{Action, Effect, Work};
use crate::engine::{
    ClusterRecord, ClusterUseRecord, EventKind, ForgottenRecord, RunRecord, Stored, TombstoneRecord,
    TrackRecord,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Environment;
use crate::name::{AppEnv, ClusterName, EnvRef};
use crate::port::{DocumentKey, ListOptions, Permission, Scope};
use crate::tenancy::permissions;

/// What stands in the way of removing a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterRemoval {
    /// The cluster.
    pub cluster: ClusterName,
    /// The environments that target it: it is not removed before they do not.
    pub environments: Vec<EnvRef>,
    /// The applications that are still being taken away there. Without the cluster their instances, volumes and access points
    /// stay where they are.
    pub leaving: BTreeSet<AppEnv>,
    /// The applications that were deleted while it could not be reached; what they left there stays, too.
    pub deleted: BTreeSet<AppEnv>,
}

impl ClusterRemoval {
    async fn of(work: &Work<'_>, cluster: &ClusterName) -> Result<Self> {
        let collections = work.collections();
        let envs = collections.all::<Environment>(ListOptions::default()).await?;
        let targets = |env: &&Stored<Environment>| env.value.targets.iter().any(|it| it.cluster == *cluster);
        let tracks = collections.all::<TrackRecord>(ListOptions::default()).await?;
        let tracks = tracks.into_iter().map(|track| track.value.state.track);
        let runs = collections.all::<RunRecord>(ListOptions::default()).await?;
        let here =
            tracks.chain(runs.into_iter().map(|run| run.value.track)).filter(|it| it.cluster == *cluster);
        let tombstones = collections.children::<TombstoneRecord>(cluster.as_str()).await?;
        Ok(Self {
            cluster: cluster.clone(),
            environments: envs
                .iter()
                .filter(targets)
                .map(|env| EnvRef::new(env.value.org.clone(), env.value.name.clone()))
                .collect(),
            leaving: here.map(|track| track.component.at).collect(),
            deleted: tombstones.into_iter().map(|tombstone| tombstone.value.at).collect(),
        })
    }
}

fn named<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// Shows what stands in the way of removing a cluster, and what would be left behind there.
#[derive(Debug, Clone)]
pub struct PreviewRemoveCluster {
    /// Which.
    pub cluster: ClusterName,
}

#[async_trait]
impl Action for PreviewRemoveCluster {
    type Output = ClusterRemoval;
    const NAME: &'static str = "cluster.preview_remove";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::CLUSTER_WRITE
    }

    fn scope(&self) -> Scope {
        Scope::Cluster { cluster: self.cluster.clone() }
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        added(work, &self.cluster).await?;
        ClusterRemoval::of(work, &self.cluster).await
    }
}

/// Removes a cluster that no environment targets and on which nothing is left to take away. What is on the cluster and not of
/// this platform stays as it is.
#[derive(Debug, Clone)]
pub struct RemoveCluster {
    /// Which.
    pub cluster: ClusterName,
    /// Forgets what is left there, for a cluster that never comes back: deletions that wait for it end, and what
    /// [`PreviewRemoveCluster`] names stays on it.
    pub force: bool,
}

#[async_trait]
impl Action for RemoveCluster {
    type Output = ();
    const NAME: &'static str = "cluster.remove";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::CLUSTER_WRITE
    }

    fn scope(&self) -> Scope {
        Scope::Cluster { cluster: self.cluster.clone() }
    }

    fn detail(&self) -> Value {
        json!({ "cluster": self.cluster, "force": self.force })
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(ClusterRecord::key_of(&self.cluster))
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        let record = added(work, &self.cluster).await?;
        // The lists below are not guarded: an environment that names the cluster meanwhile changes this.
        let used = work.get::<ClusterUseRecord>(&ClusterUseRecord::key_of(&self.cluster)).await?;
        let removal = ClusterRemoval::of(work, &self.cluster).await?;
        if !removal.environments.is_empty() {
            return Err(Error::new(ErrorKind::Conflict, "remove a cluster that is in use")
                .with_context("cluster", &self.cluster)
                .with_context("environments", named(&removal.environments))
                .with_remedy("Take it from the targets of these environments first."));
        }
        let left: BTreeSet<&AppEnv> = removal.leaving.iter().chain(&removal.deleted).collect();
        if !left.is_empty() && !self.force {
            return Err(Error::new(ErrorKind::Conflict, "remove a cluster before everything on it is gone")
                .with_context("cluster", &self.cluster)
                .with_context("applications", named(left))
                .with_remedy(
                    "Wait until they are taken away there. If it never comes back, remove it by force: what is on it stays there.",
                ));
        }
        work.changes().remove(&record);
        if let Some(used) = used {
            work.changes().remove(&used);
        }
        let mut message = format!("cluster {} was removed", self.cluster);
        if !left.is_empty() {
            message = format!("{message}; left behind on it: {}", named(left));
            let (at, by) = (work.now(), work.actor().id().to_owned());
            work.changes().create(&ForgottenRecord { cluster: self.cluster.clone(), at, by })?;
        }
        work.event(EventKind::Deleted, self.scope(), message);
        Ok(())
    }
}
