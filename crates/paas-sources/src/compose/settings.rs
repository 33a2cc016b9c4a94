//! Environment variables of a service, from `env_file` and `environment`.

use std::collections::BTreeMap;

use paas_core::model::EnvVar;

use super::node::{Node, scalar};
use super::report::Report;
use super::{Files, variables};

/// Words in the names of variables that should be secrets.
const SECRET: [&str; 6] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "PRIVATE_KEY"];

/// The variables of a service: those of files first, then its own.
pub(super) fn read(
    service: &Node<'_>,
    known: &BTreeMap<String, String>,
    files: &dyn Files,
    report: &mut Report,
) -> BTreeMap<String, EnvVar> {
    let mut all: BTreeMap<String, Option<String>> = BTreeMap::new();
    for node in service.each_or_one("env_file", report) {
        all.extend(file(&node, known, files, report));
    }
    if let Some(node) = service.field("environment") {
        all.extend(node.pairs(report));
    }
    let mut env = BTreeMap::new();
    for (name, value) in all {
        let path = format!("{}.environment.{name}", service.path);
        // A variable without a value is that of whoever deploys.
        let Some(value) = value.or_else(|| known.get(&name).cloned()) else {
            report.note(&path, "has no value here, and is left out");
            continue;
        };
        let upper = name.to_ascii_uppercase();
        if !value.is_empty() && !upper.ends_with("_FILE") && SECRET.iter().any(|word| upper.contains(word)) {
            report.note(&path, "looks like a secret, and is kept in plain text: `secrets` would seal it");
        }
        env.insert(name, EnvVar::Value(value));
    }
    env
}

fn file(
    node: &Node<'_>,
    known: &BTreeMap<String, String>,
    files: &dyn Files,
    report: &mut Report,
) -> BTreeMap<String, Option<String>> {
    if scalar(node.value).is_none() {
        node.only(&["path", "required", "format"], report);
    }
    let Some(path) = scalar(node.value).or_else(|| node.field("path").and_then(|it| it.text(report))) else {
        report.fault(&node.path, "has no path; name a file");
        return BTreeMap::new();
    };
    let required = node.field("required").and_then(|it| it.truth(report)).unwrap_or(true);
    let raw = node.field("format").and_then(|it| it.text(report)).is_some_and(|format| format == "raw");
    let text = match files.read(&path) {
        Ok(text) => text,
        Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            report.fault(&node.path, format!("{path} cannot be read: {error}"));
            return BTreeMap::new();
        }
    };
    let read = variables::read_lines(&text, raw, known, report).map_err(|error| format!("{path}: {error}"));
    report.take(&node.path, read).unwrap_or_default()
}
