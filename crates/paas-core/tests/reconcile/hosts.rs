//! A host belongs to one application of a cluster, whether an access point or an object of manifests names it.

use paas_core::action::{Deploy, NewApp, RollbackTarget};
use paas_core::engine::{Outcome, Platform, Session};
use paas_core::model::{AppSpec, Keep, RouteSpec};
use paas_core::port::{Role, Scope};
use paas_core::tenancy::Actor;
use paas_core::{AppEnv, Error, ErrorKind};
use serde_json::{Value, json};

use crate::harness::*;

fn other() -> AppEnv {
    "shop/prod/other".parse().unwrap()
}

fn ingress(host: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "web" },
        "spec": { "rules": [{ "host": host }] },
    })
}

/// An application of manifests, of which the second object leads requests from a host.
fn manifests(host: &str) -> AppSpec {
    let config = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
    let component = json!({ "name": "objects", "kind": "manifests", "manifests": [config, ingress(host)] });
    serde_json::from_value(json!({ "components": [component] })).unwrap()
}

async fn setting(world: &World) -> Platform {
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    session(&platform).create_app(&at().org, NewApp::new("other".parse().unwrap())).await.unwrap();
    platform
}

async fn released(session: &Session, at: &AppEnv, spec: AppSpec) {
    let number = session.deploy(at, Deploy::spec(spec)).await.unwrap().number;
    assert_eq!(session.wait_released(at, number, PATIENCE).await.unwrap(), Outcome::Succeeded);
}

fn faults(error: &Error) -> Vec<String> {
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    error.faults().iter().map(ToString::to_string).collect()
}

const REMEDY: &str = "choose another host or path, or remove it there first";

#[tokio::test(start_paused = true)]
async fn manifests_with_the_host_of_an_access_point_are_refused_with_the_path_of_the_field_and_its_owner() {
    let world = World::new();
    let platform = setting(&world).await;
    let session = session(&platform);
    release(&platform, Deploy::spec(spec("1"))).await;
    let refused = session.deploy(&other(), Deploy::spec(manifests(HOST))).await.unwrap_err();
    let path = "components[0].manifests[1] Ingress/web.spec.rules[0].host";
    let place = format!("{HOST}/ belongs to");
    let told = format!("{path}: {place} the application shop/prod/web on cluster local; {REMEDY}");
    assert_eq!(faults(&refused), [told]);
    // Whoever may not see the owner is not told.
    let stranger = Actor::user("stranger");
    session.grant(&stranger, Role::Developer, Scope::AppEnv(other())).await.unwrap();
    let refused =
        platform.session(stranger).deploy(&other(), Deploy::spec(manifests(HOST))).await.unwrap_err();
    assert_eq!(faults(&refused), [format!("{path}: {place} another application on cluster local; {REMEDY}")]);
    released(&session, &other(), manifests("other.example.org")).await;
}

#[tokio::test(start_paused = true)]
async fn an_access_point_with_the_host_of_manifests_is_refused_by_a_deploy_and_by_a_change() {
    let world = World::new();
    let platform = setting(&world).await;
    let session = session(&platform);
    released(&session, &other(), manifests(HOST)).await;
    let refused = session.deploy(&at(), Deploy::spec(spec("1"))).await.unwrap_err();
    let told = format!("{HOST}/ belongs to the application shop/prod/other on cluster local; {REMEDY}");
    assert_eq!(faults(&refused), [format!("routes[0].host: {told}")]);
    let mut elsewhere = spec("1");
    elsewhere.routes[0].host = Some("else.example.org".to_owned());
    released(&session, &at(), elsewhere.clone()).await;
    let route: RouteSpec = elsewhere.routes[0].clone();
    let route = RouteSpec { host: Some(HOST.to_owned()), name: "second".parse().unwrap(), ..route };
    let refused = session.add_route(&at(), route.clone()).await.unwrap_err();
    assert_eq!(faults(&refused), [format!("routes[1].host: {told}")]);
    // Where it was given up, it may be had.
    released(&session, &other(), manifests("other.example.org")).await;
    session.add_route(&at(), route).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_applications_of_manifests_cannot_have_one_host_and_a_return_to_a_host_that_was_given_away_is_refused()
 {
    let world = World::new();
    let platform = setting(&world).await;
    let session = session(&platform);
    released(&session, &at(), manifests(HOST)).await;
    let refused = session.deploy(&other(), Deploy::spec(manifests(HOST))).await.unwrap_err();
    assert!(faults(&refused)[0].contains("shop/prod/web"), "{}", refused.report());
    // One's own is not in one's way.
    released(&session, &at(), manifests(HOST)).await;
    released(&session, &at(), manifests("new.example.org")).await;
    released(&session, &other(), manifests(HOST)).await;
    let refused = session.rollback(&at(), RollbackTarget::Previous, Keep::Nothing).await.unwrap_err();
    assert!(faults(&refused)[0].contains("shop/prod/other"), "{}", refused.report());
}
