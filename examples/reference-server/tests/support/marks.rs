//! What each instance of a stateful component has on its volume.

use std::collections::BTreeMap;

use crate::application::only;
use crate::platform::{Platform, eventually};
use crate::specification::Web;

/// The web component of an application, with instances that have a volume each.
pub fn stateful(image: &str, count: u32) -> String {
    let web = Web::new(image, count).with("kind: stateful").with("volumes: [{name: data, path: /data}]");
    web.with("termination: {drain_seconds: 1}").yaml()
}

/// Releases `first`, then `second`, then scales to one instance and back: what each ordinal was left with comes back with it, the words
/// `first` and `second` in the end.
pub fn survive_a_release_and_scaling(platform: &Platform, first: &str, second: &str) {
    platform.deploy_ok("shop", first);
    leave(platform, 3, "first");
    platform.deploy_ok("shop", second);
    are_kept(platform, 3, &["first"]);
    assert_eq!(platform.versions("shop", 9), only("2"));
    leave(platform, 3, "second");
    for count in [1, 3] {
        platform.ok(["scale", "shop", &format!("web={count}"), "--wait"]);
        are_kept(platform, count, &["first", "second"]);
    }
}

/// The ready instances by their ordinals, as soon as just so many are there.
pub fn instances(platform: &Platform, count: usize) -> BTreeMap<u64, String> {
    eventually(&format!("the ordinals below {count}"), || {
        let status = platform.json(["status", "shop"]);
        let all = status["components"][0]["tracks"][0]["instances"].as_array()?.clone();
        let ready = all.iter().filter(|instance| instance["phase"] == "ready");
        let found: BTreeMap<u64, String> =
            ready.filter_map(|it| Some((it["ordinal"].as_u64()?, it["id"].as_str()?.to_owned()))).collect();
        let is_whole = all.len() == count && found.keys().copied().eq(0..count as u64);
        is_whole.then_some(found)
    })
}

fn inside(platform: &Platform, instance: &str, words: &[&str]) -> String {
    let mut command = vec!["exec", "shop", "web", "--instance", instance, "--", "/sample-app"];
    command.extend(words);
    platform.ok(command)
}

/// Leaves the word with every ordinal that is there.
fn leave(platform: &Platform, count: usize, word: &str) {
    for (ordinal, instance) in instances(platform, count) {
        inside(platform, &instance, &["append", "/data/marks", &format!("{word}-{ordinal}")]);
    }
}

/// Every ordinal has its own name, and on its volume just what was left with it.
pub fn are_kept(platform: &Platform, count: usize, words: &[&str]) {
    for (ordinal, instance) in instances(platform, count) {
        let expected: Vec<String> = words.iter().map(|word| format!("{word}-{ordinal}")).collect();
        let found = inside(platform, &instance, &["cat", "/data/marks"]);
        assert_eq!(found.lines().collect::<Vec<_>>(), expected, "ordinal {ordinal}");
        let name = inside(platform, &instance, &["cat", "/etc/hostname"]);
        assert!(name.trim().ends_with(&format!("-{ordinal}")), "{name}");
    }
}
