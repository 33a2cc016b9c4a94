//! Routes of the Gateway API, as they follow from what is declared.

use std::collections::BTreeMap;
use std::time::Duration;

use paas_core::port::{Epoch, Router as _, Runtime as _};
use paas_k8s::KubernetesOptions;
use paas_k8s::fake::{Fault, Verb};
use paas_k8s::gateway_api::HTTPRoute;
use paas_k8s::kube::Api;
use paas_k8s::kube::api::ListParams;

use super::fixture::{Fixture, ok, options, route, track, traffic};

/// The shares of the only route, by the name of the service: that of the revision is its end.
async fn shares(fixture: &Fixture) -> BTreeMap<String, u32> {
    let all: Api<HTTPRoute> = Api::all(fixture.fake.client());
    let found = all.list(&ListParams::default()).await.unwrap().items;
    let [route] = found.as_slice() else { panic!("one route: {found:?}") };
    let services = &route.spec.rules[0].backend_refs;
    services.iter().map(|it| (it.name.clone(), it.weight)).collect()
}

fn with_grace() -> KubernetesOptions {
    let mut options = options();
    options.gateway = options.gateway.map(|it| it.with_grace(Duration::from_secs(1)));
    options
}

/// A revision that has all requests, by a gateway with a second of grace; its service.
async fn first_revision() -> (Fixture, String) {
    let fixture = Fixture::with(with_grace()).await;
    let spec = fixture.spec(&track("shop"), "r1", 1);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    fixture.until_ready(&spec.key, 1).await;
    ok(fixture.cluster.apply_routes(Epoch(1), &track("shop").component.at, &[route()]).await);
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1)])).await);
    confirmed(&fixture).await;
    let service = shares(&fixture).await.into_keys().next().unwrap();
    (fixture, service)
}

/// Makes the set of a second revision, and waits until the route names its service, which it returns.
async fn second_revision(fixture: &Fixture, first: &str) -> String {
    let spec = fixture.spec(&track("shop"), "r2", 1);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    for _ in 0..100 {
        if let Some(name) = shares(fixture).await.into_keys().find(|name| name != first) {
            return name;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the route never named it: {:?}", shares(fixture).await);
}

async fn is_confirmed(fixture: &Fixture) -> bool {
    ok(fixture.cluster.observe_service(&track("shop")).await).unwrap().confirmed
}

async fn confirmed(fixture: &Fixture) {
    for _ in 0..1000 {
        if is_confirmed(fixture).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never confirmed: {:?}", shares(fixture).await);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_new_in_a_route_has_no_share_before_the_gateway_knows_it() {
    let (fixture, first) = first_revision().await;
    let second = second_revision(&fixture, &first).await;
    let of = |a: u32, b: u32| BTreeMap::from([(first.clone(), a), (second.clone(), b)]);
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1), ("r2", 3)])).await);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(shares(&fixture).await, of(1, 0));
    assert!(!is_confirmed(&fixture).await, "what is held back is not in force");
    confirmed(&fixture).await;
    assert_eq!(shares(&fixture).await, of(1, 3));
    // What the gateway knows changes at once.
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 0), ("r2", 1)])).await);
    assert_eq!(shares(&fixture).await, of(0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_gateway_hears_of_a_set_while_its_instances_start() {
    let (fixture, first) = first_revision().await;
    let second = second_revision(&fixture, &first).await;
    let of = |a: u32, b: u32| BTreeMap::from([(first.clone(), a), (second.clone(), b)]);
    assert_eq!(shares(&fixture).await, of(1, 0));
    let begun = tokio::time::Instant::now();
    confirmed(&fixture).await;
    assert!(begun.elapsed() < Duration::from_millis(500), "nobody has another share than before");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1), ("r2", 3)])).await);
    assert_eq!(shares(&fixture).await, of(1, 3), "it is given its share at once");
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1)])).await);
    assert_eq!(shares(&fixture).await, of(1, 0));
    let spec = fixture.spec(&track("shop"), "r2", 1);
    ok(fixture.cluster.remove(Epoch(1), &spec.key).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(shares(&fixture).await, BTreeMap::from([(first, 1)]), "what has no set is named no more");
}

#[tokio::test(start_paused = true)]
async fn another_server_gives_a_share_that_was_held_back() {
    let (fixture, first) = first_revision().await;
    let second = second_revision(&fixture, &first).await;
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1), ("r2", 3)])).await);
    let fixture = Fixture::on(fixture.fake.clone(), with_grace()).await;
    assert!(!is_confirmed(&fixture).await);
    confirmed(&fixture).await;
    assert_eq!(shares(&fixture).await, BTreeMap::from([(first, 1), (second, 3)]));
}

#[tokio::test(start_paused = true)]
async fn a_late_write_of_routes_does_not_outlive_what_it_follows_from() {
    let fixture = Fixture::new().await;
    let at = track("shop").component.at;
    fixture.fake.inject(Verb::Update, Some("httproutes"), Fault::Late(Duration::from_secs(2)), 1);
    let routes = [route()];
    let declare = fixture.cluster.apply_routes(Epoch(1), &at, &routes);
    let withdraw = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        fixture.cluster.apply_routes(Epoch(1), &at, &[]).await
    };
    let (declared, withdrawn) = futures::join!(declare, withdraw);
    ok(declared);
    ok(withdrawn);
    let all: Api<HTTPRoute> = Api::all(fixture.fake.client());
    let left = all.list(&ListParams::default()).await.unwrap().items;
    assert!(left.is_empty(), "nothing is declared, and there is {left:?}");
}

/// Where no instance more than declared may run, traffic is told of a revision before there is a set of it.
#[tokio::test(start_paused = true)]
async fn traffic_is_in_force_before_a_revision_without_a_share_has_its_set() {
    let fixture = Fixture::new().await;
    let spec = fixture.spec(&track("shop"), "r1", 1);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    fixture.until_ready(&spec.key, 1).await;
    ok(fixture.cluster.apply_routes(Epoch(1), &track("shop").component.at, &[route()]).await);
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1), ("r2", 0)])).await);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if ok(fixture.cluster.observe_service(&spec.key.track).await).is_some_and(|it| it.confirmed) {
            return;
        }
    }
    panic!("it is never in force");
}
