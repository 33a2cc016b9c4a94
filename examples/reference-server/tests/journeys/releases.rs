//! Releases by batches, and the way back to any of ten.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::ChildStdout;

use serde_json::Value;

use crate::application::only;
use crate::journey::{Who, journeys};
use crate::outcome::Background;
use crate::platform::{Platform, eventually};
use crate::sample;
use crate::specification::Web;

journeys! {
    fn a_release_of_3_instances_goes_out_in_batches();
    fn a_release_of_10_instances_goes_out_in_batches();
    fn a_paused_release_serves_both_versions_until_resumed();
    fn an_aborted_release_goes_back();
    fn the_oldest_of_ten_releases_comes_back_with_its_configuration_and_secrets();
}

fn a_release_of_3_instances_goes_out_in_batches(who: Who) {
    in_batches(who, 3, &[1, 2]);
}

fn a_release_of_10_instances_goes_out_in_batches(who: Who) {
    in_batches(who, 10, &[1, 4]);
}

/// Every state of an application, as `paas status --watch` tells it.
struct Watch {
    lines: Lines<BufReader<ChildStdout>>,
    _command: Background,
}

impl Watch {
    fn start(platform: &Platform) -> Self {
        let mut command =
            Background::start(&mut platform.command(["status", "shop", "--watch", "-o", "json"]));
        Self { lines: BufReader::new(command.stdout()).lines(), _command: command }
    }

    /// The states from the last one that was wanted on until one is as wanted, that one included.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        for line in self.lines.by_ref() {
            let state: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let is_wanted = wanted(&state);
            seen.push(state);
            if is_wanted {
                return seen;
            }
        }
        panic!("the states ended early: {seen:#?}");
    }
}

/// The versions of the only component.
fn versions_of(state: &Value) -> &[Value] {
    state["components"][0]["tracks"][0]["versions"].as_array().map_or(&[], Vec::as_slice)
}

/// `field` of a release's version, 0 if there is none.
fn of_release(state: &Value, release: u64, field: &str) -> u64 {
    let version = versions_of(state).iter().find(|version| version["release"] == release);
    version.and_then(|version| version[field].as_u64()).unwrap_or(0)
}

/// The step that the release is at, counted from 1, with how many steps there are; nothing before and after them.
fn step_of(state: &Value) -> &Value {
    &state["components"][0]["tracks"][0]["step"]
}

/// A share of the declared instances rounds up: 30 % of 3 are 1, and of 10 are 3. `batches` is what is reached with each
/// before the rest.
fn in_batches(who: Who, count: u32, batches: &[u64]) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &Web::version("1", count).yaml());
    assert_eq!(platform.versions("shop", 20), only("1"));

    let mut watch = Watch::start(&platform);
    let release = Web::version("2", count).in_batches().strategy("pause_seconds: 3600");
    let file = platform.specify(&release.yaml());
    platform.ok(["deploy", "shop", "-f", &file]);
    let (total, steps) = (u64::from(count), batches.len() as u64 + 1);
    let mut states = Vec::new();
    for (step, reached) in (1_u64..).zip(batches) {
        // Nothing changes in a pause that nobody ends, so what is there when it begins is the whole batch.
        states.extend(watch.until(|state| {
            let holds = state["components"][0]["tracks"][0]["holds"].to_string();
            *step_of(state) == serde_json::json!([step, steps]) && holds.contains("pause")
        }));
        let paused = states.last().unwrap();
        let told = ["desired", "total", "ready"].map(|field| of_release(paused, 2, field));
        assert_eq!(told, [*reached; 3], "step {step} of the new release: {paused:#}");
        let told = ["desired", "total", "ready"].map(|field| of_release(paused, 1, field));
        assert_eq!(told, [total - reached; 3], "step {step} of the old release: {paused:#}");
        platform.ok(["resume", "shop"]);
    }
    let committed = |state: &Value| state["state"] == "running" && state["current"]["number"] == 2;
    states.extend(watch.until(|state| committed(state) && of_release(state, 1, "total") == 0));
    assert_eq!(of_release(states.last().unwrap(), 2, "ready"), total, "the last step is the rest");
    assert_eq!(platform.versions("shop", 20), only("2"));

    for state in &states {
        let ready: u64 = versions_of(state).iter().filter_map(|version| version["ready"].as_u64()).sum();
        assert!(ready >= total, "never fewer ready instances than declared: {state:#}");
        let exist: u64 = versions_of(state).iter().filter_map(|version| version["desired"].as_u64()).sum();
        assert!(exist <= total + 1, "never more instances than one above: {state:#}");
    }
    let events = platform.ok(["events", "shop"]);
    let told: Vec<_> = events.lines().filter_map(|line| Some(&line[line.find("web: step ")?..])).collect();
    let wanted: Vec<_> = (1..=steps).map(|step| format!("web: step {step} of {steps} (system)")).collect();
    assert_eq!(told, wanted, "the events tell of each step once");
    platform.has_instances(count as usize);
}

fn a_paused_release_serves_both_versions_until_resumed(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &Web::version("1", 3).yaml());
    let paused = Web::version("2", 3).strategy("batches: [1]").strategy("pause_seconds: 3600");
    let file = platform.specify(&paused.yaml());
    platform.ok(["deploy", "shop", "-f", &file]);
    let both = BTreeSet::from(["1", "2"].map(str::to_owned));
    eventually("both versions answer", || (platform.versions("shop", 20) == both).then_some(()));
    // The step has been confirmed a moment after its requests arrive.
    eventually("the status says that the release is paused", || {
        let status = platform.ok(["status", "shop"]);
        (status.contains("step 1 of 2") && status.contains("pause")).then_some(())
    });
    platform.ok(["resume", "shop"]);
    eventually("only the new version answers", || (platform.versions("shop", 20) == only("2")).then_some(()));
}

fn an_aborted_release_goes_back(who: Who) {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &Web::version("1", 3).yaml());
    let paused = Web::version("2", 3).strategy("batches: [1]").strategy("pause_seconds: 3600");
    let file = platform.specify(&paused.yaml());
    platform.ok(["deploy", "shop", "-f", &file]);
    eventually("the new version answers", || platform.versions("shop", 20).contains("2").then_some(()));
    platform.ok(["abort", "shop", "--reason", "not today"]);
    eventually("only the old version answers", || (platform.versions("shop", 20) == only("1")).then_some(()));
    eventually("the release is over", || {
        platform.ok(["releases", "shop"]).contains("aborted: a user asked for it: not today").then_some(())
    });
    platform.has_instances(3);
    let again = platform.ok(["abort", "shop"]);
    assert!(again.contains("no release of acme/prod/shop is under way"), "{again}");
}

fn the_oldest_of_ten_releases_comes_back_with_its_configuration_and_secrets(who: Who) {
    let platform = Platform::start(who);
    let versions: Vec<String> = (1..=11).map(|version| version.to_string()).collect();
    sample::versions(&platform, &versions.iter().map(String::as_str).collect::<Vec<_>>());
    let spec = |version: &str| {
        let web = Web::version(version, 1).env("LEVEL: {config: LEVEL}").env("KEY: {secret: KEY}");
        web.with("files: [{path: /run/key, secret: KEY}, {path: /run/level, config: LEVEL}]").yaml()
    };
    platform.ok(["app", "create", "shop"]);
    for version in &versions {
        platform.ok(["config", "set", "shop", &format!("LEVEL=level-{version}")]);
        platform.run_with_input(["secret", "set", "shop", "KEY"], &format!("key-{version}")).ended_with(0);
        platform.deploy_ok("shop", &spec(version));
    }
    let is_at = |version: &str| {
        assert_eq!(platform.versions("shop", 5), only(version));
        let file = |path: &str| platform.get("shop", &format!("/file?path={path}")).body;
        assert_eq!(platform.variable("shop", "LEVEL"), format!("level-{version}"));
        assert_eq!(file("/run/level"), format!("level-{version}"));
        assert_eq!(platform.variable("shop", "KEY"), format!("key-{version}"));
        assert_eq!(file("/run/key"), format!("key-{version}"));
    };
    is_at("11");
    // The images themselves are gone: a rollback needs no source.
    std::fs::remove_dir_all(platform.folder().join("images")).unwrap();
    // The oldest of the ten before the current one.
    platform.ok(["rollback", "shop", "--to", "1", "--wait", "--timeout", "60s"]);
    is_at("1");
    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    is_at("11");
    platform.run(["rollback", "shop", "--to", "99"]).ended_with(7).complained_of(&["99"]);
}
