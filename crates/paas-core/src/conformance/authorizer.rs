//! The promises of [`Authorizer`].

use std::sync::Arc;

use async_trait::async_trait;

use super::{app, ok};
use crate::name::{AppEnv, OrgName};
use crate::port::{AccessRequest, Authorizer, Decision, Permission, Role, Scope};

/// An authorizer under test.
#[async_trait]
pub trait AuthorizerFixture: Send + Sync {
    /// The authorizer.
    fn authorizer(&self) -> Arc<dyn Authorizer>;

    /// Gives an actor a role on a scope.
    async fn grant(&self, actor: &str, role: Role, scope: &Scope);

    /// Takes it back.
    async fn revoke(&self, actor: &str, role: Role, scope: &Scope);

    /// A permission on an application that this role has and every lesser one lacks.
    fn permission_of(&self, role: Role) -> Permission;

    /// Makes the grants unreadable, if that is possible; returns whether it was.
    async fn break_down(&self) -> bool;
}

/// Defines a test for each promise of [`Authorizer`](crate::port::Authorizer): attributes of the tests, then an expression for
/// the fixture.
#[macro_export]
macro_rules! authorizer_conformance {
    ($($form:tt)*) => {
        $crate::conformance_tests! { authorizer, [$($form)*],
            what_nothing_allows_is_denied,
            a_role_has_what_lesser_roles_have_and_no_more,
            a_grant_holds_on_its_scope_and_below,
            a_grant_on_a_cluster_holds_on_that_cluster_only,
            a_grant_is_one_actors_own,
            a_revoked_grant_allows_nothing,
            a_failure_to_find_out_is_an_error,
        }
    };
}

const ROLES: [Role; 3] = [Role::Viewer, Role::Developer, Role::Owner];

async fn may(fixture: &dyn AuthorizerFixture, actor: &str, role: Role, scope: &Scope) -> bool {
    let permission = fixture.permission_of(role);
    ok(fixture.authorizer().authorize(&AccessRequest { actor, permission, scope }).await) == Decision::Allow
}

fn at() -> AppEnv {
    app("web")
}

fn cluster(name: &str) -> Scope {
    Scope::Cluster { cluster: name.parse().expect("the name is valid") }
}

/// What nothing allows is denied.
pub async fn what_nothing_allows_is_denied(fixture: &dyn AuthorizerFixture) {
    let here = at();
    let scopes = [
        Scope::Platform,
        cluster("local"),
        Scope::Org { org: here.org.clone() },
        Scope::Env(here.env_ref()),
        Scope::App(here.app_ref()),
        Scope::AppEnv(here),
    ];
    for scope in scopes {
        for role in ROLES {
            assert!(!may(fixture, "user:nobody", role, &scope).await, "{role:?} on {scope}");
        }
    }
    let unknown = Permission("conformance.unknown");
    fixture.grant("user:viewer", Role::Viewer, &Scope::Platform).await;
    let request = AccessRequest { actor: "user:viewer", permission: unknown, scope: &Scope::AppEnv(at()) };
    let decision = ok(fixture.authorizer().authorize(&request).await);
    assert!(matches!(decision, Decision::Deny(_)), "an unknown permission is not allowed to a viewer");
}

/// Each role has what the lesser ones have, and no more.
pub async fn a_role_has_what_lesser_roles_have_and_no_more(fixture: &dyn AuthorizerFixture) {
    let scope = Scope::AppEnv(at());
    for granted in ROLES {
        let actor = format!("user:{granted:?}").to_lowercase();
        fixture.grant(&actor, granted, &scope).await;
        for asked in ROLES {
            assert_eq!(
                may(fixture, &actor, asked, &scope).await,
                asked <= granted,
                "{granted:?} asks for {asked:?}"
            );
        }
    }
}

/// A grant holds on its scope and on what the scope contains, nowhere else.
pub async fn a_grant_holds_on_its_scope_and_below(fixture: &dyn AuthorizerFixture) {
    let org = |name: &str| -> OrgName { name.parse().expect("the name is valid") };
    let here = at();
    let sibling = app("other");
    let elsewhere = AppEnv { org: org("elsewhere"), ..here.clone() };
    let cases = [
        ("user:platform", Scope::Platform, [true, true, true]),
        ("user:org", Scope::Org { org: here.org.clone() }, [true, true, false]),
        ("user:env", Scope::Env(here.env_ref()), [true, true, false]),
        ("user:app", Scope::App(here.app_ref()), [true, false, false]),
        ("user:at", Scope::AppEnv(here.clone()), [true, false, false]),
    ];
    for (actor, scope, expected) in cases {
        fixture.grant(actor, Role::Developer, &scope).await;
        for (target, expected) in [&here, &sibling, &elsewhere].into_iter().zip(expected) {
            let allowed = may(fixture, actor, Role::Developer, &Scope::AppEnv(target.clone())).await;
            assert_eq!(allowed, expected, "a grant on {scope} asked for {target}");
        }
        let above = Scope::Org { org: here.org.clone() };
        let contains = scope.contains(&above);
        assert_eq!(
            may(fixture, actor, Role::Developer, &above).await,
            contains,
            "a grant on {scope} asked for {above}"
        );
    }
}

/// A grant on a cluster holds on that cluster, not on others nor on what runs there; one on an organisation holds on no cluster.
pub async fn a_grant_on_a_cluster_holds_on_that_cluster_only(fixture: &dyn AuthorizerFixture) {
    let here = at();
    let (east, west) = (cluster("east"), cluster("west"));
    let elsewhere = [
        Scope::Platform,
        Scope::Org { org: here.org.clone() },
        Scope::Env(here.env_ref()),
        Scope::App(here.app_ref()),
        Scope::AppEnv(here.clone()),
    ];
    fixture.grant("user:east", Role::Owner, &east).await;
    for role in ROLES {
        assert!(may(fixture, "user:east", role, &east).await, "{role:?} on {east}");
        for other in elsewhere.iter().chain([&west]) {
            assert!(!may(fixture, "user:east", role, other).await, "a grant on {east} asked for {other}");
        }
    }
    for (index, scope) in elsewhere.iter().enumerate() {
        let actor = format!("user:holder-{index}");
        fixture.grant(&actor, Role::Owner, scope).await;
        let expected = *scope == Scope::Platform;
        let allowed = may(fixture, &actor, Role::Viewer, &east).await;
        assert_eq!(allowed, expected, "a grant on {scope} asked for {east}");
    }
    fixture.revoke("user:east", Role::Owner, &east).await;
    assert!(!may(fixture, "user:east", Role::Viewer, &east).await, "a revoked grant allows nothing");
}

/// A grant is one actor's own.
pub async fn a_grant_is_one_actors_own(fixture: &dyn AuthorizerFixture) {
    fixture.grant("user:alice", Role::Owner, &Scope::Platform).await;
    for actor in ["user:alic", "user:alice2", "alice", "", "service:alice", "USER:ALICE"] {
        assert!(
            !may(fixture, actor, Role::Viewer, &Scope::AppEnv(at())).await,
            "{actor:?} is not user:alice"
        );
    }
}

/// A revoked grant allows nothing.
pub async fn a_revoked_grant_allows_nothing(fixture: &dyn AuthorizerFixture) {
    let scope = Scope::Org { org: at().org };
    fixture.grant("user:alice", Role::Developer, &scope).await;
    assert!(may(fixture, "user:alice", Role::Developer, &scope).await);
    fixture.revoke("user:alice", Role::Developer, &scope).await;
    assert!(!may(fixture, "user:alice", Role::Viewer, &scope).await);
}

/// A failure to find out is an error, never an `Allow`.
pub async fn a_failure_to_find_out_is_an_error(fixture: &dyn AuthorizerFixture) {
    fixture.grant("user:alice", Role::Owner, &Scope::Platform).await;
    if !fixture.break_down().await {
        return;
    }
    let permission = fixture.permission_of(Role::Viewer);
    let request = AccessRequest { actor: "user:alice", permission, scope: &Scope::AppEnv(at()) };
    let answer = fixture.authorizer().authorize(&request).await;
    assert!(answer.is_err(), "grants that cannot be read gave {answer:?}");
}
