//! The REST interface as programs use it. Nothing of it depends on containers, so the cluster is a simulated one.

use serde_json::{Value, json};

use crate::client::{Client, Event};
use crate::journey::{Who, journeys};
use crate::platform::{Platform, Setup};

journeys! {
    fn what_somebody_else_has_changed_is_not_overwritten();
    fn a_repeated_request_happens_once();
    fn lists_come_in_pages();
    fn events_go_on_where_a_reader_has_left();
    fn a_release_is_followed_to_its_end();
    fn every_refusal_is_a_problem_that_says_what_to_do();
    fn whoever_watches_the_server_needs_no_token();
    fn an_administrator_without_a_token_gets_another_at_a_start();
}

const APP: &str = "/orgs/acme/envs/prod/apps/shop";

fn start(who: Who) -> Platform {
    Setup::new(who).simulated().start()
}

fn spec(count: u32) -> Value {
    json!({ "components": [
        { "name": "web", "kind": "worker", "image": "shop/web:1", "instances": { "count": count } },
    ] })
}

fn deploy(count: u32) -> String {
    json!({ "change": { "spec": spec(count) } }).to_string()
}

fn with_app(who: Who) -> Platform {
    let platform = start(who);
    platform.ok(["app", "create", "shop"]);
    platform
}

fn what_somebody_else_has_changed_is_not_overwritten(who: Who) {
    let platform = start(who);
    let client = Client::new(&platform);
    let path = "/orgs/acme/envs/prod";
    let first = client.get(path).header("etag").to_owned();
    let change = |tag: &str, policy: &str| {
        let body = json!({ "on_running": policy }).to_string();
        client.send("PATCH", path, &[("if-match", tag)], Some(&body))
    };
    let changed = change(&first, "queue");
    assert_eq!(changed.status, 200, "{changed:?}");
    let second = changed.header("etag").to_owned();
    assert_ne!(second, first);
    assert_eq!(client.get(path).header("etag"), second);
    change(&first, "supersede").refused_with(412, "conflict");
    client.send("DELETE", path, &[("if-match", &first)], None).refused_with(412, "conflict");
    assert_eq!(client.get(path).json()["on_running"], "queue");
    change("7", "queue").refused_with(400, "malformed");
    assert_eq!(client.send("DELETE", path, &[("if-match", &second)], None).status, 204);
}

fn a_repeated_request_happens_once(who: Who) {
    let platform = with_app(who);
    let client = Client::new(&platform);
    let send = |key: &str, body: &str| {
        client.send("POST", &format!("{APP}/releases"), &[("idempotency-key", key)], Some(body))
    };
    let first = send("one", &deploy(1));
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.header("location"), format!("/api/v1{APP}/releases/1"));
    assert_eq!(send("one", &deploy(1)).json(), first.json());
    let releases = client.get(&format!("{APP}/releases")).json();
    assert_eq!(releases["items"].as_array().unwrap().len(), 1);
    send("one", &deploy(2)).refused_with(409, "conflict");
    send("no key!", &deploy(1)).refused_with(400, "malformed");
}

fn lists_come_in_pages(who: Who) {
    let platform = start(who);
    let client = Client::new(&platform);
    for number in 0..6 {
        platform.ok(["org", "create", &format!("org-{number}")]);
    }
    let (mut names, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let page = client.get(&format!("/orgs?limit=3{after}")).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(names, ["acme", "org-0", "org-1", "org-2", "org-3", "org-4", "org-5"]);
    assert_eq!(pages, 3);
    for wrong in ["limit=0", "limit=501", "limit=x", "after=%00", "page=2"] {
        client.send("GET", &format!("/orgs?{wrong}"), &[], None).refused_with(400, "malformed");
    }
}

fn events_go_on_where_a_reader_has_left(who: Who) {
    let mut platform = with_app(who);
    let path = format!("{APP}/events/stream");
    let begin = {
        let client = Client::new(&platform);
        let mut events = client.follow(&path, None);
        let begin = events.next();
        assert_eq!((begin.kind.as_str(), &begin.data), ("", &Value::Null), "where it begins is told first");
        begin.id
    };
    for value in ["1", "2", "3", "4"] {
        platform.ok(["config", "set", "shop", &format!("LEVEL={value}")]);
    }
    let read = |platform: &Platform, after: &str, count: usize| -> Vec<Event> {
        let client = Client::new(platform);
        let mut events = client.follow(&path, Some(after));
        assert_eq!(events.next().id, after, "it begins there");
        (0..count).map(|_| events.next()).collect()
    };
    let all = read(&platform, &begin, 4);
    assert!(all.iter().all(|event| event.kind == "event" && event.data["kind"] == "configured"), "{all:?}");
    assert_eq!(read(&platform, &all[0].id, 3), all[1..]);
    // Also over a restart of the server.
    platform.kill_server();
    platform.start_server();
    assert_eq!(read(&platform, &all[1].id, 2), all[2..]);
    let client = Client::new(&platform);
    for wrong in ["", "x", "1.", "-1", "1.2.3"] {
        client.send("GET", &path, &[("last-event-id", wrong)], None).refused_with(400, "malformed");
    }
}

fn a_release_is_followed_to_its_end(who: Who) {
    let platform = with_app(who);
    let client = Client::new(&platform);
    let started = client.send("POST", &format!("{APP}/releases"), &[], Some(&deploy(3)));
    assert_eq!(started.status, 202, "{started:?}");
    let mut events = client.follow(&format!("{APP}/releases/1/stream"), None);
    let end = loop {
        let event = events.next();
        if event.kind == "end" {
            break event.data;
        }
        assert_eq!(event.kind, "status");
        assert_eq!(event.data["at"]["app"], "shop");
    };
    assert_eq!(end, json!({ "type": "ended", "outcome": { "type": "succeeded" } }));
    let mut events = client.follow(&format!("{APP}/status/stream"), None);
    assert_eq!(events.next().data["state"], "running");
    platform.ok(["stop", "shop"]);
    while events.next().data["state"] != "stopped" {}
}

fn every_refusal_is_a_problem_that_says_what_to_do(who: Who) {
    let platform = with_app(who);
    let client = Client::new(&platform);
    let get = |path: &str| client.send("GET", path, &[], None);
    let without = client.send("GET", "/orgs", &[("authorization", "Basic x")], None);
    assert!(without.refused_with(401, "unauthenticated").header("www-authenticate").starts_with("Bearer"));
    get("/nowhere").refused_with(404, "not_found");
    let app = get("/orgs/acme/envs/prod/apps/none").refused_with(404, "not_found");
    assert!(app.json()["detail"].as_str().unwrap().contains("none"), "{app:?}");
    let method = client.send("PUT", "/orgs", &[], Some("{}")).refused_with(405, "method_not_allowed");
    assert!(method.header("allow").contains("POST"), "{method:?}");
    get("/orgs/UPPER").refused_with(400, "malformed");

    let post = |headers: &[(&str, &str)], body: &str| client.send("POST", "/orgs", headers, Some(body));
    post(&[("content-type", "text/plain")], "{}").refused_with(415, "unsupported_media_type");
    post(&[], "{").refused_with(400, "malformed");
    post(&[], r#"{"name": "more"} x"#).refused_with(400, "malformed");
    let unknown = post(&[], r#"{"name": "more", "colour": "red"}"#).refused_with(400, "malformed");
    assert!(unknown.json()["faults"].to_string().contains("colour"), "{unknown:?}");
    post(&[], &format!(r#"{{"name": "{}"}}"#, "x".repeat(1 << 20))).refused_with(413, "too_large");
    post(&[], r#"{"name": "acme"}"#).refused_with(409, "already_exists");

    // Every fault of a specification is told at once, with its path.
    let wrong = json!({ "change": { "spec": { "components": [
        { "name": "web", "image": "", "ports": [{ "name": "http", "number": 0 }] },
        { "name": "web", "image": "shop/web:1", "depends_on": [{ "component": "none" }] },
    ] } } });
    let refused = client.send("POST", &format!("{APP}/releases"), &[], Some(&wrong.to_string()));
    let problem = refused.refused_with(422, "invalid").json();
    let paths: Vec<&str> =
        problem["faults"].as_array().unwrap().iter().map(|fault| fault["path"].as_str().unwrap()).collect();
    for path in ["components[0].image", "components[0].ports[0].number", "components[1].name"] {
        assert!(paths.contains(&path), "{path} is among {paths:?}");
    }
    assert!(paths.iter().any(|path| path.starts_with("components[1].depends_on[0]")), "{paths:?}");
}

fn whoever_watches_the_server_needs_no_token(who: Who) {
    let platform = with_app(who);
    platform.deploy_ok("shop", &spec(2).to_string());
    let client = Client::new(&platform);
    let ask = |path: &str| {
        let answer = client.send("GET", path, &[("authorization", "none")], None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer
    };
    assert_eq!(ask("//healthz").json()["status"], "ok");
    assert_eq!(ask("//readyz").json()["status"], "ok");
    assert_eq!(ask("//openapi.json").json()["openapi"].as_str().unwrap().split('.').next(), Some("3"));
    let metrics = ask("//metrics");
    for line in [
        r#"paas_instances{state="ready"} 2"#,
        r#"paas_applications{state="running"} 1"#,
        "paas_rollouts_running 0",
        "# EOF",
    ] {
        assert!(metrics.text.contains(line), "{line}: {}", metrics.text);
    }
    assert!(!metrics.text.contains("acme") && !metrics.text.contains("shop"), "they name no tenants");
    assert_eq!(ask("//healthz").header("x-content-type-options"), "nosniff");
    let id = client.send("GET", "//healthz", &[("x-request-id", "abc-123")], None);
    assert_eq!(id.header("x-request-id"), "abc-123");
}

fn an_administrator_without_a_token_gets_another_at_a_start(who: Who) {
    let mut platform = Platform::start(who);
    platform.stop_server();
    let lost = platform.start_server_without_token();
    assert_ne!(platform.token(), lost);
    let tokens = Client::new(&platform).get("/tokens").json();
    let made: Vec<&Value> = tokens["items"].as_array().unwrap().iter().map(|it| &it["description"]).collect();
    assert_eq!(made.len(), 2, "{tokens}");
    assert!(made.contains(&&json!("made by --new-admin-token")), "{tokens}");
    platform.stop_server();
    platform.start_server();
    assert_eq!(Client::new(&platform).get("/tokens").json(), tokens, "another start makes none");
}
