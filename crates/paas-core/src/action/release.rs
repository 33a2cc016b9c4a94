//! Releases as people see them: the history, one record, and what two records differ in.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, Effect, ListPage, PageOptions, Work, config};
use crate::engine::{Record as _, number_name};
use crate::error::Result;
use crate::model::{ConfigEntry, Release, ReleaseNumber, ReleaseOrigin, ReleaseState};
use crate::name::{AppEnv, ComponentName};
use crate::port::{Permission, Scope};
use crate::tenancy::permissions;

/// A release in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseSummary {
    /// The number.
    pub number: ReleaseNumber,
    /// How far it has come.
    pub state: ReleaseState,
    /// Whether it is the current one.
    pub current: bool,
    /// How it came about.
    pub origin: ReleaseOrigin,
    /// The images as declared, by component.
    pub images: BTreeMap<ComponentName, String>,
    /// The version of the configuration.
    pub config: u64,
    /// Who made it.
    pub created_by: String,
    /// When.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// A remark of the maker.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl ReleaseSummary {
    /// The summary of a release, given the number of the current one.
    pub fn of(release: &Release, current: Option<ReleaseNumber>) -> Self {
        let components = release.version.spec.components.iter();
        let images = components.filter(|component| !component.image.is_empty());
        Self {
            number: release.number,
            state: release.state.clone(),
            current: current == Some(release.number),
            origin: release.origin,
            images: images.map(|component| (component.name.clone(), component.image.clone())).collect(),
            config: release.config,
            created_by: release.created_by.clone(),
            created_at: release.created_at,
            note: release.note.clone(),
        }
    }
}

/// Lists the releases that are kept, the newest first.
#[derive(Debug, Clone)]
pub struct ListReleases {
    /// Where.
    pub at: AppEnv,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListReleases {
    type Output = ListPage<ReleaseSummary>;
    const NAME: &'static str = "release.list";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let place = work.place(&self.at).await?;
        let mut options = self.page.list(Release::KIND, &self.at.to_string(), true)?;
        // People pass numbers as they see them; names are padded.
        if let Some(after) = &mut options.after
            && let Ok(number) = after.name.parse()
        {
            after.name = number_name(number);
        }
        let page = work.collections().page::<Release>(options).await?;
        Ok(ListPage {
            items: page.items.iter().map(|it| ReleaseSummary::of(&it.value, place.value.current)).collect(),
            next: page.next.map(|key| key.name.trim_start_matches('0').to_owned()),
        })
    }
}

/// Shows a release.
#[derive(Debug, Clone)]
pub struct GetRelease {
    /// Where.
    pub at: AppEnv,
    /// Which.
    pub number: ReleaseNumber,
}

#[async_trait]
impl Action for GetRelease {
    type Output = Release;
    const NAME: &'static str = "release.get";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        work.place(&self.at).await?;
        super::deploy::rollout::load(work, &self.at, self.number).await
    }
}

/// What two releases differ in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// The earlier release.
    pub from: ReleaseNumber,
    /// The later one.
    pub to: ReleaseNumber,
    /// Every field that differs, in the order of their paths.
    pub changes: Vec<Change>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Where, such as `components.web.image`. Components, access points, settings and secrets stand by their names.
    pub path: String,
    /// The value before; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value after; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// Shows what two releases differ in; of secrets, the versions.
#[derive(Debug, Clone)]
pub struct DiffReleases {
    /// Where.
    pub at: AppEnv,
    /// From which.
    pub from: ReleaseNumber,
    /// To which.
    pub to: ReleaseNumber,
}

#[async_trait]
impl Action for DiffReleases {
    type Output = Diff;
    const NAME: &'static str = "release.diff";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        work.place(&self.at).await?;
        let from = flat(work, &self.at, self.from).await?;
        let to = flat(work, &self.at, self.to).await?;
        let paths: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        let changes = paths
            .into_iter()
            .filter(|path| from.get(*path) != to.get(*path))
            .map(|path| Change {
                path: path.clone(),
                before: from.get(path).cloned(),
                after: to.get(path).cloned(),
            })
            .collect();
        Ok(Diff { from: self.from, to: self.to, changes })
    }
}

/// A release as paths and values.
async fn flat(work: &Work<'_>, at: &AppEnv, number: ReleaseNumber) -> Result<BTreeMap<String, Value>> {
    let release = super::deploy::rollout::load(work, at, number).await?;
    let mut fields = BTreeMap::new();
    flatten("", named(json!(release.version.spec)), &mut fields);
    for (name, digest) in &release.version.digests {
        fields.insert(format!("components.{name}.digest"), json!(digest));
    }
    for (name, component) in &release.components {
        // What was declared for the first release says nothing about how many run.
        fields.remove(&format!("components.{name}.instances.count"));
        fields.insert(format!("components.{name}.count"), json!(component.instances));
    }
    flatten("strategy", json!(release.strategy), &mut fields);
    for (name, entry) in config::load(work, at, release.config).await?.entries {
        let value = match entry {
            ConfigEntry::Setting(value) => json!(value),
            ConfigEntry::Secret(secret) => json!({ "secret_version": secret.version }),
        };
        fields.insert(format!("config.{name}"), value);
    }
    Ok(fields)
}

/// Lists whose items have names, as objects by name, so that an inserted item does not shift the others.
fn named(value: Value) -> Value {
    match value {
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| name_of(item).is_some()) => {
            let fields = items.into_iter().map(|item| (name_of(&item).unwrap_or_default(), named(item)));
            Value::Object(fields.collect())
        }
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, it)| (name, named(it))).collect())
        }
        other => other,
    }
}

/// The name of an item; of an object of a cluster its kind too.
fn name_of(item: &Value) -> Option<String> {
    match (&item["kind"], &item["metadata"]["name"]) {
        (Value::String(kind), Value::String(name)) => Some(format!("{kind}/{name}")),
        _ => item["name"].as_str().map(str::to_owned),
    }
}

fn flatten(path: &str, value: Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(inner) if !inner.is_empty() => {
            for (name, value) in inner {
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                flatten(&path, value, fields);
            }
        }
        leaf => drop(fields.insert(path.to_owned(), leaf)),
    }
}
