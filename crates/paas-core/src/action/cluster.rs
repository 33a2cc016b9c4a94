//! Clusters: added, changed and removed while the platform runs.

mod remove;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, Effect, ListPage, PageOptions, Versioned, Work};
use crate::engine::{ClusterRecord, EventKind, ForgottenRecord, Stored, open_request};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::name::ClusterName;
use crate::port::{ClusterReport, DocumentKey, Permission, Revision, Scope, SecretValue};
use crate::tenancy::permissions;

pub use remove::{ClusterRemoval, PreviewRemoveCluster, RemoveCluster};

/// How long a cluster may take to answer when somebody asks about it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most labels of a cluster.
const LABELS_MAX: usize = 32;
/// The longest label, region or value of a label, in characters.
const WORD_MAX: usize = 63;
/// The largest credentials in bytes, and the largest configuration in bytes of JSON.
const SIZE_MAX: usize = 256 * 1024;

/// A cluster to be added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCluster {
    /// The name, unique on the platform and never changed.
    pub name: ClusterName,
    /// The kind, such as `kubernetes`: which driver opens it.
    pub kind: String,
    /// Where it is, for people and for placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What it can be chosen by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the driver's schema describes.
    #[serde(default)]
    pub config: Value,
}

/// What is to be changed of a cluster; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterChange {
    /// Where it is.
    pub region: Option<String>,
    /// What it can be chosen by.
    pub labels: Option<BTreeMap<String, String>>,
    /// What the driver's schema describes.
    pub config: Option<Value>,
}

/// Whether the platform can use a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClusterState {
    /// It is open, and it answered, if it was asked.
    Open,
    /// It is open, and did not answer.
    Unreachable,
    /// It answered, and does not let the platform do what it needs; the reason names what.
    Denied,
    /// It does not work: the configuration or the credentials do not do.
    Failed,
}

impl ClusterState {
    /// Of an open cluster that was asked how it is, and for which this came back.
    fn after(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout => Self::Unreachable,
            ErrorKind::Denied | ErrorKind::Unauthenticated => Self::Denied,
            _ => Self::Failed,
        }
    }
}

/// A cluster as its administrators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterView {
    /// The name.
    pub name: ClusterName,
    /// The kind; `built_in` for one that the platform was built with.
    pub kind: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What it can be chosen by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The driver's configuration.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub config: Value,
    /// Whether it can be used.
    pub state: ClusterState,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it tells of itself, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ClusterReport>,
    /// Who added it; nobody, if the platform was built with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_by: Option<String>,
    /// When.
    #[schemars(with = "Option<String>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_at: Option<Timestamp>,
}

impl ClusterView {
    fn built_in(name: ClusterName) -> Self {
        Self {
            name,
            kind: "built_in".to_owned(),
            region: None,
            labels: BTreeMap::new(),
            config: Value::Null,
            state: ClusterState::Open,
            reason: None,
            report: None,
            added_by: None,
            added_at: None,
        }
    }

    fn added(work: &Work<'_>, record: ClusterRecord) -> Self {
        let reason = work.services().cluster_failure(&record.name);
        Self {
            state: if reason.is_some() { ClusterState::Failed } else { ClusterState::Open },
            reason,
            kind: record.kind,
            region: record.region,
            labels: record.labels,
            config: record.config,
            added_by: Some(record.added_by),
            added_at: Some(record.added_at),
            ..Self::built_in(record.name)
        }
    }
}

fn check_words(region: Option<&str>, labels: Option<&BTreeMap<String, String>>, faults: &mut Vec<Fault>) {
    let is_word = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        text.chars().count() <= WORD_MAX && text.chars().all(plain)
    };
    let rule = format!("use at most {WORD_MAX} letters, digits, '-', '_', '.' and '/'");
    if let Some(region) = region.filter(|region| region.is_empty() || !is_word(region)) {
        faults.push(Fault::new("region", format!("is {region:?}; {rule}")));
    }
    let Some(labels) = labels else { return };
    if labels.len() > LABELS_MAX {
        faults.push(Fault::new("labels", format!("are {}; at most {LABELS_MAX} are allowed", labels.len())));
    }
    for (label, value) in labels {
        if label.is_empty() || !is_word(label) || !is_word(value) {
            faults.push(Fault::new(format!("labels[{label:?}]"), format!("is {value:?}; {rule}")));
        }
    }
}

fn check_sizes(config: Option<&Value>, credentials: Option<&SecretValue>, faults: &mut Vec<Fault>) {
    if config.is_some_and(|config| config.to_string().len() > SIZE_MAX) {
        faults.push(Fault::new("config", format!("has more than {SIZE_MAX} bytes of JSON")));
    }
    if credentials.is_some_and(|secret| secret.reveal().is_empty() || secret.reveal().len() > SIZE_MAX) {
        faults.push(Fault::new("credentials", format!("must have 1 to {SIZE_MAX} bytes")));
    }
}

/// Seals credentials into a record.
async fn seal(work: &Work<'_>, record: &mut ClusterRecord, credentials: Option<&SecretValue>) -> Result<()> {
    let Some(credentials) = credentials else { return Ok(()) };
    let ring = work.services().key_ring();
    record.credentials = Some(ring.seal(&ClusterRecord::context(&record.name), credentials).await?);
    record.fingerprint = Some(ring.fingerprint(credentials).await?);
    Ok(())
}

/// Asks the driver whether a record can work, and the cluster itself unless it is left alone.
async fn examine(
    work: &Work<'_>,
    record: &ClusterRecord,
    unreachable: bool,
) -> Result<Option<ClusterReport>> {
    let (driver, request) = open_request(work.services(), record).await?;
    let mut faults = Vec::new();
    driver.validate(&request.config, request.credentials.as_ref(), &mut faults);
    if !faults.is_empty() {
        return Err(Error::invalid("check a cluster", faults).with_context("cluster", &record.name));
    }
    if unreachable {
        return Ok(None);
    }
    match tokio::time::timeout(PATIENCE, driver.probe(&request)).await {
        Ok(Ok(report)) => Ok(Some(report)),
        Ok(Err(error)) => Err(error.with_context("cluster", &record.name)),
        Err(_) => Err(Error::new(ErrorKind::Timeout, "reach the cluster")
            .with_context("cluster", &record.name)
            .with_context("seconds", PATIENCE.as_secs())
            .with_remedy("Check its address and the network between; or add it unreached.")),
    }
}

/// Adds a cluster. It must answer, unless `unreachable` says that it may be away.
#[derive(Debug, Clone)]
pub struct AddCluster {
    /// The cluster.
    pub new: NewCluster,
    /// What gives access to it.
    pub credentials: Option<SecretValue>,
    /// Adds it although it may not be reached now.
    pub unreachable: bool,
}

#[async_trait]
impl Action for AddCluster {
    type Output = Versioned<ClusterView>;
    const NAME: &'static str = "cluster.add";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::CLUSTER_WRITE
    }

    fn scope(&self) -> Scope {
        Scope::Cluster { cluster: self.new.name.clone() }
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        check_words(self.new.region.as_deref(), Some(&self.new.labels), faults);
        check_sizes(Some(&self.new.config), self.credentials.as_ref(), faults);
    }

    fn detail(&self) -> Value {
        json!(self.new)
    }

    fn secrets(&self) -> Vec<&SecretValue> {
        self.credentials.iter().collect()
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let new = &self.new;
        if work.services().is_built_in(&new.name) {
            return Err(
                Error::new(ErrorKind::AlreadyExists, "add the cluster").with_context("cluster", &new.name)
            );
        }
        if work.get::<ForgottenRecord>(&ForgottenRecord::key_of(&new.name)).await?.is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "add a cluster under a name that is being forgotten",
            )
            .with_context("cluster", &new.name)
            .with_remedy("Try again in a moment."));
        }
        let mut record = ClusterRecord {
            name: new.name.clone(),
            kind: new.kind.clone(),
            region: new.region.clone(),
            labels: new.labels.clone(),
            config: new.config.clone(),
            credentials: None,
            fingerprint: None,
            added_by: work.actor().id().to_owned(),
            added_at: work.now(),
        };
        seal(work, &mut record, self.credentials.as_ref()).await?;
        work.create("cluster", &record.name, &record).await?;
        let report = examine(work, &record, self.unreachable).await?;
        work.event(EventKind::Created, self.scope(), format!("cluster {} was added", record.name));
        let view = ClusterView { report, ..ClusterView::added(work, record) };
        Ok(work.versioned(view))
    }
}

/// Changes a cluster; the kind stays.
#[derive(Debug, Clone)]
pub struct UpdateCluster {
    /// Which.
    pub cluster: ClusterName,
    /// What.
    pub change: ClusterChange,
    /// Other credentials.
    pub credentials: Option<SecretValue>,
    /// Changes it although it may not be reached now.
    pub unreachable: bool,
}

#[async_trait]
impl Action for UpdateCluster {
    type Output = Versioned<ClusterView>;
    const NAME: &'static str = "cluster.update";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::CLUSTER_WRITE
    }

    fn scope(&self) -> Scope {
        Scope::Cluster { cluster: self.cluster.clone() }
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        check_words(self.change.region.as_deref(), self.change.labels.as_ref(), faults);
        check_sizes(self.change.config.as_ref(), self.credentials.as_ref(), faults);
    }

    fn detail(&self) -> Value {
        json!({ "cluster": self.cluster, "change": self.change, "credentials": self.credentials.is_some() })
    }

    fn secrets(&self) -> Vec<&SecretValue> {
        self.credentials.iter().collect()
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(ClusterRecord::key_of(&self.cluster))
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut record = added(work, &self.cluster).await?;
        if let Some(region) = &self.change.region {
            record.value.region = Some(region.clone());
        }
        if let Some(labels) = &self.change.labels {
            record.value.labels.clone_from(labels);
        }
        if let Some(config) = &self.change.config {
            record.value.config = config.clone();
        }
        seal(work, &mut record.value, self.credentials.as_ref()).await?;
        let report = examine(work, &record.value, self.unreachable).await?;
        work.changes().update(&record)?;
        work.event(EventKind::Changed, self.scope(), format!("cluster {} was changed", self.cluster));
        let view = ClusterView { report, ..ClusterView::added(work, record.value) };
        Ok(work.versioned(view))
    }
}

/// The record of a cluster that was added at run time.
async fn added(work: &mut Work<'_>, cluster: &ClusterName) -> Result<Stored<ClusterRecord>> {
    if work.services().is_built_in(cluster) {
        return Err(Error::new(ErrorKind::Conflict, "change a cluster that the platform was built with")
            .with_context("cluster", cluster)
            .with_remedy("It is part of the server's own configuration."));
    }
    work.need(&ClusterRecord::key_of(cluster), "cluster", cluster).await
}

/// Shows a cluster, and asks it how it is.
#[derive(Debug, Clone)]
pub struct GetCluster {
    /// Which.
    pub cluster: ClusterName,
}

#[async_trait]
impl Action for GetCluster {
    type Output = Versioned<ClusterView>;
    const NAME: &'static str = "cluster.get";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::CLUSTER_READ
    }

    fn scope(&self) -> Scope {
        Scope::Cluster { cluster: self.cluster.clone() }
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        if work.services().is_built_in(&self.cluster) {
            return Ok(work.versioned(ClusterView::built_in(self.cluster.clone())));
        }
        let record = added(work, &self.cluster).await?;
        let asked = examine(work, &record.value, false).await;
        let mut view = ClusterView::added(work, record.value);
        match asked {
            Ok(report) => view.report = report,
            Err(error) if view.state == ClusterState::Open => {
                (view.state, view.reason) = (ClusterState::after(&error), Some(error.report()));
            }
            Err(_) => {}
        }
        Ok(Versioned { value: view, revision: record.modified })
    }
}

/// Lists the clusters that the actor may see: first those that the platform was built with. Nobody is asked how it is.
#[derive(Debug, Clone)]
pub struct ListClusters {
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListClusters {
    type Output = ListPage<Versioned<ClusterView>>;
    const NAME: &'static str = "cluster.list";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::CLUSTER_READ
    }

    fn scope(&self) -> Scope {
        Scope::Platform
    }

    fn is_filtered(&self) -> bool {
        true
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut items = Vec::new();
        if self.page.after.is_none() {
            for cluster in work.services().built_in_clusters() {
                let scope = Scope::Cluster { cluster: cluster.clone() };
                if work.may(permissions::CLUSTER_READ, &scope).await? {
                    items.push(work.versioned(ClusterView::built_in(cluster)));
                }
            }
        }
        let of = |record: &ClusterRecord| Scope::Cluster { cluster: record.name.clone() };
        let found = work.visible_page("", &self.page, permissions::CLUSTER_READ, of).await?;
        items.extend(found.items.into_iter().map(|record: Versioned<ClusterRecord>| Versioned {
            value: ClusterView::added(work, record.value),
            revision: record.revision,
        }));
        Ok(ListPage { items, next: found.next })
    }
}
