//! What dies comes back: instances, shims, the gateway, the server, the machine.

use std::fs;
use std::time::Duration;

use crate::life::web;
use crate::platform::{Platform, eventually, signal};
use crate::sample;

fn running(count: u32) -> Platform {
    let platform = Platform::start();
    sample::layout(&platform.folder().join("images"), &["1"]);
    platform.deploy_ok("shop", &web("oci:images:1", count));
    platform
}

fn answers(platform: &Platform) {
    eventually("it answers", || {
        platform.try_get("shop", "/").is_ok_and(|answer| answer.status == 200).then_some(())
    });
}

#[test]
fn a_second_server_on_the_same_directory_is_refused_and_names_the_first() {
    let platform = running(1);
    let directory = platform.directory();
    let words = [
        "server",
        "--listen",
        "127.0.0.1:0",
        "--gateway",
        "127.0.0.1:0",
        "--dir",
        directory.to_str().unwrap(),
    ];
    let second = platform.run(words);
    assert_ne!(second.code, 0);
    let address: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.join("server.json")).unwrap()).unwrap();
    assert!(second.stderr.contains(&address["pid"].to_string()), "{second:?}");
    answers(&platform);
}

#[test]
fn an_instance_that_crashes_is_started_again_and_the_crash_is_told() {
    let platform = running(2);
    platform.get("shop", "/crash?code=9");
    eventually("the exit code is told", || {
        platform.ok(["status", "shop", "-o", "json"]).contains('9').then_some(())
    });
    eventually("both instances run again", || (platform.processes("__shim").len() == 2).then_some(()));
    answers(&platform);
}

#[test]
fn an_instance_whose_shim_is_killed_is_replaced() {
    let platform = running(2);
    let shim = platform.processes("__shim")[0];
    signal(shim, "KILL");
    eventually("another shim takes its place", || {
        let now = platform.processes("__shim");
        (now.len() == 2 && !now.contains(&shim)).then_some(())
    });
    answers(&platform);
}

#[test]
fn a_killed_gateway_comes_back_and_serves() {
    let platform = running(1);
    let gateway = platform.processes("__gateway");
    assert_eq!(gateway.len(), 1, "{gateway:?}");
    signal(gateway[0], "KILL");
    eventually("another gateway runs", || {
        let now = platform.processes("__gateway");
        (now.len() == 1 && now != gateway).then_some(())
    });
    answers(&platform);
}

#[test]
fn instances_serve_on_while_the_server_is_away_and_are_found_again() {
    let mut platform = running(2);
    let before = platform.processes("__shim");
    platform.stop_server();
    assert_eq!(platform.get("shop", "/").status, 200, "the gateway serves without the server");
    let took = platform.start_server();
    assert!(took < Duration::from_secs(1), "the server answered after {took:?}");
    answers(&platform);
    assert_eq!(platform.processes("__shim"), before, "the instances are the same");
}

#[test]
fn an_instance_that_died_while_the_server_was_away_is_replaced() {
    let mut platform = running(2);
    platform.kill_server();
    let shim = platform.processes("__shim")[0];
    signal(shim, "KILL");
    platform.start_server();
    eventually("two instances run", || {
        let now = platform.processes("__shim");
        (now.len() == 2 && !now.contains(&shim)).then_some(())
    });
    answers(&platform);
}
