//! A full disk: what runs goes on, what cannot be done is refused in clear words, and nothing is lost.

use std::fs::File;
use std::io::Write as _;

use crate::journey::{Who, journeys};
use crate::platform::{Platform, Setup, eventually};
use crate::sample;
use crate::specification::Web;

journeys! {
    #[prepared]
    fn a_full_disk_stops_changes_and_nothing_that_runs();
    #[prepared]
    fn a_server_that_is_started_on_a_full_disk_loses_nothing();
}

/// Two instances on a small file system of their own.
fn small(who: Who) -> Platform {
    let platform = Setup::new(who).with_space("64m").start();
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &Web::version("1", 2).yaml());
    platform
}

/// Takes all the space that is left.
fn fill(platform: &Platform) {
    let mut filler = File::create(platform.directory().join("filler")).unwrap();
    for size in [1 << 20, 1 << 12] {
        let piece = vec![1; size];
        while filler.write_all(&piece).is_ok() {}
    }
}

fn free(platform: &Platform) {
    std::fs::remove_file(platform.directory().join("filler")).unwrap();
}

fn ready(platform: &Platform) -> u64 {
    platform.json(["status", "shop"])["components"][0]["ready"].as_u64().unwrap()
}

fn a_full_disk_stops_changes_and_nothing_that_runs(who: Who) {
    let platform = small(who);
    fill(&platform);
    for _ in 0..50 {
        assert_eq!(platform.get("shop", "/").status, 200, "what runs goes on");
    }
    assert_eq!(ready(&platform), 2, "it can be looked at");
    let refused =
        platform.run(["deploy", "shop", "--image", "web=oci:images:2", "--wait", "--timeout", "5s"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("full"), "it is told why: {refused:?}");
    // One that dies cannot be started while there is no space for it; the other one serves.
    platform.get("shop", "/crash?code=9");
    for _ in 0..50 {
        assert_eq!(platform.get("shop", "/").status, 200);
    }

    free(&platform);
    eventually("both are ready again", || (ready(&platform) == 2).then_some(()));
    eventually("changes are possible again", || {
        let done =
            platform.run(["deploy", "shop", "--image", "web=oci:images:2", "--wait", "--timeout", "60s"]);
        (done.code == 0).then_some(())
    });
    assert_eq!(platform.get("shop", "/").version, "2");
}

fn a_server_that_is_started_on_a_full_disk_loses_nothing(who: Who) {
    let mut platform = small(who);
    platform.ok(["config", "set", "shop", "LEVEL=kept"]);
    fill(&platform);
    platform.kill_server();
    for _ in 0..50 {
        assert_eq!(platform.get("shop", "/").status, 200, "what runs goes on");
    }
    platform.start_server();
    assert_eq!(ready(&platform), 2, "it finds what runs");
    assert!(platform.ok(["config", "show", "shop"]).contains("kept"));
    free(&platform);
    platform.ok(["scale", "shop", "web=3", "--wait"]);
    platform.answers("shop");
}
