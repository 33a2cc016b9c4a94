//! A stateful component on a cluster: one stateful set, and claims that outlive its pods.

use crate::application::only;
use crate::marks::{are_kept, leave, stateful};
use crate::place;
use crate::platform::eventually;
use crate::sample;
use crate::volumes::Volumes;

pub fn the_data_of_each_ordinal_survives() {
    let volumes = Volumes::make(place::first(), 3);
    let platform = volumes.start();
    let images = sample::pushed(&platform, place::first(), &["1", "2"]);
    platform.deploy_ok("shop", &stateful(&images[0], 3));
    leave(&platform, 3, "first");

    platform.deploy_ok("shop", &stateful(&images[1], 3));
    are_kept(&platform, 3, &["first"]);
    assert_eq!(platform.versions("shop", 9), only("2"));
    leave(&platform, 3, "second");

    platform.ok(["scale", "shop", "web=1", "--wait"]);
    are_kept(&platform, 1, &["first", "second"]);
    platform.ok(["scale", "shop", "web=3", "--wait"]);
    are_kept(&platform, 3, &["first", "second"]);

    // A version that never becomes ready costs one ordinal, which it gives back.
    let broken = stateful(&images[1], 3).replace("env: {}", "env: {NEVER_READY: '1'}");
    let file = platform.specify(&broken);
    platform.ok(["deploy", "shop", "-f", &file]);
    eventually("the release is held up by its first instance", || {
        let status = platform.json(["status", "shop"]);
        let instances = status["components"][0]["tracks"][0]["instances"].as_array()?.clone();
        let unready = instances.iter().find(|instance| instance["phase"] == "starting")?;
        (unready["ordinal"] == 2).then_some(())
    });
    platform.ok(["abort", "shop"]);
    are_kept(&platform, 3, &["first", "second"]);

    platform.ok(["rollback", "shop", "--to", "1", "--wait", "--timeout", "180s"]);
    are_kept(&platform, 3, &["first", "second"]);
    assert_eq!(platform.versions("shop", 9), only("1"));
    platform.ok(["delete", "shop", "--yes", "--wait", "--timeout", "120s"]);
}
