//! The ports that the engine brings in memory keep their promises.

use std::sync::Arc;

use async_trait::async_trait;
use paas_core::conformance::authorizer::AuthorizerFixture;
use paas_core::conformance::key_ring::KeyRingFixture;
use paas_core::engine::{Changes, Grant};
use paas_core::memory::{MemoryAuthorizer, MemoryKeyRing, MemoryStore};
use paas_core::port::{Authorizer, KeyRing, Permission, Role, Scope, Store};
use paas_core::tenancy::{RoleAuthorizer, permissions};

struct Keys(Arc<MemoryKeyRing>);

#[async_trait]
impl KeyRingFixture for Keys {
    fn key_ring(&self) -> Arc<dyn KeyRing> {
        self.0.clone()
    }

    /// Keys in memory live as long as the process, which is the same one.
    async fn reopened(&self) -> Arc<dyn KeyRing> {
        self.0.clone()
    }

    async fn elsewhere(&self) -> Arc<dyn KeyRing> {
        Arc::new(MemoryKeyRing::new())
    }
}

mod key_ring {
    use super::{Arc, Keys, MemoryKeyRing};
    paas_core::key_ring_conformance!(#[tokio::test] => Keys(Arc::new(MemoryKeyRing::new())));
}

fn permission_of(role: Role) -> Permission {
    match role {
        Role::Viewer => permissions::APP_READ,
        Role::Developer => permissions::APP_DEPLOY,
        Role::Owner => permissions::APP_DELETE,
        _ => permissions::PLATFORM_ADMINISTER,
    }
}

struct InMemory(Arc<MemoryAuthorizer>);

#[async_trait]
impl AuthorizerFixture for InMemory {
    fn authorizer(&self) -> Arc<dyn Authorizer> {
        self.0.clone()
    }

    async fn grant(&self, actor: &str, role: Role, scope: &Scope) {
        self.0.grant(actor, role, scope.clone());
    }

    async fn revoke(&self, actor: &str, _: Role, scope: &Scope) {
        self.0.revoke(actor, scope);
    }

    fn permission_of(&self, role: Role) -> Permission {
        permission_of(role)
    }

    async fn break_down(&self) -> bool {
        self.0.set_unavailable(true);
        true
    }
}

mod memory_authorizer {
    use super::{Arc, InMemory, MemoryAuthorizer};
    paas_core::authorizer_conformance!(#[tokio::test] => InMemory(Arc::new(MemoryAuthorizer::new())));
}

struct InStore(Arc<MemoryStore>);

#[async_trait]
impl AuthorizerFixture for InStore {
    fn authorizer(&self) -> Arc<dyn Authorizer> {
        Arc::new(RoleAuthorizer::new(self.0.clone()))
    }

    async fn grant(&self, actor: &str, role: Role, scope: &Scope) {
        let grant = Grant {
            actor: actor.to_owned(),
            role,
            scope: scope.clone(),
            granted_by: "system".to_owned(),
            granted_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut changes = Changes::new();
        changes.put(&grant).unwrap();
        self.0.commit(changes.into_txn()).await.unwrap();
    }

    async fn revoke(&self, actor: &str, _: Role, scope: &Scope) {
        let mut changes = Changes::new();
        changes.delete(Grant::key_of(actor, scope));
        self.0.commit(changes.into_txn()).await.unwrap();
    }

    fn permission_of(&self, role: Role) -> Permission {
        permission_of(role)
    }

    async fn break_down(&self) -> bool {
        false
    }
}

mod role_authorizer {
    use super::{Arc, InStore, MemoryStore};
    paas_core::authorizer_conformance!(#[tokio::test] => InStore(Arc::new(MemoryStore::new())));
}
