//! Requests and responses.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use paas_gateway::{
    Source,
    config::{Balance, Match, RevisionId, Rule, State, ValueMatch},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::support::*;

#[tokio::test]
async fn a_request_reaches_the_instance_with_what_a_proxy_has_to_say() {
    let upstream = Upstream::start("a").await;
    let (_gateway, address) = gateway(config(1, &[("r1", 1)], &[("r1", upstream.address)])).await;
    let mut client = Client::connect(address).await;
    let said = client
        .send(
            request("POST", "app.localhost:8080", "/path?query=1")
                .header("x-forwarded-for", "6.6.6.6")
                .header("forwarded", "for=6.6.6.6")
                .header("connection", "keep-alive, x-private")
                .header("x-private", "1")
                .header("x-request-id", "mine-1")
                .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
                .body(Full::from("hello"))
                .unwrap(),
        )
        .await;
    assert_eq!(said.status, StatusCode::OK, "{said:?}");
    let told = said.json();
    assert_eq!(
        (&told["method"], &told["uri"], &told["body"]),
        (&"POST".into(), &"/path?query=1".into(), &"hello".into())
    );
    assert_eq!(said.got("host"), ["app.localhost:8080"]);
    assert_eq!(said.got("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(said.got("x-forwarded-proto"), ["http"]);
    assert_eq!(said.got("x-forwarded-host"), ["app.localhost:8080"]);
    assert_eq!(said.got("x-request-id"), ["mine-1"]);
    assert_eq!(said.headers["x-request-id"], "mine-1");
    assert_eq!(said.got("traceparent").len(), 1);
    assert!(said.got("forwarded").is_empty() && said.got("x-private").is_empty());
}

#[tokio::test]
async fn weights_are_exact_in_every_window_over_one_connection_and_many() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let (_gateway, address) =
        gateway(config(1, &[("r1", 3), ("r2", 7)], &[("r1", a.address), ("r2", b.address)])).await;
    let mut client = Client::connect(address).await;
    let mut order = Vec::new();
    for i in 0..60 {
        if i % 7 == 0 {
            client = Client::connect(address).await;
        }
        order.push(client.get("/").await.by().to_owned());
    }
    for window in order.windows(10) {
        assert_eq!(window.iter().filter(|name| *name == "a").count(), 3, "{order:?}");
    }
}

#[tokio::test]
async fn turns_go_on_where_they_stood_when_an_unrelated_config_is_applied() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let make =
        |generation| config(generation, &[("r1", 1), ("r2", 3)], &[("r1", a.address), ("r2", b.address)]);
    let (gateway, address) = gateway(make(1)).await;
    let mut client = Client::connect(address).await;
    for generation in 2..42 {
        client.get("/").await;
        gateway.apply(make(generation)).await.unwrap();
    }
    assert_eq!((a.requests(), b.requests()), (10, 30));
}

#[tokio::test]
async fn a_share_without_a_ready_instance_goes_to_the_others_and_weight_zero_gets_nothing() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let mut config = config(
        1,
        &[("r1", 99), ("r2", 1), ("r3", 0)],
        &[("r1", a.address), ("r2", a.address), ("r3", b.address)],
    );
    config.instances[0].ready = false;
    let (gateway, address) = gateway(config.clone()).await;
    let mut client = Client::connect(address).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.by(), "a");
    }
    config.generation = 2;
    config.instances[1].draining = true;
    gateway.apply(config).await.unwrap();
    let said = client.get("/").await;
    assert_eq!(
        (said.status, said.json()["type"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("urn:paas:gateway:no-ready-instance"))
    );
    assert_eq!(b.requests(), 0);
}

#[tokio::test]
async fn instances_of_a_revision_take_turns() {
    let (a, b, c) = (Upstream::start("a").await, Upstream::start("b").await, Upstream::start("c").await);
    for balance in [Balance::RoundRobin, Balance::LeastInflight] {
        let mut config = config(1, &[("r1", 1)], &[("r1", a.address), ("r1", b.address), ("r1", c.address)]);
        config.services[0].balance = balance;
        let (_gateway, address) = gateway(config).await;
        let mut client = Client::connect(address).await;
        let mut counts = HashMap::new();
        for _ in 0..30 {
            *counts.entry(client.get("/").await.by().to_owned()).or_insert(0) += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| *count == 10), "{balance:?}: {counts:?}");
    }
}

#[tokio::test]
async fn an_instance_that_is_busy_gets_less() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let (_gateway, address) = gateway(config(1, &[("r1", 1)], &[("r1", a.address), ("r1", b.address)])).await;
    let hanging = tokio::spawn(async move { get(address, "/hang").await });
    until("the request hangs", async || a.requests() + b.requests() == 1).await;
    let mut client = Client::connect(address).await;
    for _ in 0..10 {
        client.get("/").await;
    }
    let busy = if a.requests() == 1 { &a } else { &b };
    assert_eq!(busy.requests(), 1);
    hanging.abort();
}

#[tokio::test]
async fn the_most_specific_host_and_the_longest_path_win() {
    let mut config = config(1, &[], &[]);
    config.routes.clear();
    let mut upstreams = Vec::new();
    for (name, host, path) in [
        ("exact", "shop.localhost", "/"),
        ("api", "shop.localhost", "/api"),
        ("v2", "shop.localhost", "/api/v2"),
        ("wild", "*.localhost", "/"),
        ("deep", "*.b.localhost", "/"),
        ("all", "*", "/only"),
    ] {
        let upstream = Upstream::start(name).await;
        config.services.push(service(name, paas_gateway::config::Protocol::Http, &[("r", 1)]));
        config.instances.push(instance(name, name, "r", upstream.address));
        let mut route =
            serde_json::json!({"id": name, "host": host, "path": path, "service": name, "port": "http"});
        route["strip_prefix"] = (name == "v2").into();
        config.routes.push(serde_json::from_value(route).unwrap());
        upstreams.push(upstream);
    }
    let (_gateway, address) = gateway(config).await;
    let mut client = Client::connect(address).await;
    for (host, path, served_by, uri) in [
        ("shop.localhost", "/", "exact", "/"),
        ("SHOP.localhost.:80", "/apis", "exact", "/apis"),
        ("shop.localhost", "/api", "api", "/api"),
        ("shop.localhost", "/api/v1?x", "api", "/api/v1?x"),
        ("shop.localhost", "/api/v2/x?y=1", "v2", "/x?y=1"),
        ("shop.localhost", "/api/v2?y", "v2", "/?y"),
        ("other.localhost", "/", "wild", "/"),
        ("a.b.localhost", "/", "deep", "/"),
        ("b.localhost", "/", "wild", "/"),
        ("example.com", "/only/this", "all", "/only/this"),
    ] {
        let said = client.send(request("GET", host, path).body(Full::default()).unwrap()).await;
        assert_eq!((said.by(), said.json()["uri"].as_str()), (served_by, Some(uri)), "{host}{path}");
    }
    let said = client.send(request("GET", "example.com", "/").body(Full::default()).unwrap()).await;
    assert_eq!(said.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_rule_sends_matching_requests_to_its_revision_whatever_the_weights() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let mut config = config(1, &[("r1", 1), ("r2", 0)], &[("r1", a.address), ("r2", b.address)]);
    let rule = |when| Rule { when: vec![when], revision: "r2".into() };
    config.services[0].rules = vec![
        rule(Match::Header { name: "x-canary".into(), value: ValueMatch::Present }),
        rule(Match::Cookie { name: "beta".into(), value: ValueMatch::Exact("1".into()) }),
        rule(Match::Query { name: "preview".into(), value: ValueMatch::Prefix("on".into()) }),
    ];
    let (_gateway, address) = gateway(config).await;
    let mut client = Client::connect(address).await;
    let plain = || request("GET", "app.localhost", "/");
    for (request, by) in [
        (plain(), "a"),
        (plain().header("x-canary", "whatever"), "b"),
        (plain().header("cookie", "x=y; beta=1"), "b"),
        (plain().header("cookie", "beta=0"), "a"),
        (request("GET", "app.localhost", "/?a=b&preview=one"), "b"),
        (request("GET", "app.localhost", "/?preview=off"), "a"),
    ] {
        assert_eq!(client.send(request.body(Full::default()).unwrap()).await.by(), by);
    }
}

#[tokio::test]
async fn a_service_without_an_answer_says_why() {
    let mut config = config(1, &[("r1", 1)], &[]);
    let (gateway, address) = gateway(config.clone()).await;
    let mut client = Client::connect(address).await;
    let states = [
        (State::Serving, "no-ready-instance", "None of its instances is ready"),
        (State::Starting, "starting", "first instances are starting"),
        (State::Stopped { reason: "Stopped by ann.".into() }, "stopped", "Stopped by ann."),
    ];
    for (generation, (state, code, words)) in (2..).zip(states) {
        config.generation = generation;
        config.services[0].state = state;
        gateway.apply(config.clone()).await.unwrap();
        let said = client.get("/").await;
        assert_eq!(said.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(said.headers["content-type"], "application/problem+json");
        assert_eq!(said.json()["type"], format!("urn:paas:gateway:{code}"));
        assert!(said.json()["detail"].as_str().unwrap().contains(words), "{}", said.body);
        let html = request("GET", "app.localhost", "/").header("accept", "text/html, */*");
        let said = client.send(html.body(Full::default()).unwrap()).await;
        assert_eq!(said.headers["content-type"], "text/html; charset=utf-8");
        assert!(said.body.contains(words), "{}", said.body);
    }
}

#[tokio::test]
async fn instances_that_die_cost_no_request_while_another_is_ready() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let (_gateway, address) = gateway(config(1, &[("r1", 1)], &[("r1", a.address), ("r1", b.address)])).await;
    let mut client = Client::connect(address).await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    // Its port refuses from now on, its pooled connections have ended; the config still says that it is ready.
    a.die().await;
    for i in 0..200 {
        let method = if i % 2 == 0 { "GET" } else { "POST" };
        let body = Full::from(Bytes::from(vec![b'x'; i * 100]));
        let said = client.send(request(method, "app.localhost", "/").body(body).unwrap()).await;
        assert_eq!((said.status, said.by()), (StatusCode::OK, "b"), "{method} {i}: {}", said.body);
        assert_eq!(said.json()["body"].as_str().unwrap().len(), i * 100);
    }
}

#[tokio::test]
async fn a_connection_that_the_instance_closes_while_idle_is_never_seen() {
    // Answers one request per connection, without saying that it closes.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            });
        }
    });
    let (_gateway, address) = gateway(config(1, &[("r1", 1)], &[("r1", upstream)])).await;
    let mut client = Client::connect(address).await;
    for i in 0..300 {
        let method = ["GET", "POST", "DELETE"][i % 3];
        let said = client.send(request(method, "app.localhost", "/").body(Full::default()).unwrap()).await;
        assert_eq!((said.status, said.body.as_str()), (StatusCode::OK, "ok"), "{method} {i}");
    }
}

#[tokio::test]
async fn a_post_that_an_instance_may_have_carried_out_is_not_repeated_and_a_get_is() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let (gateway, address) = gateway(config(1, &[("r1", 1)], &[("r1", a.address), ("r1", b.address)])).await;
    let mut client = Client::connect(address).await;
    let said = client.send(request("POST", "app.localhost", "/die").body(Full::from("x")).unwrap()).await;
    assert_eq!(said.status, StatusCode::BAD_GATEWAY);
    assert_eq!(a.requests() + b.requests(), 1);
    let said = client.get("/die").await;
    assert_eq!(said.status, StatusCode::BAD_GATEWAY);
    assert_eq!(a.requests() + b.requests(), 3, "one attempt on each");
    let retries: u64 = gateway.statistics().entries.iter().map(|entry| entry.retries).sum();
    assert_eq!(retries, 1);
}

#[tokio::test]
async fn an_instance_that_cannot_be_reached_or_is_too_slow_is_a_gateway_error() {
    let upstream = Upstream::start("a").await;
    let mut config = config(1, &[("r1", 1)], &[("r1", refusing().await)]);
    config.limits.response_ms = 100;
    let (gateway, address) = gateway(config.clone()).await;
    let said = get(address, "/").await;
    assert_eq!(
        (said.status, said.json()["type"].as_str()),
        (StatusCode::BAD_GATEWAY, Some("urn:paas:gateway:instance-failed"))
    );
    config.generation = 2;
    config.instances = vec![instance("r1-0", "web", "r1", upstream.address)];
    gateway.apply(config).await.unwrap();
    let said = get(address, "/hang").await;
    assert_eq!(
        (said.status, said.json()["type"].as_str()),
        (StatusCode::GATEWAY_TIMEOUT, Some("urn:paas:gateway:instance-timed-out"))
    );
}

#[tokio::test]
async fn pooled_connections_are_used_again() {
    let upstream = Upstream::start("a").await;
    let (_gateway, address) = gateway(config(1, &[("r1", 1)], &[("r1", upstream.address)])).await;
    for _ in 0..20 {
        get(address, "/").await;
    }
    let connections = upstream.connections.load(std::sync::atomic::Ordering::SeqCst);
    assert!(connections <= 2, "{connections} connections for 20 requests in a row");
}

#[tokio::test]
async fn http2_without_tls_is_spoken_with_many_requests_at_once() {
    let upstream = Upstream::start("a").await;
    let (_gateway, address) = gateway(config(1, &[("r1", 1)], &[("r1", upstream.address)])).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let requests = (0..50).map(|i| {
        let mut sender = sender.clone();
        async move { get_http2(&mut sender, &format!("http://app.localhost/slow?{i}")).await }
    });
    let responses = futures::future::join_all(requests).await;
    for response in responses {
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let cookies: Vec<_> =
            told["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == "cookie").collect();
        assert_eq!(cookies.len(), 1);
        assert_eq!(cookies[0][1], "a=1; b=2");
        assert!(
            told["headers"]
                .as_array()
                .unwrap()
                .iter()
                .any(|pair| pair[0] == "host" && pair[1] == "app.localhost")
        );
    }
    assert_eq!(upstream.requests(), 50);
}

#[tokio::test]
async fn a_large_body_streams_both_ways() {
    let upstream = Upstream::start("a").await;
    let (gateway, address) = gateway(config(1, &[("r1", 1)], &[("r1", upstream.address)])).await;
    let body = "0123456789abcdef".repeat(256 * 1024);
    let mut client = Client::connect(address).await;
    let said =
        client.send(request("PUT", "app.localhost", "/").body(Full::from(body.clone())).unwrap()).await;
    assert_eq!(said.json()["body"].as_str().unwrap(), body);
    until("the request is booked", async || {
        gateway.statistics().entries.iter().any(|entry| entry.bytes_in == body.len() as u64)
    })
    .await;
}

#[tokio::test]
async fn requests_are_counted_by_route_service_and_revision() {
    let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
    let (gateway, address) =
        gateway(config(1, &[("r1", 1), ("r2", 3)], &[("r1", a.address), ("r2", b.address)])).await;
    let mut client = Client::connect(address).await;
    for _ in 0..8 {
        client.get("/").await;
    }
    client.send(request("GET", "nowhere.localhost", "/").body(Full::default()).unwrap()).await;
    let counted = |revision: Option<&str>| {
        let entries = gateway.statistics().entries;
        let found = entries.iter().find(|entry| {
            entry.revision.as_ref().map(RevisionId::as_str) == revision
                && entry.service.is_some() == revision.is_some()
        });
        found.cloned().unwrap_or_else(|| panic!("{revision:?} of {entries:?}"))
    };
    until("all is booked", async || counted(Some("r2")).requests[1] == 6).await;
    let r1 = counted(Some("r1"));
    assert_eq!((r1.requests, r1.in_flight, r1.source), ([0, 2, 0, 0, 0], 0, Source::Route("app".into())));
    assert_eq!(r1.latency.counts.iter().sum::<u64>(), 2);
    assert!(r1.bytes_out > 0 && r1.latency.sum_us > 0);
    let nowhere = counted(None);
    assert_eq!(
        (nowhere.requests[3], nowhere.gateway_errors, nowhere.source),
        (1, 1, Source::Listener("web".into()))
    );
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_instance() {
    let upstream = Upstream::start("a").await;
    let (gateway, address) = gateway(config(1, &[("r1", 1)], &[("r1", upstream.address)])).await;
    let hanging = tokio::spawn(async move { get(address, "/hang").await });
    until("the request hangs", async || gateway.status().await.instances[0].requests == 1).await;
    hanging.abort();
    until("the instance is free", async || gateway.status().await.instances[0].requests == 0).await;
    let abandoned: u64 = gateway.statistics().entries.iter().map(|entry| entry.abandoned).sum();
    assert_eq!(abandoned, 1);
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start("a").await;
    let options = paas_gateway::GatewayOptions::default().with_log_folder(folder.path());
    let gateway = paas_gateway::Gateway::start(options).unwrap();
    gateway.apply(config(1, &[("r1", 1)], &[("r1", upstream.address)])).await.unwrap();
    let mut client = Client::connect(bound(&gateway, "web").await).await;
    client.get("/one?secret=1").await;
    client.get("/two").await;
    let read = || std::fs::read_to_string(folder.path().join("access.log")).unwrap_or_default();
    until("two lines are written", async || read().lines().count() == 2).await;
    let line: serde_json::Value = serde_json::from_str(read().lines().next().unwrap()).unwrap();
    assert_eq!(line["path"], "/one");
    assert_eq!(
        (&line["status"], &line["revision"], &line["instance"]),
        (&200.into(), &"r1".into(), &"r1-0".into())
    );
    assert_eq!((&line["source"]["route"], &line["service"]), (&"app".into(), &"web".into()));
    assert!(line["request_id"].as_str().unwrap().len() == 36);
}

#[tokio::test]
async fn a_request_whose_body_comes_slowly_is_not_timed_out_while_it_comes() {
    let upstream = Upstream::start("a").await;
    let mut config = config(1, &[("r1", 1)], &[("r1", upstream.address)]);
    config.limits.response_ms = 100;
    config.limits.body_idle_ms = 1000;
    let (_gateway, address) = gateway(config).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nhost: app.localhost\r\ncontent-length: 8\r\nconnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    for byte in b"slowslow" {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    let mut read = String::new();
    stream.read_to_string(&mut read).await.unwrap();
    assert!(read.starts_with("HTTP/1.1 200") && read.contains("slowslow"), "{read}");
}
