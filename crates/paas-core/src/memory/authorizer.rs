//! An authorizer whose grants live in memory.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::port::{AccessRequest, Authorizer, Decision, Role, Scope};
use crate::tenancy::{Actor, denial, roles_allow};

/// Decides by roles that live in memory, with the same rules as [`RoleAuthorizer`](crate::tenancy::RoleAuthorizer).
#[derive(Debug, Default)]
pub struct MemoryAuthorizer {
    grants: RwLock<Grants>,
}

#[derive(Debug, Default)]
struct Grants {
    roles: BTreeMap<(String, Scope), Role>,
    unavailable: bool,
}

impl MemoryAuthorizer {
    /// An authorizer that allows nothing but to the platform itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives an actor, named like `user:alice`, a role on a scope, in place of the one it had there.
    pub fn grant(&self, actor: &str, role: Role, scope: Scope) {
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.roles.insert((actor.to_owned(), scope), role);
    }

    /// Takes an actor's role on a scope away.
    pub fn revoke(&self, actor: &str, scope: &Scope) {
        let mut grants = self.grants.write().unwrap_or_else(PoisonError::into_inner);
        grants.roles.remove(&(actor.to_owned(), scope.clone()));
    }

    /// Makes every decision fail, as if the place where grants are kept could not be reached, or no longer.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.grants.write().unwrap_or_else(PoisonError::into_inner).unavailable = unavailable;
    }
}

#[async_trait]
impl Authorizer for MemoryAuthorizer {
    async fn authorize(&self, request: &AccessRequest<'_>) -> Result<Decision> {
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner);
        if grants.unavailable {
            return Err(
                Error::new(ErrorKind::Unavailable, "look grants up").with_context("actor", request.actor)
            );
        }
        if request.actor == Actor::SYSTEM {
            return Ok(Decision::Allow);
        }
        let own = grants.roles.iter().filter(|((actor, _), _)| actor == request.actor);
        if roles_allow(own.map(|((_, scope), role)| (*role, scope)), request.permission, request.scope) {
            Ok(Decision::Allow)
        } else {
            Ok(denial(request))
        }
    }
}
