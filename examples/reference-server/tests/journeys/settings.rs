//! Settings, secrets and access points: changed, in force, taken back.

use std::net::TcpStream;

use crate::application;
use crate::journey::{Who, journeys};
use crate::platform::{Platform, eventually, free_port};
use crate::sample;
use crate::specification::Web;

journeys! {
    fn settings_are_in_force_with_the_next_release();
    fn a_revoked_secret_does_not_come_back();
    fn access_points_are_in_force_at_once();
}

fn settings_are_in_force_with_the_next_release(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.ok(["app", "create", "shop"]);
    platform.ok(["config", "set", "shop", "LEVEL=1", "THEME=dark"]);
    let spec = Web::version("1", 1).env("LEVEL: {config: LEVEL}").env("THEME: {config: THEME}");
    platform.deploy_ok("shop", &spec.yaml());
    let told = platform.ok(["config", "set", "shop", "LEVEL=2"]);
    assert!(told.contains("version 2") && told.contains("next release"), "{told}");
    assert_eq!(platform.variable("shop", "LEVEL"), "1");
    let same = platform.ok(["config", "set", "shop", "LEVEL=2"]);
    assert!(same.contains("nothing changed"), "{same}");
    platform.ok(["config", "set", "shop", "LEVEL=3", "--release", "--wait"]);
    assert_eq!(platform.variable("shop", "LEVEL"), "3");
    let diff = platform.ok(["diff", "shop", "1", "2"]);
    assert!(diff.contains("LEVEL") && !diff.contains("dark"), "{diff}");
    assert!(platform.ok(["config", "history", "shop"]).lines().count() > 3);

    // What a component needs cannot be taken away unseen.
    platform.ok(["config", "unset", "shop", "THEME"]);
    let refused = platform.run(["deploy", "shop", "--current"]).ended_with(1);
    refused.complained_of(&["components[0].env[\"THEME\"]"]);
    platform.run(["rollback", "shop", "--to", "1", "--wait"]).ended_with(0);
    assert_eq!(
        (platform.variable("shop", "LEVEL"), platform.variable("shop", "THEME")),
        ("1".into(), "dark".into())
    );
}

fn a_revoked_secret_does_not_come_back(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.ok(["app", "create", "shop"]);
    let set = |value: &str| {
        platform.run_with_input(["secret", "set", "shop", "KEY"], value).ended_with(0);
    };
    set("leaked");
    let spec = Web::version("1", 1).env("KEY: {secret: KEY}").yaml();
    platform.deploy_ok("shop", &spec);
    set("fresh");
    platform.deploy_ok("shop", &spec);
    assert_eq!(platform.variable("shop", "KEY"), "fresh");
    platform.run(["secret", "revoke", "shop", "KEY", "1"]).ended_with(2).complained_of(&["--yes"]);
    platform.ok(["secret", "revoke", "shop", "KEY", "1", "--yes"]);
    let back = platform.run(["rollback", "shop", "--to", "1", "--wait", "--timeout", "60s"]).ended_with(0);
    back.complained_of(&["version 1 of secret KEY was revoked", "version 2 takes its place"]);
    assert_eq!(platform.variable("shop", "KEY"), "fresh");
}

fn access_points_are_in_force_at_once(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &Web::version("1", 1).yaml());
    let ask = |host: &str, path: &str| application::get(platform.gateway, host, path).unwrap().status;
    assert_eq!(ask("shop.test", "/"), 404);
    platform.ok([
        "route",
        "add",
        "shop",
        "own",
        "--component",
        "web",
        "--host",
        "shop.test",
        "--path",
        "/api",
    ]);
    eventually("the access point leads there", || (ask("shop.test", "/api/info") == 200).then_some(()));
    assert_eq!(ask("shop.test", "/"), 404, "and no other path");
    let taken = platform.run([
        "route",
        "add",
        "shop",
        "again",
        "--component",
        "web",
        "--host",
        "shop.test",
        "--path",
        "/api",
    ]);
    assert_ne!(taken.code, 0, "{taken:?}");

    let port = free_port().to_string();
    platform.ok(["route", "add", "shop", "raw", "--component", "web", "--tcp-port", &port]);
    let address = format!("127.0.0.1:{port}");
    let answer = eventually("the port leads there", || {
        application::get(address.parse().unwrap(), "whatever", "/healthz").ok()
    });
    assert_eq!(answer.body, "alive\n", "{answer:?}");
    let listed = platform.ok(["route", "list", "shop"]);
    assert!(listed.contains(&address) && listed.contains("http://shop.test"), "{listed}");

    platform.ok(["route", "remove", "shop", "raw"]);
    platform.ok(["route", "remove", "shop", "own"]);
    eventually("it leads nowhere", || (ask("shop.test", "/api/info") == 404).then_some(()));
    eventually("the port is free again", || TcpStream::connect(&address).is_err().then_some(()));
    platform.run(["route", "remove", "shop", "own"]).ended_with(7);
    assert_eq!(platform.get("shop", "/").status, 200, "the first one is as it was");
}
