//! Nothing that a user of the application does may fail while the platform works.

use std::time::Duration;

use crate::application::only;
use crate::journey::{Who, journeys};
use crate::load::Load;
use crate::platform::{Setup, eventually};
use crate::sample;
use crate::specification::Web;

journeys! {
    fn no_request_fails_through_release_rollback_scale_and_a_killed_server();
}

fn no_request_fails_through_release_rollback_scale_and_a_killed_server(who: Who) {
    let mut platform = Setup::new(who).alone().start();
    sample::versions(&platform, &["1", "2", "3"]);
    platform.deploy_ok("shop", &Web::version("1", 3).in_batches().yaml());
    let load = Load::start(&platform, "shop");
    platform.deploy_ok("shop", &Web::version("2", 3).in_batches().yaml());
    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    for count in [8, 2, 3] {
        platform.ok(["scale", "shop", &format!("web={count}"), "--wait"]);
    }

    let file = platform.specify(&Web::version("3", 3).in_batches().yaml());
    platform.ok(["deploy", "shop", "-f", &file]);
    eventually("the release has come to its first instances", || (platform.shims().len() > 3).then_some(()));
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
