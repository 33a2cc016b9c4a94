//! A host belongs to one application of a cluster, whether a declared access point or an object of manifests names it.

use std::collections::BTreeMap;

use paas_core::model::{ComponentKind, Manifest};
use paas_core::port::{Epoch, HostPath, RouteBinding, Router as _, Runtime as _, SetKey, SetSpec};
use paas_core::{AppEnv, ErrorKind, TrackKey};
use serde_json::{Value, json};

use super::fixture::{Fixture, ok, revision, route, track};

fn http_route(hosts: &[&str], path: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "web" },
        "spec": {
            "parentRefs": [{ "namespace": "gateway", "name": "gateway" }],
            "hostnames": hosts,
            "rules": [{ "matches": [{ "path": { "type": "PathPrefix", "value": path } }] }],
        }
    })
}

fn set(fixture: &Fixture, track: &TrackKey, name: &str, object: Value) -> SetSpec {
    let mut template = fixture.ready(&track.component);
    template.kind = ComponentKind::Manifests;
    template.image.clear();
    template.digest.clear();
    template.ports.clear();
    template.env.clear();
    template.manifests = vec![serde_json::from_value::<Manifest>(object).unwrap()];
    SetSpec {
        key: SetKey { track: track.clone(), revision: revision(name) },
        template,
        count: 1,
        first: 0,
        labels: BTreeMap::new(),
    }
}

fn binding(app: &str, host: &str) -> (AppEnv, RouteBinding) {
    let track = track(app);
    (track.component.at.clone(), RouteBinding { host: Some(host.to_owned()), track, ..route() })
}

fn asked(host: &str, path: &str) -> [HostPath; 1] {
    [HostPath::new(host, path)]
}

#[tokio::test(start_paused = true)]
async fn a_host_of_manifests_is_refused_to_the_access_points_of_others() {
    let fixture = Fixture::new().await;
    let (shop, other) = (track("shop"), track("other"));
    let spec = set(&fixture, &shop, "r1", http_route(&["a.example", "b.example"], "/"));
    let path = "manifests[0] HTTPRoute/web.spec.hostnames[1]".to_owned();
    assert_eq!(fixture.cluster.hosts(&spec.template)[1], (path, HostPath::new("b.example", "/")));
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    let owner = Some(shop.component.at.clone());
    assert_eq!(ok(fixture.cluster.holders(&other.component.at, &asked("b.example", "/")).await), [owner]);
    assert_eq!(ok(fixture.cluster.holders(&shop.component.at, &asked("b.example", "/")).await), [None]);
    assert_eq!(ok(fixture.cluster.holders(&other.component.at, &asked("b.example", "/api")).await), [None]);
    let (at, taken) = binding("other", "b.example");
    let error = fixture.cluster.apply_routes(Epoch(1), &at, std::slice::from_ref(&taken)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    assert!(error.report().contains("org/test/shop"), "{}", error.report());
    // It is free once no set has it.
    ok(fixture.cluster.remove(Epoch(1), &spec.key).await);
    fixture.until_gone(&spec.key).await;
    ok(fixture.cluster.apply_routes(Epoch(1), &at, &[taken]).await);
}

#[tokio::test(start_paused = true)]
async fn a_set_of_manifests_with_the_host_of_another_application_makes_nothing() {
    let fixture = Fixture::new().await;
    let (at, owned) = binding("other", "a.example");
    ok(fixture.cluster.apply_routes(Epoch(1), &at, &[owned]).await);
    let spec = set(&fixture, &track("shop"), "r1", http_route(&["a.example"], "/"));
    let error = fixture.cluster.ensure(Epoch(1), &spec).await.unwrap_err();
    let told = error.report();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{told}");
    assert!(told.contains("HTTPRoute/web.spec.hostnames[0]") && told.contains("org/test/other"), "{told}");
    assert_eq!(fixture.set(&spec.key).await, None);
    // The next revision of what has a host already is not in its own way.
    let spec = set(&fixture, &track("shop"), "r1", http_route(&["b.example"], "/"));
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    let next = set(&fixture, &track("shop"), "r2", http_route(&["b.example"], "/api"));
    ok(fixture.cluster.ensure(Epoch(1), &next).await);
}
