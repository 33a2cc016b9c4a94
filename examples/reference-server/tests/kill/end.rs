//! What there is at the end of a story, from every side, without times and identities.

use std::collections::{BTreeMap, BTreeSet};

use paas_core::port::Document;
use serde_json::Value;

use crate::point::{self, Names};
use crate::world::Seen;

/// The kinds of documents that are compared; all but those of the lease.
pub const KINDS: [&str; 19] = [
    "org",
    "env",
    "app",
    "grant",
    "token",
    "app_env",
    "scale",
    "routes",
    "config",
    "secret",
    "release",
    "template",
    "rollout",
    "track",
    "run",
    "event",
    "audit",
    "audit_head",
    "request",
];

/// What there is at the end of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The state of the application, in a word, with its reasons.
    pub state: String,
    /// Every instance, with its version, its state, and how often it was started again.
    pub instances: Vec<String>,
    /// The releases.
    pub releases: Vec<String>,
    /// The tracks.
    pub tracks: Vec<String>,
    /// How many documents there are of each kind.
    pub documents: BTreeMap<String, usize>,
    /// What happened, as users are told.
    pub events: Vec<String>,
    /// What visitors see.
    pub answers: BTreeSet<String>,
    /// What was made, and what there is.
    pub seen: Seen,
}

impl End {
    /// What documents and status tell.
    pub fn of(documents: &[Document], status: &Value, names: &Names) -> Self {
        let of_kind = |kind: &'static str| documents.iter().filter(move |document| document.key.kind == kind);
        let mut counts = BTreeMap::new();
        for document in documents {
            *counts.entry(document.key.kind.clone()).or_default() += 1;
        }
        let releases = of_kind("release").map(|it| {
            format!(
                "{} {} {}",
                it.body["number"],
                it.body["state"]["type"],
                it.body["version"]["spec"]["components"][0]["image"]
            )
        });
        let tracks =
            of_kind("track").map(|it| format!("{} {}", it.key.name, point::track(&it.body["state"], names)));
        let mut events: Vec<String> = of_kind("event")
            .map(|it| names.put_in(&format!("{}: {}", it.body["kind"], it.body["message"])))
            .collect();
        events.sort();
        Self {
            state: format!("{} {}", status["state"], status["reasons"]),
            instances: instances(status, names),
            releases: releases.collect(),
            tracks: tracks.collect(),
            documents: counts,
            events,
            answers: BTreeSet::new(),
            seen: Seen::default(),
        }
    }

    /// Whether everything is where it goes to: what drains on a real cluster is silent for seconds before it is gone.
    pub fn is_at_rest(&self) -> bool {
        let drains = self.instances.iter().any(|it| it.contains("\"draining\""));
        !drains && !self.tracks.iter().any(|it| it.contains(" draining "))
    }

    /// The lines of a description that differ, of this one and another.
    pub fn difference(&self, other: &Self) -> String {
        let (this, other) = (format!("{self:#?}"), format!("{other:#?}"));
        let mut lines = Vec::new();
        let only = |sign: char, of: &str, than: &str, lines: &mut Vec<String>| {
            let mut rest: Vec<&str> = than.lines().collect();
            for line in of.lines() {
                match rest.iter().position(|other| *other == line) {
                    Some(at) => drop(rest.remove(at)),
                    None => lines.push(format!("{sign} {line}")),
                }
            }
        };
        only('+', &this, &other, &mut lines);
        only('-', &other, &this, &mut lines);
        lines.join("\n")
    }
}

fn instances(status: &Value, names: &Names) -> Vec<String> {
    let mut all = Vec::new();
    for component in status["components"].as_array().unwrap() {
        for instance in component["tracks"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|track| track["instances"].as_array().unwrap())
        {
            let revision = names.put_in(instance["revision"].as_str().unwrap());
            let failure = &instance["failure"]["reason"];
            let (name, phase, restarts) = (&component["name"], &instance["phase"], &instance["restarts"]);
            all.push(format!("{name} {revision} {phase} {failure} started again {restarts} times"));
        }
    }
    all.sort();
    all
}

/// What revisions are called, from the templates that are stored: each is of the image of one version.
pub fn names(documents: &[Document]) -> BTreeMap<String, String> {
    let templates = documents.iter().filter(|document| document.key.kind == "template");
    templates
        .filter_map(|template| {
            let version = template.body["template"]["image"].as_str()?.rsplit(':').next()?;
            Some((template.body["revision"].as_str()?.to_owned(), format!("v{version}")))
        })
        .collect()
}
