//! Applications.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::org::check_display_name;
use super::{Action, Effect, ListPage, PageOptions, Versioned, Work};
use crate::engine::{AppEnvRecord, AppRecord, AppStatus, EventKind};
use crate::error::{Fault, Result};
use crate::name::{AppEnv, AppName, AppRef, EnvName, EnvRef, OrgName};
use crate::port::{ListOptions, Permission, Revision, Scope};
use crate::tenancy::permissions;

/// An application to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// The name, unique in the organisation and never changed.
    pub name: AppName,
    /// What people call it.
    #[serde(default)]
    pub display_name: String,
}

impl NewApp {
    /// An application of this name.
    pub fn new(name: AppName) -> Self {
        Self { name, display_name: String::new() }
    }
}

/// An application and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppInfo {
    /// The application.
    #[serde(flatten)]
    pub app: AppRecord,
    /// The environments that it has a configuration or a release in.
    pub environments: Vec<EnvName>,
}

/// Makes an application.
#[derive(Debug, Clone)]
pub struct CreateApp {
    /// The organisation.
    pub org: OrgName,
    /// The application.
    pub new: NewApp,
}

#[async_trait]
impl Action for CreateApp {
    type Output = Versioned<AppRecord>;
    const NAME: &'static str = "app.create";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::APP_CREATE
    }

    fn scope(&self) -> Scope {
        Scope::App(AppRef::new(self.org.clone(), self.new.name.clone()))
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        check_display_name(&self.new.display_name, faults);
    }

    fn detail(&self) -> Value {
        json!(self.new)
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        work.org(&self.org).await?;
        let app = AppRecord {
            org: self.org.clone(),
            name: self.new.name.clone(),
            display_name: self.new.display_name.clone(),
            created_at: work.now(),
            deleting: None,
        };
        work.create("application", AppRef::new(app.org.clone(), app.name.clone()), &app).await?;
        work.event(
            EventKind::Created,
            self.scope(),
            format!("application {}/{} was created", app.org, app.name),
        );
        Ok(work.versioned(app))
    }
}

/// Shows an application.
#[derive(Debug, Clone)]
pub struct GetApp {
    /// Which.
    pub app: AppRef,
}

#[async_trait]
impl Action for GetApp {
    type Output = Versioned<AppInfo>;
    const NAME: &'static str = "app.get";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::App(self.app.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let app = work.app(&self.app).await?;
        let places = places(work, &self.app).await?;
        let environments = places.into_iter().map(|place| place.at.env).collect();
        Ok(Versioned { value: AppInfo { app: app.value, environments }, revision: app.modified })
    }
}

/// The application in each environment where it has a configuration or a release.
pub(super) async fn places(work: &Work<'_>, app: &AppRef) -> Result<Vec<AppEnvRecord>> {
    let options = ListOptions { index: Some(("app".to_owned(), app.to_string())), ..ListOptions::default() };
    let places = work.collections().all::<AppEnvRecord>(options).await?;
    Ok(places.into_iter().map(|place| place.value).collect())
}

/// Lists the applications of an organisation that the actor may see.
#[derive(Debug, Clone)]
pub struct ListApps {
    /// The organisation.
    pub org: OrgName,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListApps {
    type Output = ListPage<Versioned<AppRecord>>;
    const NAME: &'static str = "app.list";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
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
        work.visible_page::<AppRecord>(self.org.as_str(), &self.page, permissions::APP_READ, |app| {
            Scope::App(AppRef::new(app.org.clone(), app.name.clone()))
        })
        .await
    }
}

/// Shows how an application is in an environment.
#[derive(Debug, Clone)]
pub struct Status {
    /// Which.
    pub at: AppEnv,
}

#[async_trait]
impl Action for Status {
    type Output = AppStatus;
    const NAME: &'static str = "app.status";
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
        work.services().status(&self.at).await
    }
}

/// Shows how the applications in an environment are, as far as the actor may see them.
#[derive(Debug, Clone)]
pub struct ListStatus {
    /// The environment.
    pub env: EnvRef,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListStatus {
    type Output = ListPage<AppStatus>;
    const NAME: &'static str = "app.list_status";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::Env(self.env.clone())
    }

    fn is_filtered(&self) -> bool {
        true
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let page = work
            .visible_page::<AppEnvRecord>(&self.env.to_string(), &self.page, permissions::APP_READ, |place| {
                Scope::AppEnv(place.at.clone())
            })
            .await?;
        let mut items = Vec::with_capacity(page.items.len());
        for place in page.items {
            items.push(work.services().status(&place.value.at).await?);
        }
        Ok(ListPage { items, next: page.next })
    }
}
