//! A stateful component on a cluster: one stateful set, and claims that outlive its pods.

use crate::application::only;
use crate::marks::{are_kept, stateful, survive_a_release_and_scaling};
use crate::place;
use crate::platform::eventually;
use crate::sample;
use crate::volumes::Volumes;

pub fn the_data_of_each_ordinal_survives() {
    let volumes = Volumes::make(place::first(), 3);
    let platform = volumes.start();
    let images = sample::pushed(&platform, place::first(), &["1", "2"]);
    survive_a_release_and_scaling(&platform, &stateful(&images[0], 3), &stateful(&images[1], 3));

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
