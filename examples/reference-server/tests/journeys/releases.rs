//! Releases by batches, and the way back to any of ten.

use std::collections::BTreeSet;

use crate::life::web;
use crate::platform::{Platform, eventually};
use crate::sample;

/// The web component released in batches of one, 30 % and the rest.
fn batches(version: &str, count: u32) -> String {
    web(&format!("oci:images:{version}"), count) + "strategy: {type: rolling, batches: [1, 30%]}\n"
}

#[test]
fn a_release_goes_out_in_batches() {
    for count in [3_u32, 10] {
        let platform = Platform::start();
        sample::layout(&platform.folder().join("images"), &["1", "2"]);
        platform.deploy_ok("shop", &batches("1", count));
        assert_eq!(platform.versions("shop", 20), BTreeSet::from(["1".to_owned()]));
        platform.deploy_ok("shop", &batches("2", count));
        assert_eq!(platform.versions("shop", 20), BTreeSet::from(["2".to_owned()]));
        eventually("the old instances are gone", || {
            (platform.processes("__shim").len() == count as usize).then_some(())
        });
    }
}

#[test]
fn a_paused_release_serves_both_versions_until_resumed() {
    let platform = Platform::start();
    sample::layout(&platform.folder().join("images"), &["1", "2"]);
    platform.deploy_ok("shop", &batches("1", 3));
    let slow = batches("2", 3).replace("batches: [1, 30%]", "batches: [1], pause_seconds: 3600");
    let file = platform.spec(&slow);
    platform.ok(["deploy", "shop", "-f", &file]);
    let both = BTreeSet::from(["1".to_owned(), "2".to_owned()]);
    eventually("both versions answer", || (platform.versions("shop", 20) == both).then_some(()));
    platform.ok(["resume", "shop"]);
    eventually("only the new version answers", || {
        (platform.versions("shop", 20) == BTreeSet::from(["2".to_owned()])).then_some(())
    });
}

#[test]
fn the_oldest_of_ten_releases_comes_back_with_its_configuration_and_secrets() {
    let platform = Platform::start();
    let versions: Vec<String> = (1..=11).map(|version| version.to_string()).collect();
    let names: Vec<&str> = versions.iter().map(String::as_str).collect();
    sample::layout(&platform.folder().join("images"), &names);
    let spec = |version: &str| {
        web(&format!("oci:images:{version}"), 1)
            .replace("  instances", "  env: {LEVEL: {config: LEVEL}, KEY: {secret: KEY}}\n  instances")
    };
    platform.ok(["app", "create", "shop"]);
    for version in &versions {
        platform.ok(["config", "set", "shop", &format!("LEVEL=level-{version}")]);
        let set = platform.run_with_input(["secret", "set", "shop", "KEY"], &format!("key-{version}"));
        assert_eq!(set.code, 0, "{set:?}");
        platform.deploy_ok("shop", &spec(version));
    }
    assert_eq!(platform.get("shop", "/env?name=LEVEL").body, "level-11");
    // The images themselves are gone: a rollback needs no source.
    std::fs::remove_dir_all(platform.folder().join("images")).unwrap();
    platform.ok(["rollback", "shop", "--to", "1", "--wait", "--timeout", "60s"]);
    let answer = platform.get("shop", "/env?name=LEVEL");
    assert_eq!((answer.version.as_str(), answer.body.as_str()), ("1", "level-1"));
    assert_eq!(platform.get("shop", "/env?name=KEY").body, "key-1");

    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    assert_eq!(platform.get("shop", "/").version, "11", "the release before the current one");
    let unknown = platform.run(["rollback", "shop", "--to", "99"]);
    assert_eq!(unknown.code, 7, "{unknown:?}");
}
