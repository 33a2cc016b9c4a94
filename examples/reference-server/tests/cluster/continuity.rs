//! Nothing that a user of the application does may fail while the platform works.

use std::time::{Duration, Instant};

use crate::load::Load;
use crate::place;
use crate::platform::eventually;
use crate::sample;
use crate::specification::Web;

/// How long scaling between 1 and 10 instances may take.
const SCALED: Duration = Duration::from_secs(10);

pub fn no_request_fails() {
    let mut platform = place::setup().alone().start();
    let images = sample::pushed(&platform, place::first(), &["1", "2", "3"]);
    let web = |version: usize, count| Web::new(&images[version - 1], count).in_batches();
    platform.deploy_ok("shop", &web(1, 3).yaml());
    let load = Load::start(&platform, "shop");

    load.note("a release");
    platform.deploy_ok("shop", &web(2, 3).yaml());
    load.note("a rollback");
    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    load.note("scaling to 1");
    platform.ok(["scale", "shop", "web=1", "--wait"]);
    for count in [10, 1, 3] {
        load.note(&format!("scaling to {count}"));
        let begun = Instant::now();
        platform.ok(["scale", "shop", &format!("web={count}"), "--wait"]);
        assert!(begun.elapsed() < SCALED, "scaling to {count} took {:?}", begun.elapsed());
    }

    load.note("a release that is aborted");
    let file = platform.specify(&web(2, 3).strategy("pause_seconds: 3600").yaml());
    platform.ok(["deploy", "shop", "-f", &file]);
    eventually("both versions answer", || (platform.versions("shop", 20).len() == 2).then_some(()));
    load.note("an abort");
    platform.ok(["abort", "shop"]);
    eventually("the release is over", || {
        (platform.json(["status", "shop"])["state"] == "running").then_some(())
    });

    load.note("a release without its server");
    let file = platform.specify(&web(3, 3).yaml());
    platform.ok(["deploy", "shop", "-f", &file]);
    eventually("the new version answers", || platform.versions("shop", 20).contains("3").then_some(()));
    load.note("the server is killed");
    platform.kill_server();
    std::thread::sleep(Duration::from_secs(1)); // the absence is part of what is tested
    platform.start_server();
    eventually("the release ends after the restart", || {
        (platform.json(["status", "shop"])["state"] == "running").then_some(())
    });
    load.note("a restart");
    platform.ok(["restart", "shop", "--wait", "--timeout", "60s"]);
    load.end(&["1", "2", "3"]);
}
