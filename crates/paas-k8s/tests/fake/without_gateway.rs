//! Traffic on a cluster without the Gateway API: by counts behind one service.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use paas_core::ErrorKind;
use paas_core::memory::Images;
use paas_core::port::{Epoch, Router as _};
use paas_k8s::KubernetesCluster;
use paas_k8s::fake::FakeCluster;
use paas_k8s::kube::Api;
use paas_k8s::kube::api::ListParams;

use super::fixture::{Canaries, DOMAIN, Fixture, ok, options, route, track, traffic};

async fn fixture() -> Fixture {
    let mut options = options();
    options.gateway = None;
    Fixture::with(options).await
}

async fn service(fixture: &Fixture, kind: &str) -> Service {
    let all: Api<Service> = Api::all(fixture.fake.client());
    let found = all.list(&ListParams::default()).await.unwrap().items;
    found.into_iter().find(|it| it.spec.as_ref().unwrap().type_.as_deref() == Some(kind)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_revision_is_selected_by_itself_and_several_by_their_component() {
    let fixture = fixture().await;
    assert!(!fixture.cluster.capabilities().weights);
    let label = format!("{DOMAIN}/revision");
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1), ("r2", 0)])).await);
    let selector = service(&fixture, "ClusterIP").await.spec.unwrap().selector.unwrap();
    assert_eq!(selector.get(&label).map(String::as_str), Some("r1"));
    ok(fixture.cluster.apply_service(Epoch(2), &traffic(&[("r1", 1), ("r2", 1)])).await);
    let selector = service(&fixture, "ClusterIP").await.spec.unwrap().selector.unwrap();
    assert_eq!(selector.get(&label), None, "shares follow the counts");
    let three = traffic(&[("r1", 1), ("r2", 1), ("r3", 0)]);
    let error = fixture.cluster.apply_service(Epoch(3), &three).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.report());
}

#[tokio::test(start_paused = true)]
async fn only_tcp_ports_can_be_access_points() {
    let fixture = fixture().await;
    let mut route = route();
    let at = track("shop").component.at;
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1)])).await);
    let error = fixture.cluster.apply_routes(Epoch(1), &at, &[route.clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.report());
    route.tcp_port = Some(9000);
    ok(fixture.cluster.apply_routes(Epoch(1), &at, &[route.clone()]).await);
    let made = service(&fixture, "LoadBalancer").await.spec.unwrap();
    assert_eq!(made.ports.unwrap()[0].port, 9000);
    assert_eq!(ok(fixture.cluster.observe_routes(&at).await), [route]);
    ok(fixture.cluster.apply_routes(Epoch(1), &at, &[]).await);
    let all: Api<Service> = Api::all(fixture.fake.client());
    assert_eq!(all.list(&ListParams::default()).await.unwrap().items.len(), 1, "its own service is left");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_on_a_cluster_without_its_api_is_refused() {
    let fake = FakeCluster::new(Images::new());
    fake.set_gateway_api(false);
    let opened = KubernetesCluster::open(fake.client(), options(), Arc::new(Canaries)).await;
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.report());
}
