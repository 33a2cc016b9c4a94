//! What each instance of a stateful component has on its volume.

use std::collections::BTreeMap;

use crate::platform::{Platform, eventually};
use crate::specification::Web;

/// The web component of an application, with instances that have a volume each.
pub fn stateful(image: &str, count: u32) -> String {
    let web = Web::new(image, count).with("kind: stateful").with("volumes: [{name: data, path: /data}]");
    web.with("termination: {drain_seconds: 1}").yaml()
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
pub fn leave(platform: &Platform, count: usize, word: &str) {
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
