//! Environments.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, Effect, ListPage, PageOptions, Versioned, Work};
use crate::engine::{AppEnvRecord, ClusterRecord, ClusterUseRecord, EventKind, Grant, Stored};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{
    ClusterOrder, Environment, OnClusterFailure, OnRunning, StrategySpec, Target, Validate as _,
};
use crate::name::{ClusterName, EnvName, EnvRef, OrgName};
use crate::port::{DocumentKey, ListOptions, Permission, Revision, Scope};
use crate::tenancy::permissions;

/// An environment to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnv {
    /// The name, unique in the organisation and never changed.
    pub name: EnvName,
    /// The clusters that its applications run on; if none is named, the platform's only one.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// What a new release does to one that is under way.
    #[serde(default)]
    pub on_running: OnRunning,
    /// How the clusters follow each other in a release.
    #[serde(default)]
    pub cluster_order: ClusterOrder,
    /// What a cluster on which a release fails means for the others.
    #[serde(default)]
    pub on_cluster_failure: OnClusterFailure,
    /// How releases proceed where the application does not say.
    #[serde(default)]
    pub strategy: StrategySpec,
}

impl NewEnv {
    /// An environment on the platform's only cluster.
    pub fn new(name: EnvName) -> Self {
        Self {
            name,
            targets: Vec::new(),
            on_running: OnRunning::default(),
            cluster_order: ClusterOrder::default(),
            on_cluster_failure: OnClusterFailure::default(),
            strategy: StrategySpec::default(),
        }
    }
}

/// An environment, and where its clusters are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvInfo {
    /// The environment.
    #[serde(flatten)]
    pub env: Environment,
    /// The regions of its clusters, as far as they have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<ClusterName, String>,
}

impl EnvInfo {
    async fn of(work: &Work<'_>, env: Environment) -> Result<Self> {
        let mut regions = BTreeMap::new();
        for target in &env.targets {
            let key = ClusterRecord::key_of(&target.cluster);
            let record = work.collections().get::<ClusterRecord>(&key).await?;
            if let Some(region) = record.and_then(|record| record.value.region) {
                regions.insert(target.cluster.clone(), region);
            }
        }
        Ok(Self { env, regions })
    }
}

/// What is to be changed of an environment; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvChange {
    /// The clusters, with the bounds of instances on each. On one that is new every application's current release begins; on
    /// one that is left out they end, and only their volumes stay.
    pub targets: Option<Vec<Target>>,
    /// What a new release does to one that is under way.
    pub on_running: Option<OnRunning>,
    /// How the clusters follow each other in a release.
    pub cluster_order: Option<ClusterOrder>,
    /// What a cluster on which a release fails means for the others.
    pub on_cluster_failure: Option<OnClusterFailure>,
    /// How releases proceed where the application does not say.
    pub strategy: Option<StrategySpec>,
}

/// Refuses clusters that there are not. Those that were added must still be there at the commit, and are not removed by
/// somebody who has not seen it.
async fn check_clusters(work: &mut Work<'_>, targets: &[Target]) -> Result<()> {
    let known = work.cluster_names().await?;
    let faults: Vec<Fault> = targets
        .iter()
        .enumerate()
        .filter(|(_, target)| !known.contains(&target.cluster))
        .map(|(i, target)| {
            let names: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
            Fault::new(
                format!("targets[{i}].cluster"),
                format!("there is no cluster {}; there is {}", target.cluster, names.join(", ")),
            )
        })
        .collect();
    if !faults.is_empty() {
        return Err(Error::invalid("check the targets of an environment", faults));
    }
    let services = work.services();
    for cluster in targets.iter().map(|target| &target.cluster).filter(|it| !services.is_built_in(it)) {
        work.need::<ClusterRecord>(&ClusterRecord::key_of(cluster), "cluster", cluster).await?;
        let mut used = work
            .get(&ClusterUseRecord::key_of(cluster))
            .await?
            .unwrap_or_else(|| Stored::new(ClusterUseRecord { cluster: cluster.clone(), version: 0 }));
        used.value.version += 1;
        work.changes().update(&used)?;
    }
    Ok(())
}

/// What a change of the targets means, in words.
fn retargeted(before: &[Target], after: &[Target]) -> String {
    let lacks = |targets: &[Target], target: &Target| !targets.iter().any(|it| it.cluster == target.cluster);
    let names = |targets: &[Target], others: &[Target]| {
        let names: Vec<&str> =
            targets.iter().filter(|it| lacks(others, it)).map(|it| it.cluster.as_str()).collect();
        names.join(", ")
    };
    let (added, left) = (names(after, before), names(before, after));
    let added = if added.is_empty() { added } else { format!("; its applications begin on {added}") };
    let left = if left.is_empty() { left } else { format!("; its applications leave {left}") };
    added + &left
}

/// Makes an environment.
#[derive(Debug, Clone)]
pub struct CreateEnv {
    /// The organisation.
    pub org: OrgName,
    /// The environment.
    pub new: NewEnv,
}

impl CreateEnv {
    fn at(&self) -> EnvRef {
        EnvRef::new(self.org.clone(), self.new.name.clone())
    }
}

#[async_trait]
impl Action for CreateEnv {
    type Output = Versioned<Environment>;
    const NAME: &'static str = "env.create";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::ENV_CREATE
    }

    fn scope(&self) -> Scope {
        Scope::Env(self.at())
    }

    fn detail(&self) -> Value {
        json!(self.new)
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        work.org(&self.org).await?;
        let mut targets = self.new.targets.clone();
        if targets.is_empty() {
            let clusters = work.cluster_names().await?;
            match clusters.iter().collect::<Vec<_>>()[..] {
                [only] => targets.push(Target::new(only.clone())),
                [] => {
                    return Err(Error::new(ErrorKind::Conflict, "create an environment")
                        .with_remedy("The platform has no cluster yet: add one first."));
                }
                _ => {
                    return Err(Error::invalid(
                        "create an environment",
                        vec![Fault::new("targets", "the platform has several clusters; name at least one")],
                    ));
                }
            }
        }
        check_clusters(work, &targets).await?;
        let env = Environment {
            org: self.org.clone(),
            name: self.new.name.clone(),
            targets,
            on_running: self.new.on_running,
            cluster_order: self.new.cluster_order,
            on_cluster_failure: self.new.on_cluster_failure,
            strategy: self.new.strategy.clone(),
            created_at: work.now(),
        };
        env.validate("create an environment")?;
        work.create("environment", self.at(), &env).await?;
        work.event(EventKind::Created, self.scope(), format!("environment {} was created", self.at()));
        Ok(work.versioned(env))
    }
}

/// Changes an environment.
#[derive(Debug, Clone)]
pub struct UpdateEnv {
    /// Which.
    pub env: EnvRef,
    /// What.
    pub change: EnvChange,
}

#[async_trait]
impl Action for UpdateEnv {
    type Output = Versioned<Environment>;
    const NAME: &'static str = "env.update";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::ENV_UPDATE
    }

    fn scope(&self) -> Scope {
        Scope::Env(self.env.clone())
    }

    fn detail(&self) -> Value {
        json!(self.change)
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(Environment::key_of(&self.env))
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut env = work.env(&self.env).await?;
        let mut moved = String::new();
        if let Some(targets) = &self.change.targets {
            check_clusters(work, targets).await?;
            moved = retargeted(&env.value.targets, targets);
            env.value.targets.clone_from(targets);
        }
        if let Some(policy) = self.change.on_running {
            env.value.on_running = policy;
        }
        if let Some(order) = self.change.cluster_order {
            env.value.cluster_order = order;
        }
        if let Some(policy) = self.change.on_cluster_failure {
            env.value.on_cluster_failure = policy;
        }
        if let Some(strategy) = &self.change.strategy {
            env.value.strategy = strategy.clone();
        }
        env.value.validate("change an environment")?;
        work.changes().update(&env)?;
        work.event(EventKind::Changed, self.scope(), format!("environment {} was changed{moved}", self.env));
        Ok(work.versioned(env.value))
    }
}

/// Deletes an environment in which no application is left.
#[derive(Debug, Clone)]
pub struct DeleteEnv {
    /// Which.
    pub env: EnvRef,
}

#[async_trait]
impl Action for DeleteEnv {
    type Output = ();
    const NAME: &'static str = "env.delete";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::ENV_DELETE
    }

    fn scope(&self) -> Scope {
        Scope::Env(self.env.clone())
    }

    fn detail(&self) -> Value {
        json!({ "env": self.env })
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(Environment::key_of(&self.env))
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        let env = work.env(&self.env).await?;
        let apps = work.collections().children::<AppEnvRecord>(self.env.to_string()).await?;
        if !apps.is_empty() {
            let names: Vec<String> = apps.iter().map(|app| app.value.at.app.to_string()).collect();
            return Err(Error::new(ErrorKind::Conflict, "delete an environment that is not empty")
                .with_context("environment", &self.env)
                .with_context("applications", names.join(", "))
                .with_remedy("Delete the applications from the environment first."));
        }
        work.changes().remove(&env);
        let options = ListOptions {
            index: Some(("scope".to_owned(), Grant::scope_name(&self.scope()))),
            ..ListOptions::default()
        };
        for grant in work.collections().all::<Grant>(options).await? {
            work.changes().remove(&grant);
        }
        work.event(EventKind::Deleted, self.scope(), format!("environment {} was deleted", self.env));
        Ok(())
    }
}

/// Shows an environment.
#[derive(Debug, Clone)]
pub struct GetEnv {
    /// Which.
    pub env: EnvRef,
}

#[async_trait]
impl Action for GetEnv {
    type Output = Versioned<EnvInfo>;
    const NAME: &'static str = "env.get";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::ENV_READ
    }

    fn scope(&self) -> Scope {
        Scope::Env(self.env.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let env = work.env(&self.env).await?;
        Ok(Versioned { value: EnvInfo::of(work, env.value).await?, revision: env.modified })
    }
}

/// Lists the environments of an organisation that the actor may see.
#[derive(Debug, Clone)]
pub struct ListEnvs {
    /// The organisation.
    pub org: OrgName,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListEnvs {
    type Output = ListPage<Versioned<EnvInfo>>;
    const NAME: &'static str = "env.list";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::ENV_READ
    }

    fn scope(&self) -> Scope {
        Scope::Org { org: self.org.clone() }
    }

    fn is_filtered(&self) -> bool {
        true
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let of = |env: &Environment| Scope::Env(EnvRef::new(env.org.clone(), env.name.clone()));
        let found = work.visible_page(self.org.as_str(), &self.page, permissions::ENV_READ, of).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for env in found.items {
            let revision = env.revision;
            items.push(Versioned { value: EnvInfo::of(work, env.value).await?, revision });
        }
        Ok(ListPage { items, next: found.next })
    }
}
