//! An application's life: deployed, looked at, scaled, stopped, started, deleted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::journey::{Who, journeys};
use crate::platform::{Platform, eventually};
use crate::sample;
use crate::specification::{Web, shop};

journeys! {
    fn an_application_of_three_components_works_together();
    fn an_application_is_scaled_from_1_to_10_and_back();
    fn a_stopped_application_keeps_everything_and_comes_back();
    fn a_deleted_application_is_gone_and_what_was_lost_was_named();
}

fn an_application_of_three_components_works_together(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &shop("1", 3));

    let answer = platform.get("shop", "/api/greeting");
    assert_eq!(answer.status, 200, "the web component reaches the API that it declares: {answer:?}");
    let instances: BTreeSet<_> = (0..30)
        .map(|_| serde_json::from_str::<Value>(&platform.get("shop", "/api/info").body).unwrap())
        .map(|info| info["instance"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(instances.len(), 3, "requests reach all three instances");

    let status = platform.json(["status", "shop"]);
    assert_eq!(status["state"], "running", "{status}");
    let names: Vec<_> = status["components"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["web", "api", "worker"], "in the order in which they are declared");
    let shown: BTreeSet<_> = status["components"][0]["tracks"][0]["instances"]
        .as_array()
        .unwrap()
        .iter()
        .map(|instance| instance["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(shown, instances, "an instance knows itself by the name that the status shows");
    let address = status["routes"][0]["addresses"]["local"].as_str().unwrap();
    assert_eq!(address, format!("http://{}:{}/", platform.host("shop"), platform.gateway.port()));
}

fn instances_of(platform: &Platform) -> usize {
    let status = platform.json(["status", "shop"]);
    status["components"][0]["tracks"][0]["instances"].as_array().unwrap().len()
}

fn an_application_is_scaled_from_1_to_10_and_back(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &Web::version("1", 1).yaml());
    for count in [10_usize, 1] {
        let begun = Instant::now();
        platform.ok(["scale", "shop", &format!("web={count}"), "--wait"]);
        assert!(begun.elapsed() < Duration::from_secs(10), "scaling took {:?}", begun.elapsed());
        let ready = &platform.json(["status", "shop"])["components"][0]["ready"];
        assert_eq!(*ready, count, "--wait waits for the end");
        platform.has_instances(count);
        assert_eq!(platform.get("shop", "/").status, 200);
    }
    // The bounds are the environment's.
    for beyond in ["web=11", "web=0"] {
        let refused = platform.run(["scale", "shop", beyond]).ended_with(1);
        refused.complained_of(&["1", "10"]);
    }
    assert_eq!(instances_of(&platform), 1);
    // A release keeps the number that was scaled to, unless it says otherwise itself.
    platform.ok(["scale", "shop", "web=3", "--wait"]);
    platform.ok(["restart", "shop", "--wait"]);
    assert_eq!(platform.json(["status", "shop"])["components"][0]["desired"], 3);
    eventually("three instances, and none that drains", || (instances_of(&platform) == 3).then_some(()));
}

fn a_stopped_application_keeps_everything_and_comes_back(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.ok(["app", "create", "shop"]);
    platform.ok(["config", "set", "shop", "LEVEL=kept"]);
    let spec = Web::version("1", 2).env("LEVEL: {config: LEVEL}");
    let volume = "volumes: [{name: data, path: /data}]";
    platform.deploy_ok("shop", &spec.with(volume).yaml());

    platform.ok(["stop", "shop", "--wait"]);
    assert!(platform.shims().is_empty(), "nothing runs");
    let stopped = platform.get("shop", "/");
    assert_eq!(stopped.status, 503);
    assert!(stopped.body.contains("stopped"), "{stopped:?}");
    let status = platform.json(["status", "shop"]);
    assert_eq!((&status["state"], &status["current"]["number"]), (&"stopped".into(), &1.into()));
    // What is done meanwhile is in force when it comes back.
    platform.ok(["scale", "shop", "web=3"]);
    assert!(platform.shims().is_empty(), "it stays out of service");

    platform.ok(["start", "shop", "--wait"]);
    assert_eq!(platform.variable("shop", "LEVEL"), "kept");
    platform.has_instances(3);
    platform.ok(["stop", "shop", "web", "--wait"]);
    assert_eq!(platform.get("shop", "/").status, 503);
    platform.ok(["start", "shop", "web", "--wait"]);
    platform.answers("shop");
}

fn a_deleted_application_is_gone_and_what_was_lost_was_named(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.ok(["app", "create", "shop"]);
    platform.run_with_input(["secret", "set", "shop", "KEY"], "value").ended_with(0);
    let spec = Web::version("1", 2).env("KEY: {secret: KEY}").with("volumes: [{name: data, path: /data}]");
    platform.deploy_ok("shop", &spec.yaml());
    let volumes = platform.directory().join("machine/volumes");
    let kept = || walk(&volumes).iter().any(|path| path.ends_with("data"));
    assert!(kept(), "the volume is there");

    let unsure = platform.run(["delete", "shop"]).ended_with(2);
    unsure.complained_of(&[
        "2 instances of web",
        "the volume web/data",
        "1 release",
        "the secret KEY",
        "--yes",
    ]);
    assert_eq!(platform.get("shop", "/").status, 200, "without an answer nothing is deleted");

    platform.ok(["delete", "shop", "--yes", "--wait"]);
    assert_eq!(platform.get("shop", "/").status, 404);
    assert!(platform.shims().is_empty());
    eventually("the volume is gone", || (!kept()).then_some(()));
    // Nothing of the past comes back with the name.
    platform.deploy_ok("shop", &Web::version("1", 1).yaml());
    let releases = platform.json(["releases", "shop"]);
    assert_eq!(releases.as_array().unwrap().len(), 1, "{releases}");
    let config = platform.json(["config", "show", "shop"]);
    assert!(!config.to_string().contains("KEY"), "{config}");
}

/// Every file and folder below one.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| [vec![path.clone()], walk(&path)].concat()).collect()
}
