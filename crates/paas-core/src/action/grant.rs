//! Who has which role.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Action, Effect, ListPage, PageOptions, Versioned, Work};
use crate::engine::{EventKind, Grant};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::port::{DocumentKey, ListOptions, Permission, Revision, Role, Scope};
use crate::tenancy::{Actor, permissions};

fn permission_for(role: Option<Role>, scope: &Scope) -> Permission {
    // Whoever may give a role on the whole platform could give themselves everything.
    if role == Some(Role::PlatformAdmin) || *scope == Scope::Platform {
        permissions::PLATFORM_ADMINISTER
    } else {
        permissions::ROLE_GRANT
    }
}

/// Gives an actor a role on a scope, in place of the one it had there.
#[derive(Debug, Clone)]
pub struct GrantRole {
    /// Who, such as `user:alice`.
    pub actor: String,
    /// Which role.
    pub role: Role,
    /// On what.
    pub scope: Scope,
}

#[async_trait]
impl Action for GrantRole {
    type Output = Versioned<Grant>;
    const NAME: &'static str = "role.grant";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permission_for(Some(self.role), &self.scope)
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        if Actor::check_id(&self.actor).is_err() || !self.actor.contains(':') {
            faults.push(Fault::new("actor", "is not the name of an actor; write it like user:alice"));
        }
        if self.role == Role::PlatformAdmin && self.scope != Scope::Platform {
            faults.push(Fault::new("role", "the role of platform administrator exists on the platform only"));
        }
    }

    fn detail(&self) -> Value {
        json!({ "actor": self.actor, "role": self.role, "scope": self.scope })
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        match &self.scope {
            Scope::Platform => {}
            Scope::Cluster { cluster } => {
                if !work.knows_cluster(cluster).await? {
                    return Err(Error::not_found("cluster", cluster));
                }
            }
            Scope::Org { org } => drop(work.org(org).await?),
            Scope::Env(env) => drop(work.env(env).await?),
            Scope::App(app) => drop(work.app(app).await?),
            Scope::AppEnv(at) => {
                work.app(&at.app_ref()).await?;
                work.env(&at.env_ref()).await?;
            }
        }
        let grant = Grant {
            actor: self.actor.clone(),
            role: self.role,
            scope: self.scope.clone(),
            granted_by: work.actor().id().to_owned(),
            granted_at: work.now(),
        };
        work.changes().put(&grant)?;
        work.event(
            EventKind::Changed,
            self.scope.clone(),
            format!("{} got a role on {}", self.actor, self.scope),
        );
        Ok(work.versioned(grant))
    }
}

/// Takes an actor's role on a scope away.
#[derive(Debug, Clone)]
pub struct RevokeGrant {
    /// Whose.
    pub actor: String,
    /// On what.
    pub scope: Scope,
}

#[async_trait]
impl Action for RevokeGrant {
    type Output = ();
    const NAME: &'static str = "role.revoke";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permission_for(None, &self.scope)
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn detail(&self) -> Value {
        json!({ "actor": self.actor, "scope": self.scope })
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(Grant::key_of(&self.actor, &self.scope))
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        let key = Grant::key_of(&self.actor, &self.scope);
        let grant = work
            .get::<Grant>(&key)
            .await?
            .ok_or_else(|| Error::not_found("role", format!("of {} on {}", self.actor, self.scope)))?;
        if grant.value.role == Role::PlatformAdmin {
            let options = ListOptions {
                index: Some(("scope".to_owned(), Grant::scope_name(&Scope::Platform))),
                ..ListOptions::default()
            };
            let others = work.collections().all::<Grant>(options).await?;
            let left = others
                .iter()
                .filter(|other| other.value.role == Role::PlatformAdmin && other.value.actor != self.actor);
            if left.count() == 0 && !work.actor().is_system() {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "revoke the role of the last platform administrator",
                )
                .with_context("actor", &self.actor)
                .with_remedy("Make somebody else a platform administrator first."));
            }
        }
        work.changes().remove(&grant);
        work.event(
            EventKind::Changed,
            self.scope.clone(),
            format!("{} lost a role on {}", self.actor, self.scope),
        );
        Ok(())
    }
}

/// Lists who has a role on exactly this scope.
#[derive(Debug, Clone)]
pub struct ListGrants {
    /// The scope.
    pub scope: Scope,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListGrants {
    type Output = ListPage<Versioned<Grant>>;
    const NAME: &'static str = "role.list";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::ROLE_READ
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let name = Grant::scope_name(&self.scope);
        // The actor is the parent of a grant, and the name is the same for all in this list.
        let after = self.page.after.as_ref().map(|actor| Grant::key_of(actor, &self.scope));
        let options = ListOptions {
            index: Some(("scope".to_owned(), name)),
            after,
            limit: Some(self.page.limit()),
            ..ListOptions::default()
        };
        let page = work.collections().page::<Grant>(options).await?;
        Ok(ListPage {
            next: page.next.map(|key| key.parent),
            items: page
                .items
                .into_iter()
                .map(|grant| Versioned { value: grant.value, revision: grant.modified })
                .collect(),
        })
    }
}
