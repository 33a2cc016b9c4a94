use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;

use super::*;
use crate::ErrorKind;

fn sample() -> serde_json::Value {
    json!({
        "version": 1,
        "generation": 7,
        "listeners": [
            {"id": "web", "address": "127.0.0.1:8080", "protocol": "http"},
            {"id": "db", "address": "127.0.0.1:5432", "protocol": "tcp", "service": "o/e/a/db", "port": "pg"},
        ],
        "routes": [
            {"id": "shop", "host": "Shop.localhost", "path": "/api/", "service": "o/e/a/web", "port": "http"},
        ],
        "services": [
            {
                "id": "o/e/a/web",
                "ports": [{"name": "http", "number": 8080, "protocol": "http"}],
                "revisions": [{"id": "r1", "weight": 90, "labels": {"release": "4"}}, {"id": "r2", "weight": 10}],
                "rules": [{"when": [{"in": "cookie", "name": "beta", "value": {"exact": "1"}}], "revision": "r2"}],
            },
            {
                "id": "o/e/a/db",
                "ports": [{"name": "pg", "number": 5432, "protocol": "tcp"}],
                "revisions": [{"id": "r1", "weight": 1}],
                "state": {"is": "stopped", "reason": "the owner stopped it"},
            },
        ],
        "instances": [
            {"id": "i1", "service": "o/e/a/web", "revision": "r1", "ready": true, "dial": {"tcp": "127.0.0.1"},
             "ports": {"http": 9001}},
            {"id": "i2", "service": "o/e/a/web", "revision": "r2", "ready": false,
             "dial": {"handover": "/run/i2/shim.sock"}},
        ],
        "callers": [
            {"instance": "i1", "component": "o/e/a/web", "handover": "/run/i1/shim.sock", "dependencies": [
                {"listener": {"name": "db", "port": 5432}, "service": "o/e/a/db", "port": "pg"}]},
        ],
    })
}

fn read(value: serde_json::Value) -> Config {
    serde_json::from_value(value).expect("the shape is right")
}

#[test]
fn a_document_is_read_as_documented_and_survives_a_round_trip() {
    let config = read(sample());
    assert_eq!(config.faults(), []);
    assert_eq!(config.routes[0].host.as_str(), "shop.localhost");
    assert_eq!(config.routes[0].path.as_str(), "/api");
    assert_eq!(config.instances[0].dial, Dial::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(read(serde_json::to_value(&config).unwrap()), config);
}

#[test]
fn every_fault_is_named_with_its_path() {
    let mut value = sample();
    value["version"] = 2.into();
    value["listeners"][1]["address"] = "127.0.0.1:8080".into();
    value["routes"][0]["host"] = "exa mple".into();
    value["routes"][0]["path"] = "api".into();
    value["services"][0]["ports"][0]["number"] = 0.into();
    value["services"][0]["revisions"][1]["id"] = "r1".into();
    value["instances"][1]["id"] = "i1".into();
    value["instances"][0]["ports"] = json!({"grpc": 1});
    value["callers"][0]["handover"] = "relative".into();
    value["callers"][0]["dependencies"][0]["service"] = "nowhere".into();
    value["limits"] = json!({"connect_ms": 0, "header_bytes": 1});
    let config = read(value);
    let mut paths: Vec<_> = config.faults().into_iter().map(|fault| fault.path).collect();
    paths.sort();
    assert_eq!(
        paths,
        [
            "callers[0].dependencies[0].service",
            "callers[0].handover",
            "instances[0].ports.grpc",
            "instances[1].id",
            "instances[1].revision",
            "limits.connect_ms",
            "limits.header_bytes",
            "listeners[1].address",
            "routes[0].host",
            "routes[0].path",
            "services[0].ports[0].number",
            "services[0].revisions[1].id",
            "services[0].rules[0].revision",
            "version",
        ]
    );
    let error = config.validate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.chain().contains("services[0].ports[0].number: must not be 0"), "{}", error.chain());
}

#[test]
fn a_route_to_a_port_without_http_is_refused() {
    let mut value = sample();
    value["routes"][0]["service"] = "o/e/a/db".into();
    value["routes"][0]["port"] = "pg".into();
    let faults = read(value).faults();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].path, "routes[0].port");
}

#[test]
fn a_path_prefix_holds_whole_segments() {
    let prefix = PathPrefix::new("/api");
    assert!(prefix.holds("/api") && prefix.holds("/api/") && prefix.holds("/api/x"));
    assert!(!prefix.holds("/apis") && !prefix.holds("/ap") && !prefix.holds("/x/api"));
    assert!(PathPrefix::default().holds("/anything"));
}

#[test]
fn hosts_are_names_wildcards_addresses_or_all() {
    for good in ["*", "a", "*.localhost", "a.b-c.d_e", "127.0.0.1", "SHOP.example.com"] {
        assert_eq!(HostPattern::new(good).fault(), None, "{good}");
    }
    for bad in ["", "*.", "a..b", "-a", "a.*", "a:80", "**", "a/b", "a@b", &"a".repeat(64)] {
        assert!(HostPattern::new(bad).fault().is_some(), "{bad}");
    }
}
