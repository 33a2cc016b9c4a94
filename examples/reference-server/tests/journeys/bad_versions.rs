//! A version that does not work is held, explained and taken back at its deadline; the old one never loses an instance.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::application::only;
use crate::journey::{Who, journeys};
use crate::outcome::{Background, Outcome};
use crate::platform::Platform;
use crate::sample;
use crate::specification::Web;

journeys! {
    fn a_version_that_crashes_is_held_and_aborted();
    fn a_version_that_crashes_later_is_held_and_aborted();
    fn a_version_that_never_gets_ready_is_held_and_aborted();
    fn a_version_without_its_entry_point_is_held_and_aborted();
    fn a_version_whose_image_cannot_be_pulled_is_held_and_aborted();
    #[root]
    fn a_version_that_runs_out_of_memory_is_held_and_aborted();
    fn an_image_that_does_not_exist_is_refused_before_anything_changes();
    fn an_image_for_another_platform_is_refused_before_anything_changes();
    fn after_an_aborted_release_the_next_one_goes_through();
}

/// Three instances of a good version.
fn good(who: Who) -> Platform {
    let platform = Platform::start(who);
    sample::versions(&platform, &["1", "2"]);
    platform.deploy_ok("shop", &Web::version("1", 3).yaml());
    platform
}

/// How the release of a bad version went.
struct Bad {
    /// What the command that waited for its end said.
    outcome: Outcome,
    /// The texts of the status while it was held.
    held: String,
    /// The history afterwards.
    history: String,
}

/// Releases a bad version, and checks that the good one stays whole until the end.
fn release(platform: &Platform, bad: Web) -> Bad {
    let before = platform.shims();
    assert_eq!(before.len(), 3);
    let bad = bad.strategy("progress_deadline_seconds: 3");
    let file = platform.specify(&bad.yaml());
    let mut command = platform.command(["deploy", "shop", "-f", &file, "--wait", "--timeout", "60s"]);
    let mut deploying = Background::start(&mut command);
    let (mut held, mut last) = (None, Value::Null);
    while deploying.runs() {
        for _ in 0..5 {
            let answer = platform.try_get("shop", "/healthz");
            assert!(
                answer.as_ref().is_ok_and(|answer| answer.version == "1"),
                "the old version serves: {answer:?}"
            );
        }
        last = platform.json(["status", "shop"]);
        let versions = last["components"][0]["tracks"][0]["versions"].as_array().unwrap();
        let good = versions.iter().find(|version| version["release"] == 1);
        assert_eq!(good.map(|good| &good["ready"]), Some(&3.into()), "the old version is whole: {last:#}");
        held = held.or_else(|| held_because(&last));
    }
    let outcome = deploying.end();
    let held =
        held.unwrap_or_else(|| panic!("it was never told that it is held: {outcome:?}, at last {last:#}"));
    let after: BTreeSet<u32> = platform.shims();
    assert!(after.is_superset(&before), "the old instances are the same ones: {before:?}, now {after:?}");
    assert_eq!(platform.versions("shop", 12), only("1"));
    platform.has_instances(3);
    Bad { outcome, held, history: platform.ok(["releases", "shop", "-o", "json"]) }
}

/// What the status says of a release under way, once it says what keeps it and why an instance does not serve.
fn held_because(status: &Value) -> Option<String> {
    let track = &status["components"][0]["tracks"][0];
    let holds = track["holds"].as_array().filter(|holds| !holds.is_empty())?;
    assert_eq!(status["rollout"]["state"], "running", "{status:#}");
    let failed = track["instances"].as_array()?.iter().find_map(|instance| instance.get("failure"))?;
    assert_eq!(status["current"]["number"], 1, "{status:#}");
    assert!(track["deadline"].is_string(), "it is told until when: {status:#}");
    Some(format!("{holds:?} {failed}"))
}

impl Bad {
    /// The release was held, then aborted, and everybody is told why in these words.
    fn is_explained_by(&self, words: &[&str]) {
        let Self { outcome, held, history } = self;
        assert_eq!(outcome.code, 3, "{outcome:?}");
        for word in words {
            assert!(held.contains(word), "the status tells of {word:?} while it is held: {held}");
            assert!(outcome.text().contains(word), "who waits is told of {word:?}: {outcome:?}");
            assert!(history.contains(word), "the history tells of {word:?}: {history}");
        }
    }
}

fn a_version_that_crashes_is_held_and_aborted(who: Who) {
    let platform = good(who);
    release(&platform, Web::version("2", 3).env("CRASH_AT_START: '42'")).is_explained_by(&["42"]);
}

fn a_version_that_crashes_later_is_held_and_aborted(who: Who) {
    let platform = good(who);
    let bad = Web::version("2", 3).env("CRASH_AFTER_MS: '100'").strategy("min_ready_seconds: 1");
    release(&platform, bad).is_explained_by(&["code 1"]);
}

fn a_version_that_never_gets_ready_is_held_and_aborted(who: Who) {
    let platform = good(who);
    release(&platform, Web::version("2", 3).env("NEVER_READY: '1'")).is_explained_by(&["503"]);
}

fn a_version_without_its_entry_point_is_held_and_aborted(who: Who) {
    let platform = good(who);
    sample::add(&platform, "broken", sample::image("2").with_entrypoint(["/missing"]));
    release(&platform, Web::version("broken", 3)).is_explained_by(&["/missing"]);
}

fn a_version_whose_image_cannot_be_pulled_is_held_and_aborted(who: Who) {
    let platform = good(who);
    // Its manifest is there, so that it can be resolved; one of its layers is not.
    let extra = sample::image("2").with_file("/extra", paas_registry::FileMode::new(0o644), "one more layer");
    let whole = files(&platform);
    sample::add(&platform, "torn", extra);
    let added: Vec<_> = files(&platform).difference(&whole).cloned().collect();
    let layer = added.iter().find(|file| std::fs::read(file).unwrap().starts_with(&[0x1f, 0x8b]));
    std::fs::remove_file(layer.expect("a layer is compressed")).unwrap();
    release(&platform, Web::version("torn", 3)).is_explained_by(&["image"]);
}

fn files(platform: &Platform) -> BTreeSet<std::path::PathBuf> {
    let blobs = platform.folder().join("images/blobs/sha256");
    std::fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Where there are no control groups, as for most ordinary users, nothing runs out of it: see `memory`.
fn a_version_that_runs_out_of_memory_is_held_and_aborted(who: Who) {
    let platform = good(who);
    let bad = Web::version("2", 3).env("ALLOC_MB: '64'").with("resources: {memory: 16Mi}");
    release(&platform, bad).is_explained_by(&["memory", "16Mi"]);
}

fn is_refused(platform: &Platform, image: &str, words: &[&str]) {
    let before = platform.shims();
    let refused = platform.deploy("shop", &Web::new(image, 3).yaml()).ended_with(1);
    refused.complained_of(&["components[0].image"]).complained_of(words);
    assert_eq!(platform.shims(), before);
    let releases = platform.json(["releases", "shop"]);
    assert_eq!(releases.as_array().unwrap().len(), 1, "no release was made: {releases}");
}

fn an_image_that_does_not_exist_is_refused_before_anything_changes(who: Who) {
    let platform = good(who);
    is_refused(&platform, "oci:images:none", &["images:none", "does not exist"]);
    is_refused(&platform, "oci:nowhere:1", &["nowhere", "does not exist"]);
}

fn an_image_for_another_platform_is_refused_before_anything_changes(who: Who) {
    let platform = good(who);
    let foreign =
        paas_registry::Platform { architecture: "s390x".to_owned(), ..paas_registry::Platform::host() };
    let image = paas_registry::ImageBuilder::scratch(foreign).with_entrypoint(["/sample-app"]);
    sample::add(&platform, "foreign", image);
    is_refused(&platform, "oci:images:foreign", &["s390x"]);
}

fn after_an_aborted_release_the_next_one_goes_through(who: Who) {
    let platform = good(who);
    release(&platform, Web::version("2", 3).env("CRASH_AT_START: '42'")).is_explained_by(&["42"]);
    platform.deploy_ok("shop", &Web::version("2", 3).yaml());
    assert_eq!(platform.versions("shop", 12), only("2"));
    // The way back is to what served before, and not to what was aborted.
    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    assert_eq!(platform.versions("shop", 12), only("1"));
}
