//! What is only looked at: how far images have come, and what was counted of requests.

use std::sync::Arc;
use std::time::Duration;

use paas_core::action::Deploy;
use paas_core::engine::{AppStatus, Outcome};
use paas_core::memory::{Image, Interceptor, Mutations};
use paas_core::model::ReleaseNumber;
use paas_core::port::{ImagePull, Role, Scope};
use paas_core::tenancy::Actor;
use paas_core::{AppEnv, ErrorKind};
use serde_json::json;
use tokio::time::sleep;

use crate::harness::*;

fn pulls(status: &AppStatus) -> Vec<ImagePull> {
    let tracks = status.components.iter().flat_map(|component| &component.tracks);
    tracks.flat_map(|track| &track.instances).filter_map(|instance| instance.pull).collect()
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_being_pulled_is_seen_to_come_and_nothing_is_written_for_it() {
    let world = World::new();
    let mutations = Arc::new(Mutations::new());
    let platform = world.platform(&[mutations.clone() as Arc<dyn Interceptor>]).await;
    world.prepare(&platform).await;
    let image = Image::new().with_pull(Duration::from_secs(100)).with_layers([10, 30, 60]);
    world.images.push("worker:1", image);
    let session = session(&platform);
    let started = session.deploy(&at(), Deploy::spec(spec("1"))).await.unwrap();

    let mut seen = Vec::new();
    sleep(Duration::from_secs(5)).await;
    mutations.take();
    for pause in [0, 10, 30] {
        sleep(Duration::from_secs(pause)).await;
        seen.extend(pulls(&session.status(&at()).await.unwrap()));
    }
    let pull =
        |received_bytes, layers_done| ImagePull { received_bytes, total_bytes: 100, layers_done, layers: 3 };
    assert_eq!(seen, [pull(0, 0), pull(10, 1), pull(40, 2)]);
    let written: Vec<_> =
        mutations.take().into_iter().filter(|call| call.object != "put lease all").collect();
    assert_eq!(written, Vec::new(), "it is not stored how far a pull has come");

    let outcome = session.wait_released(&at(), started.number, PATIENCE).await.unwrap();
    assert_eq!(outcome, Outcome::Succeeded);
    assert_eq!(pulls(&session.status(&at()).await.unwrap()), Vec::new(), "the image is here");
}

#[tokio::test(start_paused = true)]
async fn requests_are_told_by_access_point_version_and_caller() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let (web, api) = (at().component(name("web")), track("api"));
    for _ in 0..3 {
        world.cluster.request(HOST, "/").unwrap();
        world.cluster.call(&web, &api).unwrap();
    }
    release(&platform, Deploy::spec(spec("2"))).await;
    world.cluster.request(HOST, "/").unwrap();
    let session = session(&platform);
    session.stop(&at(), Some(&name("web"))).await.unwrap();
    let service = track("web").to_string();
    world.until("the web is offline", async || world.cluster.snapshot().services[&service].is_none()).await;
    world.cluster.request(HOST, "/").unwrap_err();

    let traffic = session.traffic(&at()).await.unwrap();
    assert_eq!(traffic.missing, Vec::new());
    let [route] = &traffic.routes[..] else { panic!("{traffic:?}") };
    assert_eq!((route.route.as_str(), route.component.as_str()), ("main", "web"));
    assert_eq!(route.summary.responses.successful, 4);
    assert_eq!((route.summary.requests, route.summary.router_errors), (5, 1));
    assert!(route.summary.latency.p50_us.is_some(), "{route:?}");
    let [call] = &traffic.calls[..] else { panic!("{traffic:?}") };
    assert_eq!((&call.caller, &call.callee), (&web, &api.component));
    assert_eq!(call.summary.requests, 3);
    let version = |component: &str, release: Option<u64>| {
        let release = release.map(ReleaseNumber);
        let mut found = traffic
            .versions
            .iter()
            .filter(|version| version.component == name(component) && version.release == release);
        let sum = found.next().map(|version| version.summary.requests);
        assert!(found.next().is_none(), "{traffic:?}");
        sum
    };
    assert_eq!(version("web", Some(1)), Some(3));
    assert_eq!(version("web", Some(2)), Some(1));
    assert_eq!(version("web", None), Some(1), "nobody could answer this one");
    assert_eq!(version("api", Some(1)), Some(3));
}

#[tokio::test(start_paused = true)]
async fn figures_of_requests_are_told_to_whoever_may_see_the_application() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    let admin = session(&platform);
    let other: AppEnv = "shop/prod/other".parse().unwrap();
    admin.create_app(&other.org, serde_json::from_value(json!({ "name": "other" })).unwrap()).await.unwrap();
    release(&platform, Deploy::spec(spec("1"))).await;
    let component = json!({
        "name": "web", "image": "web:1", "ports": [{ "name": "http", "number": 8080 }],
        "termination": { "drain_seconds": 0 },
    });
    let route = json!({ "name": "main", "host": "other.example.org", "component": "web" });
    let declared = json!({ "components": [component], "routes": [route] });
    let started =
        admin.deploy(&other, Deploy::spec(serde_json::from_value(declared).unwrap())).await.unwrap();
    admin.wait_released(&other, started.number, PATIENCE).await.unwrap();
    world.cluster.request(HOST, "/").unwrap();
    world.cluster.request("other.example.org", "/").unwrap();

    let viewer = Actor::user("viewer");
    admin.grant(&viewer, Role::Viewer, Scope::App(other.app_ref())).await.unwrap();
    let viewer = platform.session(viewer);
    let denied = viewer.traffic(&at()).await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Denied);
    assert_eq!(viewer.traffic(&other).await.unwrap().routes.len(), 1);
    let apps = async |session: &paas_core::Session| -> Vec<AppEnv> {
        let all = session.all_traffic().await.unwrap();
        all.into_iter().map(|(_, count)| count.component.at).collect()
    };
    assert_eq!(apps(&viewer).await, std::slice::from_ref(&other));
    assert_eq!(apps(&admin).await, [other, at()]);
    assert_eq!(apps(&platform.session(Actor::user("nobody"))).await, []);
}
