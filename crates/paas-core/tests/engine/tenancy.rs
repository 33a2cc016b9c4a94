use paas_core::action::{Deploy, NewOrg, PageOptions};
use paas_core::port::{Permission, Role, Scope};
use paas_core::tenancy::permissions;
use paas_core::{Actor, ErrorKind, Session};

use crate::support::{Lab, at, name, spec, web};

fn org() -> Scope {
    Scope::Org { org: at().org }
}

async fn member(lab: &Lab, who: &str, role: Role, scope: Scope) -> Session {
    let actor = Actor::user(who);
    lab.session.grant(&actor, role, scope).await.unwrap();
    lab.platform.session(actor)
}

fn denied<T: std::fmt::Debug>(answer: paas_core::Result<T>) {
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn what_nothing_allows_is_denied_before_anything_is_looked_up() {
    let lab = Lab::ready().await;
    let stranger = lab.platform.session(Actor::user("mallory"));
    denied(stranger.create_org(NewOrg::new(name("evil"))).await);
    denied(stranger.status(&at()).await);
    denied(stranger.status(&"no/such/app".parse().unwrap()).await);
    denied(stranger.deploy(&at(), Deploy::spec(spec())).await);
    assert!(stranger.list_orgs(PageOptions::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn each_role_may_what_the_table_says() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    let viewer = member(&lab, "viewer", Role::Viewer, org()).await;
    let developer = member(&lab, "developer", Role::Developer, org()).await;
    let owner = member(&lab, "owner", Role::Owner, org()).await;
    viewer.status(&at()).await.unwrap();
    denied(viewer.scale(&at(), &web(), 3).await);
    developer.scale(&at(), &web(), 3).await.unwrap();
    denied(developer.delete_app_env(&at(), "shop").await);
    denied(developer.grant(&Actor::user("x"), Role::Viewer, org()).await);
    owner.grant(&Actor::user("x"), Role::Owner, org()).await.unwrap();
    denied(owner.delete_org(&at().org).await);
    denied(owner.grant(&Actor::user("owner"), Role::PlatformAdmin, Scope::Platform).await);
    denied(owner.grant(&Actor::user("owner"), Role::Owner, Scope::Platform).await);
}

#[tokio::test]
async fn a_role_counts_inside_its_scope_only() {
    let mut lab = Lab::ready().await;
    lab.release(spec()).await;
    lab.session.create_org(NewOrg::new(name("other"))).await.unwrap();
    let developer = member(&lab, "dev", Role::Developer, Scope::Env(at().env_ref())).await;
    developer.scale(&at(), &web(), 3).await.unwrap();
    denied(developer.get_org(&at().org).await);
    denied(developer.get_org(&name("other")).await);
    let page = developer.list_status(&at().env_ref(), PageOptions::default()).await.unwrap();
    assert_eq!(page.items.len(), 1);
    lab.session.revoke_grant(&Actor::user("dev"), Scope::Env(at().env_ref())).await.unwrap();
    denied(developer.scale(&at(), &web(), 4).await);
}

#[tokio::test]
async fn the_last_platform_administrator_stays() {
    let lab = Lab::ready().await;
    let root = Actor::user("root");
    let error = lab.session.revoke_grant(&root, Scope::Platform).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    lab.session.grant(&Actor::user("second"), Role::PlatformAdmin, Scope::Platform).await.unwrap();
    lab.session.revoke_grant(&root, Scope::Platform).await.unwrap();
    denied(lab.session.create_org(NewOrg::new(name("late"))).await);
}

#[tokio::test]
async fn a_user_cannot_call_themselves_the_system() {
    let lab = Lab::ready().await;
    for actor in [Actor::user("system"), Actor::service("system"), Actor::user("")] {
        let session = lab.platform.session(actor);
        let kind = session.create_org(NewOrg::new(name("evil"))).await.unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Denied | ErrorKind::Invalid), "{kind}");
    }
}

#[test]
fn every_permission_is_in_the_documented_table_once() {
    let source = include_str!("../../src/tenancy/permissions.rs");
    for (Permission(text), _) in permissions::ALL {
        let rows =
            source.lines().filter(|line| line.starts_with("//! |") && line.contains(&format!("`{text}`")));
        assert_eq!(rows.count(), 1, "{text}");
    }
}
