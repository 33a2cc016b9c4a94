//! A stateful component: instances that are known by their numbers, and data that comes back with them.

use crate::application::only;
use crate::journey::{Who, journeys};
use crate::marks::{are_kept, instances, survive_a_release_and_scaling};
use crate::platform::{Platform, eventually};
use crate::sample;

/// The image's own user may not write to a new volume of this machine.
fn stateful(image: &str, count: u32) -> String {
    let spec = crate::marks::stateful(image, count);
    spec.replace("kind: stateful", "kind: stateful\n  security: {user: '0'}")
}

journeys! {
    fn the_data_of_each_ordinal_survives_releases_scaling_and_rollbacks();
}

fn the_data_of_each_ordinal_survives_releases_scaling_and_rollbacks(who: Who) {
    let mut platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    let [first, second] = ["oci:images:1", "oci:images:2"].map(|image| stateful(image, 3));
    survive_a_release_and_scaling(&platform, &first, &second);

    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    are_kept(&platform, 3, &["first", "second"]);
    assert_eq!(platform.versions("shop", 9), only("1"));

    // A server that was killed finds who has which ordinal.
    platform.kill_server();
    platform.start_server();
    are_kept(&platform, 3, &["first", "second"]);
    let status = platform.ok(["status", "shop"]);
    assert!(status.contains("ORDINAL"), "{status}");

    // One instance cannot be replaced without an interruption, which is told before it begins.
    platform.ok(["scale", "shop", "web=1", "--wait"]);
    instances(&platform, 1);
    let file = platform.specify(&stateful("oci:images:2", 1));
    let told = platform.run(["deploy", "shop", "-f", &file, "--wait", "--timeout", "60s"]).ended_with(0);
    assert!(format!("{told:?}").contains("interrupted"), "{told:?}");
    are_kept(&platform, 1, &["first", "second"]);

    let volumes = platform.directory().join("machine/volumes");
    platform.ok(["delete", "shop", "--yes", "--wait"]);
    eventually("the volumes are gone", || {
        let left = walk(&volumes).iter().any(|path| path.ends_with("marks"));
        (!left).then_some(())
    });
}

/// Every file and folder below one.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| [vec![path.clone()], walk(&path)].concat()).collect()
}
