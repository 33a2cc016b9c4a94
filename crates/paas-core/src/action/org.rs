//! Organisations.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, Effect, ListPage, PageOptions, Versioned, Work};
use crate::engine::{AppRecord, EventKind, EventRecord, Grant};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{Environment, Organization};
use crate::name::OrgName;
use crate::port::{DocumentKey, ListOptions, Permission, Revision, Scope};
use crate::tenancy::permissions;

/// The longest name that people call something by, in characters.
pub(super) const DISPLAY_NAME_MAX: usize = 100;

pub(super) fn check_display_name(name: &str, faults: &mut Vec<Fault>) {
    if name.chars().count() > DISPLAY_NAME_MAX || name.chars().any(char::is_control) {
        faults.push(Fault::new(
            "display_name",
            format!("has more than {DISPLAY_NAME_MAX} characters, or control characters"),
        ));
    }
}

/// An organisation to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrg {
    /// The name, unique on the platform and never changed.
    pub name: OrgName,
    /// What people call it.
    #[serde(default)]
    pub display_name: String,
}

impl NewOrg {
    /// An organisation of this name.
    pub fn new(name: OrgName) -> Self {
        Self { name, display_name: String::new() }
    }
}

/// What is to be changed of an organisation; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OrgChange {
    /// What people call it.
    pub display_name: Option<String>,
}

/// Makes an organisation.
#[derive(Debug, Clone)]
pub struct CreateOrg(pub NewOrg);

#[async_trait]
impl Action for CreateOrg {
    type Output = Versioned<Organization>;
    const NAME: &'static str = "org.create";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::ORG_CREATE
    }

    fn scope(&self) -> Scope {
        Scope::Org { org: self.0.name.clone() }
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        check_display_name(&self.0.display_name, faults);
    }

    fn detail(&self) -> Value {
        json!(self.0)
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let org = Organization {
            name: self.0.name.clone(),
            display_name: self.0.display_name.clone(),
            created_at: work.now(),
        };
        work.create("organisation", &org.name, &org).await?;
        work.event(EventKind::Created, self.scope(), format!("organisation {} was created", org.name));
        Ok(work.versioned(org))
    }
}

/// Changes an organisation.
#[derive(Debug, Clone)]
pub struct UpdateOrg {
    /// Which.
    pub org: OrgName,
    /// What.
    pub change: OrgChange,
}

#[async_trait]
impl Action for UpdateOrg {
    type Output = Versioned<Organization>;
    const NAME: &'static str = "org.update";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::ORG_UPDATE
    }

    fn scope(&self) -> Scope {
        Scope::Org { org: self.org.clone() }
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        if let Some(name) = &self.change.display_name {
            check_display_name(name, faults);
        }
    }

    fn detail(&self) -> Value {
        json!(self.change)
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(Organization::key_of(&self.org))
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut org = work.org(&self.org).await?;
        if let Some(name) = &self.change.display_name {
            org.value.display_name.clone_from(name);
        }
        work.changes().update(&org)?;
        Ok(work.versioned(org.value))
    }
}

/// Deletes an organisation that has no environment and no application left.
#[derive(Debug, Clone)]
pub struct DeleteOrg {
    /// Which.
    pub org: OrgName,
}

#[async_trait]
impl Action for DeleteOrg {
    type Output = ();
    const NAME: &'static str = "org.delete";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::ORG_DELETE
    }

    fn scope(&self) -> Scope {
        Scope::Org { org: self.org.clone() }
    }

    fn detail(&self) -> Value {
        json!({ "org": self.org })
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(Organization::key_of(&self.org))
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        let org = work.org(&self.org).await?;
        let names = |list: Vec<String>| list.join(", ");
        let envs = work.collections().children::<Environment>(self.org.as_str()).await?;
        let apps = work.collections().children::<AppRecord>(self.org.as_str()).await?;
        if !envs.is_empty() || !apps.is_empty() {
            return Err(Error::new(ErrorKind::Conflict, "delete an organisation that is not empty")
                .with_context("organisation", &self.org)
                .with_context(
                    "environments",
                    names(envs.iter().map(|env| env.value.name.to_string()).collect()),
                )
                .with_context(
                    "applications",
                    names(apps.iter().map(|app| app.value.name.to_string()).collect()),
                )
                .with_remedy("Delete its applications and environments first."));
        }
        work.changes().remove(&org);
        for scope in [Scope::Org { org: self.org.clone() }] {
            let options = ListOptions {
                index: Some(("scope".to_owned(), Grant::scope_name(&scope))),
                ..ListOptions::default()
            };
            for grant in work.collections().all::<Grant>(options).await? {
                work.changes().remove(&grant);
            }
        }
        let events = work.collections().children::<EventRecord>(self.org.as_str()).await?;
        for event in events.iter().take(200) {
            work.changes().remove(event);
        }
        work.event(EventKind::Deleted, Scope::Platform, format!("organisation {} was deleted", self.org));
        Ok(())
    }
}

/// Shows an organisation.
#[derive(Debug, Clone)]
pub struct GetOrg {
    /// Which.
    pub org: OrgName,
}

#[async_trait]
impl Action for GetOrg {
    type Output = Versioned<Organization>;
    const NAME: &'static str = "org.get";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::ORG_READ
    }

    fn scope(&self) -> Scope {
        Scope::Org { org: self.org.clone() }
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let org = work.org(&self.org).await?;
        Ok(Versioned { value: org.value, revision: org.modified })
    }
}

/// Lists the organisations that the actor may see.
#[derive(Debug, Clone)]
pub struct ListOrgs {
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListOrgs {
    type Output = ListPage<Versioned<Organization>>;
    const NAME: &'static str = "org.list";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::ORG_READ
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
        work.visible_page::<Organization>("", &self.page, permissions::ORG_READ, |org| Scope::Org {
            org: org.name.clone(),
        })
        .await
    }
}
