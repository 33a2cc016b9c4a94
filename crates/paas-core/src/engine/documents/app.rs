//! An application, and what it is in an environment besides its releases.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::below;
use crate::engine::Record;
use crate::model::{AppSpec, ReleaseNumber, RevisionId, RouteSpec, Target, Template};
use crate::name::{AppEnv, AppName, AppRef, ClusterName, ComponentKey, ComponentName, OrgName};
use crate::port::DocumentKey;

/// An application of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppRecord {
    /// The organisation.
    pub org: OrgName,
    /// The name, unique in the organisation and never changed.
    pub name: AppName,
    /// What people call it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// Set once the application is being deleted in all its environments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<Deleting>,
}

impl Record for AppRecord {
    const KIND: &'static str = "app";

    fn key(&self) -> DocumentKey {
        Self::key_of(&AppRef::new(self.org.clone(), self.name.clone()))
    }
}

impl AppRecord {
    /// The key of an application's document.
    pub fn key_of(app: &AppRef) -> DocumentKey {
        DocumentKey::new(Self::KIND, app.org.as_str(), app.app.as_str())
    }
}

/// That, when and by whom something is being deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deleting {
    /// Since when.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// An application in an environment: what was declared last, which release is current, and its switches.
///
/// It exists from the first configuration or deploy until the last trace of a deletion is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppEnvRecord {
    /// The application in its environment.
    pub at: AppEnv,
    /// The specification of the newest release, committed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<AppSpec>,
    /// The release that was committed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<ReleaseNumber>,
    /// The number of the newest release; 0 before the first.
    #[serde(default)]
    pub last: u64,
    /// The number of the newest version of the configuration; 0 is the empty one.
    #[serde(default)]
    pub config: u64,
    /// What was taken offline.
    #[serde(default)]
    pub offline: Offline,
    /// How often each component was restarted; part of its template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<ComponentName, u64>,
    /// The clusters that its environment had and has no more, with the components that it had there: their volumes are still
    /// there, and go with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub former: BTreeMap<ClusterName, BTreeSet<ComponentName>>,
    /// Set once it is being deleted: its tracks are being taken down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting: Option<Deleting>,
}

impl AppEnvRecord {
    /// The state before anything was declared.
    pub fn new(at: AppEnv) -> Self {
        Self {
            at,
            spec: None,
            current: None,
            last: 0,
            config: 0,
            offline: Offline::default(),
            restarts: BTreeMap::new(),
            former: BTreeMap::new(),
            deleting: None,
        }
    }

    /// The key of an application's document in an environment.
    pub fn key_of(at: &AppEnv) -> DocumentKey {
        DocumentKey::new(Self::KIND, at.env_ref().to_string(), at.app.as_str())
    }
}

impl Record for AppEnvRecord {
    const KIND: &'static str = "app_env";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.at)
    }

    fn index(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("app".to_owned(), self.at.app_ref().to_string())])
    }
}

/// Which components were taken offline. Everything of them is kept but their instances.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Offline {
    /// The whole application, with components that later releases add.
    pub all: bool,
    /// Single components.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub components: BTreeSet<ComponentName>,
}

impl Offline {
    /// Whether a component is offline.
    pub fn contains(&self, component: &ComponentName) -> bool {
        self.all || self.components.contains(component)
    }
}

/// How many instances of a component run on each cluster of the environment. It survives releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleRecord {
    /// The component.
    pub component: ComponentKey,
    /// The number of instances on each cluster, before the cluster's own bounds.
    pub count: u32,
    /// How often it was changed.
    pub version: u64,
}

impl ScaleRecord {
    /// The key of a component's scale.
    pub fn key_of(component: &ComponentKey) -> DocumentKey {
        below(Self::KIND, &component.at, component.component.as_str())
    }

    /// How many instances run on `target`: the count within the target's bounds.
    pub fn on(&self, target: &Target) -> u32 {
        self.count.min(target.max_instances).max(target.min_instances.min(target.max_instances))
    }
}

impl Record for ScaleRecord {
    const KIND: &'static str = "scale";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.component)
    }
}

/// The access points of an application in an environment that are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoutesRecord {
    /// The application in its environment.
    pub at: AppEnv,
    /// How often they were changed.
    pub version: u64,
    /// The access points.
    pub routes: Vec<RouteSpec>,
}

impl RoutesRecord {
    /// The key of an application's access points in an environment.
    pub fn key_of(at: &AppEnv) -> DocumentKey {
        below(Self::KIND, at, "current")
    }
}

impl Record for RoutesRecord {
    const KIND: &'static str = "routes";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.at)
    }
}

/// A rendered template under its revision. It is never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateRecord {
    /// The identity of the content.
    pub revision: RevisionId,
    /// The content.
    pub template: Template,
}

impl TemplateRecord {
    /// The key of a template.
    pub fn key_of(component: &ComponentKey, revision: &RevisionId) -> DocumentKey {
        below(Self::KIND, &component.at, format!("{}.{revision}", component.component))
    }
}

impl Record for TemplateRecord {
    const KIND: &'static str = "template";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.template.component, &self.revision)
    }
}
