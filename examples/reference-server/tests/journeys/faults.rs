//! What dies comes back: instances, shims, the gateway, the server.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::journey::{Who, journeys};
use crate::leftovers::{self, signal};
use crate::outcome::Outcome;
use crate::platform::{Platform, eventually};
use crate::sample;
use crate::specification::Web;

journeys! {
    fn a_second_server_on_the_same_directory_is_refused_and_names_the_first();
    fn an_instance_that_crashes_is_started_again_and_the_crash_is_told();
    fn an_instance_that_is_killed_is_started_again();
    fn an_instance_whose_shim_is_killed_is_replaced();
    fn a_killed_gateway_comes_back_and_serves();
    fn instances_serve_on_while_the_server_is_away_and_are_found_again();
    fn what_died_while_the_server_was_away_is_replaced();
}

/// `count` instances of the web component.
pub fn running(who: Who, count: u32) -> Platform {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1"]);
    platform.deploy_ok("shop", &Web::version("1", count).yaml());
    platform
}

fn a_second_server_on_the_same_directory_is_refused_and_names_the_first(who: Who) {
    let platform = running(who, 1);
    let mut command = platform.server_command();
    let second = Outcome::of(&mut command).ended_with(1);
    let first = platform.server().to_string();
    second.complained_of(&[&first, platform.directory().to_str().unwrap(), "--dir"]);
    platform.answers("shop");
}

fn instances(platform: &Platform) -> Vec<Value> {
    let status = platform.json(["status", "shop"]);
    status["components"][0]["tracks"][0]["instances"].as_array().unwrap().clone()
}

/// All instances are ready, and one of them was started again after an end of this kind.
fn one_came_back(platform: &Platform, count: usize, ended: impl Fn(&Value) -> bool) {
    eventually("it is told how it ended, and all are ready again", || {
        let instances = instances(platform);
        let ready = instances.iter().filter(|instance| instance["phase"] == "ready").count();
        let again =
            instances.iter().any(|instance| instance["restarts"] == 1 && ended(&instance["last_exit"]));
        (ready == count && again).then_some(())
    });
    platform.answers("shop");
}

fn an_instance_that_crashes_is_started_again_and_the_crash_is_told(who: Who) {
    let platform = running(who, 2);
    platform.get("shop", "/crash?code=9");
    one_came_back(&platform, 2, |exit| exit["code"] == 9);
    eventually("the events tell of it", || platform.ok(["events", "shop"]).contains("code 9").then_some(()));
}

fn an_instance_that_is_killed_is_started_again(who: Who) {
    let platform = running(who, 2);
    let (_, state) = &leftovers::states(&platform.directory())[0];
    signal(leftovers::program_of(state).expect("it runs"), "KILL");
    one_came_back(&platform, 2, |exit| exit["signal"] == 9);
}

/// As many instances as before, and not the one whose supervisor was `killed`.
fn is_replaced(platform: &Platform, before: &BTreeSet<u32>, killed: u32) {
    eventually("another shim takes its place", || {
        let now = platform.shims();
        (now.len() == before.len() && !now.contains(&killed)).then_some(())
    });
    let others = before.iter().filter(|shim| **shim != killed).copied().collect();
    assert!(platform.shims().is_superset(&others), "the others are left alone");
    eventually("all are ready", || {
        let all = instances(platform);
        (all.len() == before.len() && all.iter().all(|instance| instance["phase"] == "ready")).then_some(())
    });
    platform.answers("shop");
}

fn an_instance_whose_shim_is_killed_is_replaced(who: Who) {
    let platform = running(who, 2);
    let before = platform.shims();
    let states = leftovers::states(&platform.directory());
    let killed = *before.first().unwrap();
    let (_, orphan) = states.iter().find(|(_, state)| state["shim_pid"] == killed).unwrap();
    signal(killed, "KILL");
    is_replaced(&platform, &before, killed);
    assert_eq!(leftovers::program_of(orphan), None, "what it supervised does not go on beside the new one");
}

fn a_killed_gateway_comes_back_and_serves(who: Who) {
    let mut platform = running(who, 1);
    let before = platform.shims();
    for server_is_there in [true, false] {
        let gateways = platform.gateways();
        assert_eq!(gateways.len(), 1, "{gateways:?}");
        if !server_is_there {
            platform.stop_server();
        }
        signal(gateways[0], "KILL");
        if !server_is_there {
            platform.start_server();
        }
        eventually("another gateway runs", || {
            let now = platform.gateways();
            (now.len() == 1 && now != gateways).then_some(())
        });
        platform.answers("shop");
    }
    assert_eq!(platform.shims(), before, "the instances are the same");
}

fn instances_serve_on_while_the_server_is_away_and_are_found_again(who: Who) {
    let mut platform = running(who, 2);
    let (shims, gateways) = (platform.shims(), platform.gateways());
    platform.stop_server();
    for _ in 0..20 {
        assert_eq!(platform.get("shop", "/").status, 200, "the gateway serves without the server");
    }
    let away = platform.run(["status", "shop"]).ended_with(5);
    away.complained_of(&["cannot be reached", "paas server"]);
    let took = platform.start_server();
    assert!(took < Duration::from_secs(1), "the server answered after {took:?}");
    assert_eq!(platform.json(["status", "shop"])["state"], "running", "it knows at once");
    assert_eq!((platform.shims(), platform.gateways()), (shims, gateways), "the processes are the same");
    platform.answers("shop");
}

fn what_died_while_the_server_was_away_is_replaced(who: Who) {
    let mut platform = running(who, 3);
    let before = platform.shims();
    let states = leftovers::states(&platform.directory());
    platform.kill_server();
    // One loses its supervisor, one its program; the third one goes on.
    let killed = *before.first().unwrap();
    let (_, other) = states.iter().find(|(_, state)| state["shim_pid"] != killed).unwrap();
    signal(killed, "KILL");
    signal(leftovers::program_of(other).expect("it runs"), "KILL");
    platform.start_server();
    eventually("three instances are ready, and one shim is the same", || {
        let ready = instances(&platform).iter().filter(|instance| instance["phase"] == "ready").count();
        let same = platform.shims().intersection(&before).count();
        (ready == 3 && platform.shims().len() == 3 && same == 1).then_some(())
    });
    platform.answers("shop");
    let lock = fs::read_to_string(platform.directory().join("server.lock")).unwrap();
    assert_eq!(lock.trim(), platform.server().to_string(), "the lock names who holds it");
}
