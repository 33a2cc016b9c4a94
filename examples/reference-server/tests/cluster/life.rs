//! An application's life on a cluster.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use serde_json::Value;

use crate::application::only;
use crate::place;
use crate::platform::eventually;
use crate::sample;
use crate::specification::{Web, shop_of};

pub fn works_together() {
    let platform = place::start();
    let images = sample::pushed(&platform, place::first(), &["1"]);
    platform.deploy_ok("shop", &shop_of(&images[0], 3));
    let answer = platform.get("shop", "/api/greeting");
    assert_eq!(answer.status, 200, "the web component reaches the API that it declares: {answer:?}");
    let shown = || -> BTreeSet<String> {
        let status = platform.json(["status", "shop"]);
        let instances = status["components"][0]["tracks"][0]["instances"].as_array().unwrap().clone();
        instances.iter().map(|instance| instance["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(shown().len(), 3);

    let instance = shown().pop_first().unwrap();
    let words = ["exec", "shop", "web", "--instance", &instance, "--", "/sample-app", "print", "hello"];
    assert_eq!(platform.ok(words), "hello\n");
    let logs = platform.ok(["logs", "shop", "web", "--tail", "50"]);
    assert!(logs.contains("listens on"), "{logs}");
    let ran = platform.run(["run", "shop", "web", "--", "/sample-app", "exit", "3"]);
    assert_eq!(ran.code, 3, "a one-off command gives its exit code on: {ran:?}");

    platform.ok(["stop", "shop"]);
    eventually("a stopped application has no instances", || shown().is_empty().then_some(()));
    platform.ok(["start", "shop"]);
    platform.answers("shop");
    platform.ok(["delete", "shop", "--yes", "--wait", "--timeout", "60s"]);
    eventually("its access point is gone", || {
        let is_gone = match platform.try_get("shop", "/") {
            Ok(answer) => answer.status == 404,
            // A gateway without any route does not listen.
            Err(error) => error.kind() == ErrorKind::ConnectionRefused,
        };
        is_gone.then_some(())
    });
}

pub fn a_bad_version_holds() {
    let platform = place::start();
    let good = sample::pushed(&platform, place::first(), &["1"]).remove(0);
    platform.deploy_ok("shop", &Web::new(&good, 2).yaml());
    let why = |wanted: &[&str]| {
        eventually(&format!("the status says why: {wanted:?}"), || {
            let status = platform.ok(["status", "shop"]);
            wanted.iter().all(|word| status.contains(word)).then_some(())
        });
        assert_eq!(platform.versions("shop", 10), only("1"), "the old version serves");
        platform.ok(["abort", "shop"]);
        eventually("the release is over", || {
            (platform.json(["status", "shop"])["state"] == "running").then_some(())
        });
    };
    let bad = |knob: &str| Web::new(&good, 2).env(knob).yaml();
    let file = platform.specify(&bad("CRASH_AT_START: '3'"));
    platform.ok(["deploy", "shop", "-f", &file]);
    why(&["exit", "3"]);
    let file = platform.specify(&bad("NEVER_READY: '1'"));
    platform.ok(["deploy", "shop", "-f", &file]);
    why(&["not ready"]);
    let missing = good.replace(":1", ":none");
    let refused = platform.run(["deploy", "shop", "--image", &format!("web={missing}")]);
    refused.ended_with(1).complained_of(&["components[0].image"]);
    let status = platform.json(["status", "shop"]);
    let ready: Option<u64> = status["components"][0]["tracks"][0]["versions"][0]["ready"].as_u64();
    assert_eq!(ready, Some(2), "{status}");
}

pub fn the_oldest_of_ten_comes_back() {
    let platform = place::start();
    let names: Vec<String> = (1..=11).map(|version| version.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let images = sample::pushed(&platform, place::first(), &names);
    platform.ok(["app", "create", "shop"]);
    for (version, image) in names.iter().zip(&images) {
        platform.ok(["config", "set", "shop", &format!("LEVEL=level-{version}")]);
        platform.run_with_input(["secret", "set", "shop", "KEY"], &format!("key-{version}")).ended_with(0);
        let web = Web::new(image, 1).env("LEVEL: {config: LEVEL}").env("KEY: {secret: KEY}");
        platform.deploy_ok("shop", &web.with("files: [{path: /run/key, secret: KEY}]").yaml());
    }
    let is_at = |version: &str| {
        assert_eq!(platform.versions("shop", 5), only(version));
        assert_eq!(platform.variable("shop", "LEVEL"), format!("level-{version}"));
        assert_eq!(platform.variable("shop", "KEY"), format!("key-{version}"));
        assert_eq!(platform.get("shop", "/file?path=/run/key").body, format!("key-{version}"));
    };
    is_at("11");
    platform.ok(["rollback", "shop", "--to", "1", "--wait", "--timeout", "60s"]);
    is_at("1");
    let history: Vec<Value> =
        platform.json(["releases", "shop"]).as_array().cloned().expect("a list of releases");
    assert!(history.len() >= 11, "{history:#?}");
}
