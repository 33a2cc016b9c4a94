use paas_core::action::{Deploy, NewApp, NewOrg, PageOptions};
use paas_core::memory::{Images, SimulatedCluster};
use paas_core::port::{LogOptions, Permission, Role, Scope};
use paas_core::tenancy::permissions;
use paas_core::{Actor, ClusterName, ErrorKind, Session};
use serde_json::json;

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
async fn a_role_on_a_cluster_is_about_that_cluster_and_not_about_what_runs_there() {
    let other = SimulatedCluster::new(Images::any());
    let mut lab = Lab::with(|builder| builder.cluster(name("other"), other.ports())).await;
    let env = serde_json::from_value(json!({ "name": "prod", "targets": [{ "cluster": "local" }] })).unwrap();
    lab.session.create_org(NewOrg::new(at().org)).await.unwrap();
    lab.session.create_env(&at().org, env).await.unwrap();
    lab.session.create_app(&at().org, NewApp::new(at().app)).await.unwrap();
    lab.release(spec()).await;
    let local = ClusterName::local();
    let on = |cluster: &ClusterName| Scope::Cluster { cluster: cluster.clone() };
    let viewer = member(&lab, "viewer", Role::Viewer, on(&local)).await;
    let owner = member(&lab, "owner", Role::Owner, on(&local)).await;
    for session in [&viewer, &owner] {
        assert_eq!(session.get_cluster(&local).await.unwrap().value.name, local);
        assert!(!session.nodes(&local).await.unwrap().is_empty());
        session.events(on(&local), PageOptions::default()).await.unwrap();
        session.audit(on(&local), PageOptions::default()).await.unwrap();
        let seen = session.list_clusters(PageOptions::default()).await.unwrap();
        let names: Vec<&ClusterName> = seen.items.iter().map(|cluster| &cluster.value.name).collect();
        assert_eq!(names, [&local], "the other cluster is not seen");
        // Another cluster.
        denied(session.get_cluster(&name("other")).await);
        denied(session.nodes(&name("other")).await);
        // What only administrators of the platform may.
        denied(session.cordon(&local, "node-0", true).await);
        denied(session.remove_cluster(&local).await);
        // What runs on it, and whom that belongs to.
        denied(session.status(&at()).await);
        denied(session.scale(&at(), &web(), 1).await);
        denied(session.get_env(&at().env_ref()).await);
        denied(session.get_org(&at().org).await);
        denied(session.logs(&at(), &web(), LogOptions::default()).await.map(drop));
        denied(session.audit(Scope::Platform, PageOptions::default()).await);
        denied(session.audit(org(), PageOptions::default()).await);
        let page = session.list_status(&at().env_ref(), PageOptions::default()).await.unwrap();
        assert_eq!(page.items, []);
    }
    // Roles on it are given by its owners, up to their own.
    let guest = Actor::user("guest");
    denied(viewer.grant(&guest, Role::Viewer, on(&local)).await);
    owner.grant(&guest, Role::Viewer, on(&local)).await.unwrap();
    denied(owner.grant(&guest, Role::Viewer, on(&name("other"))).await);
    denied(owner.grant(&guest, Role::Viewer, Scope::Env(at().env_ref())).await);
    lab.platform.session(guest.clone()).get_cluster(&local).await.unwrap();
    owner.revoke_grant(&guest, on(&local)).await.unwrap();
    denied(lab.platform.session(guest).get_cluster(&local).await);
    // A role of an organisation's is none on the clusters that its environments target.
    let member = member(&lab, "member", Role::Owner, org()).await;
    denied(member.get_cluster(&local).await);
    let missing = lab.session.grant(&Actor::user("x"), Role::Viewer, on(&name("nowhere"))).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
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
