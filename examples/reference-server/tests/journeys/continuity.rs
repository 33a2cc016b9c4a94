//! Nothing that a user of the application does may fail while the platform works.

use std::time::Duration;

use serde_json::Value;

use crate::application::only;
use crate::journey::{Who, journeys};
use crate::leftovers::{self, signal};
use crate::load::Load;
use crate::platform::{Platform, Setup, eventually};
use crate::sample;
use crate::specification::shop;

journeys! {
    fn no_request_fails_through_release_rollback_scale_and_a_killed_server();
    fn no_request_fails_while_what_the_web_component_calls_is_released();
    fn no_request_fails_while_the_servers_program_is_replaced();
}

/// What the web component answers with the answer of the API: a request goes through both.
const THROUGH_BOTH: &str = "/api/greeting";

/// The sample with three instances of the web component and one of the API, in batches.
fn specification(version: &str) -> String {
    shop(version, 3) + "strategy: {type: rolling, batches: [1, 30%]}\n"
}

/// A server with the machine for itself, and the sample's first version.
fn running(who: Who) -> Platform {
    let platform = Setup::new(who).alone().start();
    sample::versions(&platform, &["1", "2", "3"]);
    platform.deploy_ok("shop", &specification("1"));
    platform
}

/// The version of the API that answers the web component.
fn version_of_the_api(platform: &Platform) -> String {
    let greeting: Value = serde_json::from_str(&platform.get("shop", THROUGH_BOTH).body).unwrap();
    greeting["version"].as_str().unwrap().to_owned()
}

fn no_request_fails_through_release_rollback_scale_and_a_killed_server(who: Who) {
    let mut platform = running(who);
    let load = Load::start(&platform, "shop", THROUGH_BOTH);
    platform.deploy_ok("shop", &specification("2"));
    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    for count in [8, 2, 3] {
        platform.ok(["scale", "shop", &format!("web={count}"), "--wait"]);
    }

    let before = platform.shims(); // some may still be going: a new one tells, not how many there are
    let file = platform.specify(&specification("3"));
    platform.ok(["deploy", "shop", "-f", &file]);
    eventually("the release has come to its first instances", || {
        platform.shims().difference(&before).next().map(drop)
    });
    platform.kill_server();
    std::thread::sleep(Duration::from_secs(1)); // the absence is part of what is tested
    let took = platform.start_server();
    assert!(took < Duration::from_secs(1), "a restarted server answered after {took:?}");
    eventually("the release ends after the restart", || {
        (platform.versions("shop", 12) == only("3")).then_some(())
    });
    eventually("the restarted server says so", || {
        let status = platform.json(["status", "shop"]);
        let is_over = status["rollout"].is_null() || status["rollout"]["state"] == "committed";
        (status["state"] == "running" && is_over).then_some(())
    });
    platform.ok(["restart", "shop", "--wait", "--timeout", "60s"]);
    assert_eq!(load.end(), ["1", "2", "3"], "each version has served");
}

fn no_request_fails_while_what_the_web_component_calls_is_released(who: Who) {
    let platform = running(who);
    let load = Load::start(&platform, "shop", THROUGH_BOTH);
    for version in ["2", "3"] {
        let image = format!("api=oci:images:{version}");
        platform.ok(["deploy", "shop", "--image", &image, "--wait", "--timeout", "60s"]);
        assert_eq!(version_of_the_api(&platform), version);
    }
    // Releases have the numbers of their versions.
    for version in ["2", "1"] {
        platform.ok(["rollback", "shop", "--to", version, "--wait", "--timeout", "60s"]);
        assert_eq!(version_of_the_api(&platform), version);
    }
    for count in [3, 1] {
        platform.ok(["scale", "shop", &format!("api={count}"), "--wait"]);
    }
    platform.ok(["restart", "shop", "--wait", "--timeout", "60s"]);
    assert_eq!(load.end(), ["1"], "the web component was always the same");
}

fn no_request_fails_while_the_servers_program_is_replaced(who: Who) {
    let mut platform = running(who);
    let (second, third) = (platform.another_build("second"), platform.another_build("third"));
    let (shims, gateways) = (platform.shims(), platform.gateways());
    let load = Load::start(&platform, "shop", THROUGH_BOTH);

    platform.replace_program(&second);
    assert!(!platform.is_of_program(platform.server()));
    platform.ok(["scale", "shop", "worker=2", "--wait"]); // by the server that runs on
    platform.stop_server();
    platform.start_server();
    assert!(platform.is_of_program(platform.server()), "the server is of the second build");
    assert!(platform.shims().is_superset(&shims), "the instances are the same");
    assert_eq!(platform.gateways(), gateways, "the gateway is the same");
    let image = "api=oci:images:2";
    platform.ok(["deploy", "shop", "--image", image, "--wait", "--timeout", "60s"]);
    assert_eq!(version_of_the_api(&platform), "2");

    platform.use_program(third);
    platform.kill_server();
    platform.start_server();
    assert!(platform.is_of_program(platform.server()), "the server is of the third build");
    assert_eq!(platform.gateways(), gateways, "the gateway is the same");
    let said = platform.ok(["exec", "shop", "web", "--", "/sample-app", "print", "hello"]);
    assert_eq!(said, "hello\n", "instances of the first build take commands of the third");
    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    assert_eq!(version_of_the_api(&platform), "1");
    platform.ok(["scale", "shop", "web=4", "worker=1", "--wait"]);
    assert_eq!(load.end(), ["1"], "the web component was always the same");

    // Whatever dies is started again, by whichever build.
    let of_first = leftovers::states(&platform.directory()).into_iter().find_map(|(_, state)| {
        let shim = u32::try_from(state["shim_pid"].as_u64()?).ok()?;
        shims.contains(&shim).then(|| leftovers::program_of(&state)).flatten()
    });
    signal(of_first.expect("an instance of the first build runs"), "KILL");
    signal(gateways[0], "KILL");
    eventually("another gateway runs, of the third build", || {
        let now = platform.gateways();
        (now.len() == 1 && now != gateways && platform.is_of_program(now[0])).then_some(())
    });
    eventually("every instance is ready again", || {
        let components = platform.json(["status", "shop"])["components"].as_array().unwrap().clone();
        components.iter().all(|it| it["ready"] == it["count"]).then_some(())
    });
    platform.answers("shop");
}
