//! From where an application is deployed: a layout, an archive, a registry.

use crate::journey::{Who, journeys};
use crate::outcome::Outcome;
use crate::platform::Platform;
use crate::sample::{self, Registry};
use crate::specification::Web;

journeys! {
    fn an_application_is_deployed_from_a_layout();
    fn an_application_is_deployed_from_an_archive();
    #[ignore = "needs docker-registry"]
    fn an_application_is_deployed_from_a_registry();
    fn paths_of_images_are_those_of_who_types_them();
}

fn an_application_is_deployed_from_a_layout(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &Web::new("oci:images:1", 1).yaml());
    assert_eq!(platform.get("shop", "/").version, "1");
    platform.ok(["deploy", "shop", "--image", "web=oci:images:2", "--wait"]);
    assert_eq!(platform.get("shop", "/").version, "2");
}

fn an_application_is_deployed_from_an_archive(who: Who) {
    let platform = Platform::start(who);
    sample::archive(&platform, "web.tar", "1");
    sample::archive(&platform, "next.tar", "2");
    platform.deploy_ok("shop", &Web::new("oci-archive:web.tar", 1).yaml());
    assert_eq!(platform.get("shop", "/").version, "1");
    platform.ok(["deploy", "shop", "--image", "web=oci-archive:next.tar:2", "--wait"]);
    assert_eq!(platform.get("shop", "/").version, "2");
}

fn an_application_is_deployed_from_a_registry(who: Who) {
    let platform = Platform::start(who);
    let registry = Registry::start(&platform);
    platform.deploy_ok("shop", &Web::new(&registry.push("shop/web", "1"), 1).yaml());
    assert_eq!(platform.get("shop", "/").version, "1");
    let next = registry.push("shop/web", "2");
    platform.ok(["deploy", "shop", "--image", &format!("web={next}"), "--wait"]);
    assert_eq!(platform.get("shop", "/").version, "2");

    // What was pulled is kept: the way back needs no registry.
    drop(registry);
    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    assert_eq!(platform.get("shop", "/").version, "1");
    let away = platform.run(["deploy", "shop", "--image", &format!("web={}", next.replace(":2", ":3"))]);
    away.ended_with(1).complained_of(&["components[0].image", "shop/web:3", "cannot be reached"]);
}

fn paths_of_images_are_those_of_who_types_them(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    // In a file they are meant from its folder, on the command line from the current one; the server has its own.
    let elsewhere = platform.folder().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    platform.give(&elsewhere);
    platform.specify(&Web::new("oci:images:1", 1).yaml());
    let run = |words: &[&str]| Outcome::of(platform.command(words.iter().copied()).current_dir(&elsewhere));
    run(&["deploy", "shop", "--create", "-f", "../paas.yaml", "--wait"]).ended_with(0);
    assert_eq!(platform.get("shop", "/").version, "1");
    run(&["deploy", "shop", "--image", "web=oci:../images:2", "--wait"]).ended_with(0);
    assert_eq!(platform.get("shop", "/").version, "2");
    let missing = run(&["deploy", "shop", "--image", "web=oci:images:2"]).ended_with(1);
    missing.complained_of(&["elsewhere/images", "does not exist"]);
}
