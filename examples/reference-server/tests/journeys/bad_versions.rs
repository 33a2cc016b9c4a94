//! A version that does not work is held, explained and taken back; the old one never loses an instance.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::life::web;
use crate::platform::{Outcome, Platform};
use crate::sample;

/// Releases a bad version over three instances of a good one, and checks that the good one stays whole.
fn release_bad(image: &str, change: impl Fn(String) -> String) -> (Outcome, String) {
    let platform = Platform::start();
    sample::layout(&platform.folder().join("images"), &["1", "2"]);
    let broken = sample::image("2").with_entrypoint(["/missing"]).build().unwrap();
    broken.write_layout(platform.folder().join("images"), &["broken".parse().unwrap()]).unwrap();
    platform.deploy_ok("shop", &web("oci:images:1", 3));
    let before: BTreeSet<u32> = platform.processes("__shim").into_iter().collect();
    assert_eq!(before.len(), 3);

    let bad = change(web(image, 3)) + "strategy: {type: rolling, progress_deadline_seconds: 3}\n";
    let (over, failed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let well = platform.try_get("shop", "/").is_ok_and(|answer| answer.version == "1");
                failed.fetch_add(usize::from(!well), Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let outcome = platform.deploy("shop", &bad);
        over.store(true, Ordering::Relaxed);
        outcome
    });
    assert_eq!(
        failed.load(Ordering::Relaxed),
        0,
        "every request was answered by the old version: {outcome:?}"
    );
    let after: BTreeSet<u32> = platform.processes("__shim").into_iter().collect();
    assert!(after.is_superset(&before), "the old instances are the same ones: {before:?}, now {after:?}");
    assert_eq!(platform.versions("shop", 12), BTreeSet::from(["1".to_owned()]));
    let history = platform.ok(["releases", "shop", "-o", "json"]);
    (outcome, history)
}

/// The release ends as aborted, and both its watcher and the history are told why.
fn is_aborted_because((outcome, history): &(Outcome, String), words: &[&str]) {
    assert_eq!(outcome.code, 3, "{outcome:?}");
    for word in words {
        assert!(outcome.text().contains(word), "the watcher is told of {word:?}: {outcome:?}");
        assert!(history.contains(word), "the history tells of {word:?}: {history}");
    }
}

#[test]
fn a_version_that_crashes_is_aborted_with_its_exit_code() {
    let released = release_bad("oci:images:2", |spec| {
        spec.replace("  instances", "  env: {CRASH_AT_START: 42}\n  instances")
    });
    is_aborted_because(&released, &["42"]);
}

#[test]
fn a_version_that_never_gets_ready_is_aborted_with_the_probes_answer() {
    let released = release_bad("oci:images:2", |spec| {
        spec.replace("  instances", "  env: {NEVER_READY: 1}\n  instances")
    });
    is_aborted_because(&released, &["ready"]);
}

#[test]
fn a_version_without_its_entry_point_is_aborted_and_names_it() {
    let released = release_bad("oci:images:broken", |spec| spec);
    is_aborted_because(&released, &["/missing"]);
}

#[test]
fn a_version_that_runs_out_of_memory_is_aborted_and_says_so() {
    let host = std::fs::metadata("/sys/fs/cgroup/memory").is_ok()
        || std::fs::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok();
    assert!(host, "this test needs a memory cgroup");
    if !rustix::process::geteuid().is_root() {
        // An ordinary user has no memory limits here; the server says so at its start.
        return;
    }
    let released = release_bad("oci:images:2", |spec| {
        spec.replace("  instances", "  env: {ALLOC_MB: 64}\n  resources: {memory: 16Mi}\n  instances")
    });
    is_aborted_because(&released, &["memory"]);
}

#[test]
fn an_image_that_does_not_exist_is_refused_before_anything_changes() {
    let (outcome, history) = release_bad("oci:images:none", |spec| spec);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("none"), "the image is named: {outcome:?}");
    assert!(!history.contains("oci:images:none"), "no release was made: {history}");
}
