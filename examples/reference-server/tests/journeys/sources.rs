//! From where an application is deployed: a layout, an archive, a registry.

use std::time::Duration;

use crate::journey::{Who, journeys};
use crate::outcome::{Background, Outcome};
use crate::platform::{Platform, eventually};
use crate::sample::{self, Registry};
use crate::slow_registry::SlowRegistry;
use crate::specification::Web;

journeys! {
    fn an_application_is_deployed_from_a_layout();
    fn an_application_is_deployed_from_an_archive();
    #[ignore = "needs docker-registry"]
    fn an_application_is_deployed_from_a_registry();
    fn how_far_an_image_has_come_is_shown_while_it_is_pulled();
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

fn how_far_an_image_has_come_is_shown_while_it_is_pulled(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    let registry = SlowRegistry::start(&platform.folder().join("images"), Duration::from_secs(10));
    platform.specify(&Web::new(&registry.reference("1"), 1).yaml());
    let words = ["deploy", "shop", "--create", "-f", "paas.yaml", "--wait", "--timeout", "60s"];
    let deploying = Background::start(&mut platform.command(words));
    let pull = |more_than: u64| {
        eventually("the status tells how much has come", || {
            let status = platform.run(["status", "shop", "-o", "json"]);
            // The application is made by the command that deploys it.
            let status = (status.code == 0).then(|| status.json())?;
            let pull = &status["components"][0]["tracks"][0]["instances"][0]["pull"];
            (pull["received_bytes"].as_u64()? > more_than).then(|| pull.clone())
        })
    };
    let first = pull(0);
    let next = pull(first["received_bytes"].as_u64().unwrap());
    assert_eq!((&next["layers_done"], &next["layers"]), (&0.into(), &1.into()), "{next}");
    assert!(next["received_bytes"].as_u64() < next["total_bytes"].as_u64(), "{next}");
    let table = platform.ok(["status", "shop"]);
    assert!(table.contains("pulling: ") && table.contains(" MB, 0 of 1 layers"), "{table}");

    let deployed = deploying.end().ended_with(0);
    let lines = deployed.stderr.lines().filter(|line| line.contains("pulling web: "));
    let told: Vec<&str> = lines.collect();
    assert!(told.len() >= 2 && told[0].ends_with(" MB, 0 of 1 layers"), "the live view tells: {deployed:?}");
    assert_ne!(told[0], told[told.len() - 1]);
    let status = platform.json(["status", "shop"]);
    assert_eq!(status["components"][0]["tracks"][0]["instances"][0].get("pull"), None, "{status}");
    assert_eq!(platform.get("shop", "/").version, "1");
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
