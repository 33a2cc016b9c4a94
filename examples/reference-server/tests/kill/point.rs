//! Points at which the server can be killed: before or after a call that changes something.
//!
//! A point is known by what its call does and how many like it came before, not by its place among all calls: those of
//! different components come in any order.

use std::collections::BTreeMap;
use std::fmt;

use paas_api_proxy::Write as ApiWrite;
use paas_core::memory::Call;
use paas_core::port::{Txn, Write};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Before or after the n-th call of its kind in a story.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Point(String);

impl Point {
    /// Before or after a call, which is the `number`th that looks so.
    pub fn new(when: &str, call: &str, number: usize) -> Self {
        Self(if number == 1 { format!("{when} {call}") } else { format!("{when} {call} ({number})") })
    }
}

impl From<&str> for Point {
    fn from(line: &str) -> Self {
        Self(line.to_owned())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What revisions are called here, instead of by their hashes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Names {
    /// By hash.
    pub known: BTreeMap<String, String>,
    /// The one that the story brings.
    pub new: String,
}

impl Names {
    /// Replaces every hash in a text.
    pub fn put_in(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(begin) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
            let (before, word) = rest.split_at(begin);
            let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
            let (word, after) = word.split_at(end);
            out.push_str(before);
            out.push_str(self.of(word));
            rest = after;
        }
        out + rest
    }

    fn of<'a>(&'a self, word: &'a str) -> &'a str {
        let is_hash =
            word.len() == 12 && word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if is_hash { self.known.get(word).unwrap_or(&self.new) } else { word }
    }
}

/// What a call of a backend does, in words.
pub fn of_backend(call: &Call, names: &Names) -> String {
    let text = names.put_in(&call.to_string().replace("shop/prod/app/", "").replace("shop/prod/app", "app"));
    // Backends come in the order of their hashes, which is another one for each server.
    match text.split_once("[(").and_then(|(before, rest)| Some((before, rest.split_once(")]")?))) {
        Some((before, (shares, after))) => {
            let mut shares: Vec<&str> = shares.split("), (").collect();
            shares.sort_unstable();
            format!("{before}[({})]{after}", shares.join("), ("))
        }
        None => text,
    }
}

/// What a write to a cluster does, in words.
pub fn of_api(write: &ApiWrite, names: &Names) -> String {
    // The name of an environment's space is another one for each installation.
    let name = if write.resource == "namespaces" {
        "of the environment".to_owned()
    } else {
        object(&write.name, names)
    };
    let named = ApiWrite { name, ..write.clone() };
    format!("api {named}")
}

/// The name of an object of the cluster without what is another one in each run: hashes of revisions and identities, and
/// what a controller has added to the names of pods.
pub fn object(name: &str, names: &Names) -> String {
    let name = names.put_in(name);
    let mut words: Vec<&str> = name.split('-').collect();
    let is_hash = |word: &&str| word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(at) = words.iter().position(is_hash) {
        words.truncate(at);
    }
    words.join("-")
}

/// What a transaction does, in words; nothing if it writes nothing or only renews a lease.
pub fn of_transaction(txn: &Txn, names: &Names) -> Option<String> {
    let mut writes: Vec<String> = txn.writes.iter().map(|it| write(it, names)).collect();
    if writes.is_empty() || writes == ["lease"] {
        return None;
    }
    // The order of revisions is that of their hashes, and how many old events go at once depends on time.
    writes.sort();
    writes.dedup();
    Some(format!("store.commit {}", writes.join(", ")))
}

fn write(write: &Write, names: &Names) -> String {
    match write {
        Write::Delete { key } => match key.kind.as_str() {
            "event" => "delete events".to_owned(),
            kind => format!("delete {kind} {}", names.put_in(short(&key.name))),
        },
        Write::Put { key, body, .. } => match key.kind.as_str() {
            "lease" | "audit" | "audit_head" | "request" | "app_env" => key.kind.clone(),
            "event" => format!("event {}", body["kind"].as_str().unwrap_or_default()),
            "release" => {
                format!("release {} {}", body["number"], body["state"]["type"].as_str().unwrap_or_default())
            }
            "track" => format!("track {} {}", key.name, track(&body["state"], names)),
            kind => format!("{kind} {}", names.put_in(short(&key.name))),
        },
        other => panic!("not known how to describe {other:?}"),
    }
}

/// Numbers are padded with zeros in names.
fn short(name: &str) -> &str {
    let digits = name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
    if digits { name.trim_start_matches('0') } else { name }
}

/// Where a track is, and how many instances each revision shall have.
pub fn track(state: &Value, names: &Names) -> String {
    let revisions = state["revisions"].as_object().into_iter().flatten();
    let mut counts: Vec<String> =
        revisions.map(|(revision, it)| format!("{}:{}", names.of(revision), it["desired"])).collect();
    counts.sort();
    std::iter::once(phase(&state["phase"])).chain(counts).collect::<Vec<_>>().join(" ")
}

/// `succeeded`, or `step.0.ready` with what belongs to it.
fn phase(phase: &Value) -> String {
    match phase {
        Value::Object(variant) => {
            let parts = variant.iter().map(|(name, fields)| {
                let fields = fields.as_object().into_iter().flat_map(|fields| fields.values());
                std::iter::once(name.clone()).chain(fields.map(self::phase)).collect::<Vec<_>>().join(".")
            });
            parts.collect()
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
