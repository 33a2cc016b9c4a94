//! Requests in figures: who asked whom, which version answered, and how.

use serde_json::{Value, json};

use crate::client::Client;
use crate::journey::{Who, journeys};
use crate::platform::Platform;
use crate::sample;
use crate::specification::shop;

journeys! {
    fn requests_are_shown_by_access_point_version_and_caller();
}

/// The figures of the only row that has these names.
#[track_caller]
fn row<'a>(traffic: &'a Value, list: &str, names: &[(&str, Value)]) -> &'a Value {
    let rows = traffic[list].as_array().unwrap();
    let mut found = rows.iter().filter(|row| names.iter().all(|(field, value)| row[field] == *value));
    let row = found.next().unwrap_or_else(|| panic!("{names:?} is not in {traffic:#}"));
    assert!(found.next().is_none(), "{names:?} is there twice: {traffic:#}");
    row
}

fn requests_are_shown_by_access_point_version_and_caller(who: Who) {
    let mut platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &shop("1", 1));
    for _ in 0..5 {
        // The web component asks the API for it.
        assert_eq!(platform.get("shop", "/api/greeting").status, 200);
    }
    assert_eq!(platform.get("shop", "/nowhere").status, 404);
    platform.ok(["deploy", "shop", "--image", "web=oci:images:2", "--wait"]);
    for _ in 0..3 {
        assert_eq!(platform.get("shop", "/api/info").version, "2");
    }

    let traffic = platform.json(["traffic", "shop"]);
    let route = row(&traffic, "routes", &[("route", json!("web"))]);
    assert_eq!((&route["component"], &route["requests"]), (&json!("web"), &json!(9)), "{route}");
    let responses = &route["responses"];
    assert_eq!((&responses["successful"], &responses["client_error"]), (&json!(8), &json!(1)), "{route}");
    assert_eq!(route["router_errors"], 0, "the application said itself that it has no such page");
    assert!(
        route["latency"]["p95_us"].as_u64().is_some() && route["bytes_out"].as_u64() > Some(0),
        "{route}"
    );
    let version = |component: &str, release: u64| {
        let names = [("component", json!(component)), ("release", json!(release))];
        row(&traffic, "versions", &names)["requests"].clone()
    };
    assert_eq!((version("web", 1), version("web", 2)), (json!(6), json!(3)));
    let api = row(&traffic, "versions", &[("component", json!("api"))]);
    assert_eq!(api["requests"], 5, "{traffic:#}");
    let here = json!({ "org": "acme", "env": "prod", "app": "shop" });
    let caller = json!({ "at": here, "component": "web" });
    let callee = json!({ "at": here, "component": "api" });
    let call = row(&traffic, "calls", &[("caller", caller), ("callee", callee)]);
    assert_eq!((&call["requests"], &call["responses"]["successful"]), (&json!(5), &json!(5)), "{call}");

    let table = platform.ok(["traffic", "shop"]);
    for words in ["ROUTE", "release 2", "CALLER"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let call = table.lines().skip_while(|line| !line.starts_with("CALLER")).nth(1).unwrap();
    assert_eq!(call.split_whitespace().take(4).collect::<Vec<_>>(), ["web", "api", "5", "5"], "{table}");
    assert!(platform.ok(["traffic", "shop", "-o", "yaml"]).contains("route: web"));

    let client = Client::new(&platform);
    assert_eq!(client.get("/orgs/acme/envs/prod/apps/shop/traffic").json(), traffic);
    let metrics = client.get("/metrics");
    let told = |words: &[&str], value: &str| {
        let mut lines = metrics.text.lines().filter(|line| line.starts_with("paas_app_requests_total{"));
        lines.any(|line| words.iter().all(|word| line.contains(word)) && line.ends_with(value))
    };
    let called = [r#"component="api""#, r#"caller="acme/prod/shop/web""#, r#"class="2xx""#];
    assert!(told(&called, " 5"), "{}", metrics.text);
    assert!(told(&[r#"app="shop""#, r#"route="web""#, r#"class="4xx""#], " 1"), "{}", metrics.text);
    let without = client.send("GET", "/metrics", &[("authorization", "none")], None);
    without.refused_with(401, "unauthenticated");
    let missing = client.send("GET", "/orgs/acme/envs/prod/apps/nothing/traffic", &[], None);
    missing.refused_with(404, "not_found");

    // The gateway counts, and lives on.
    drop(client);
    platform.stop_server();
    platform.start_server();
    let again = platform.json(["traffic", "shop"]);
    assert_eq!(again["routes"], traffic["routes"]);
    assert_eq!(again["calls"], traffic["calls"]);
}
