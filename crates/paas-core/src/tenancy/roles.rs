//! The built-in roles and the authorizer that decides by them.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Actor, permissions};
use crate::engine::{Collections, Grant};
use crate::error::Result;
use crate::port::{AccessRequest, Authorizer, Decision, Permission, Role, Scope, Store};

/// Whether a role has a permission. A permission that the table does not know, such as an embedder's own, belongs
/// to owners; embedders who want it otherwise bring an [`Authorizer`] of their own.
pub fn role_permits(role: Role, permission: Permission) -> bool {
    let least = permissions::ALL
        .iter()
        .find(|(known, _)| *known == permission)
        .map_or(Role::Owner, |(_, least)| *least);
    role >= least
}

/// Decides by the roles that the actor has; a role of platform administrator counts on the platform only.
pub fn roles_allow<'a>(
    roles: impl IntoIterator<Item = (Role, &'a Scope)>,
    permission: Permission,
    scope: &Scope,
) -> bool {
    roles.into_iter().any(|(role, on)| {
        role_permits(role, permission)
            && on.contains(scope)
            && (role != Role::PlatformAdmin || *on == Scope::Platform)
    })
}

pub(crate) fn denial(request: &AccessRequest<'_>) -> Decision {
    let least =
        permissions::ALL.iter().find(|(known, _)| *known == request.permission).map(|(_, role)| *role);
    let role = match least {
        Some(Role::Viewer) => "viewer",
        Some(Role::Developer) => "developer",
        Some(Role::PlatformAdmin) => "platform administrator",
        _ => "owner",
    };
    Decision::Deny(format!("{} needs the role {role} on {}", request.permission, request.scope))
}

/// Decides by the roles that are granted in the store. The platform itself may do everything.
#[derive(Debug, Clone)]
pub struct RoleAuthorizer {
    collections: Collections,
}

impl RoleAuthorizer {
    /// Decides by the grants in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { collections: Collections::new(store) }
    }
}

#[async_trait]
impl Authorizer for RoleAuthorizer {
    async fn authorize(&self, request: &AccessRequest<'_>) -> Result<Decision> {
        if request.actor == Actor::SYSTEM {
            return Ok(Decision::Allow);
        }
        let grants = self.collections.children::<Grant>(request.actor).await?;
        let roles = grants.iter().map(|grant| (grant.value.role, &grant.value.scope));
        if roles_allow(roles, request.permission, request.scope) {
            Ok(Decision::Allow)
        } else {
            Ok(denial(request))
        }
    }
}
