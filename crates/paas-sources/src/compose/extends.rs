//! `extends`: a service that begins as another one, of the same file or of another.
//!
//! Source: Compose Specification, "extends" and "Merge and override".

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::node::{joined, scalar};
use super::report::Report;
use super::{Files, parse, variables};

/// How many services may extend each other in a row.
const LONGEST: usize = 20;

/// What is needed to find the services that others extend.
pub(super) struct Bases<'a> {
    pub(super) services: &'a Map<String, Value>,
    pub(super) variables: &'a BTreeMap<String, String>,
    pub(super) files: &'a dyn Files,
}

impl Bases<'_> {
    /// The service with everything that it extends merged in.
    pub(super) fn resolved(&self, name: &str, report: &mut Report) -> Value {
        let service = self.services.get(name).cloned().unwrap_or_default();
        self.merged(service, self.services, &format!("services.{name}"), 0, report)
    }

    fn merged(
        &self,
        mut service: Value,
        siblings: &Map<String, Value>,
        path: &str,
        depth: usize,
        report: &mut Report,
    ) -> Value {
        let Some(extends) = service.as_object_mut().and_then(|fields| fields.remove("extends")) else {
            return service;
        };
        let path = joined(path, "extends");
        if depth >= LONGEST {
            report
                .fault(&path, format!("services extend each other in a circle, or more than {LONGEST} deep"));
            return service;
        }
        let name = scalar(&extends).or_else(|| extends.get("service").and_then(scalar));
        let Some(name) = name else {
            report.fault(&path, "names no service; write the name, or {service: NAME, file: FILE}");
            return service;
        };
        let other = extends.get("file").and_then(scalar).map(|file| self.services_of(&file, &path, report));
        let services = match &other {
            None => siblings,
            Some(Some(services)) => services,
            Some(None) => return service,
        };
        let Some(base) = services.get(&name) else {
            report.fault(&path, format!("there is no service {name}"));
            return service;
        };
        let mut base = self.merged(base.clone(), services, &path, depth + 1, report);
        merge(&mut base, service, "");
        base
    }

    fn services_of(&self, file: &str, path: &str, report: &mut Report) -> Option<Map<String, Value>> {
        let text = report.take(path, self.files.read(file).map_err(|error| format!("{file}: {error}")))?;
        let mut tree = report.take(path, parse(&text).map_err(|error| format!("{file}: {error}")))?;
        variables::interpolate(&mut tree, file, self.variables, report);
        match tree.get_mut("services").map(Value::take) {
            Some(Value::Object(services)) => Some(services),
            _ => {
                report.fault(path, format!("{file} has no services"));
                None
            }
        }
    }
}

/// Keys whose value replaces the base's as a whole.
const REPLACED: [&str; 3] = ["command", "entrypoint", "test"];

/// Lays `over` upon `base`: mappings key by key, lists one after the other, anything else replaced.
fn merge(base: &mut Value, over: Value, key: &str) {
    if REPLACED.contains(&key) {
        *base = over;
        return;
    }
    match (base, over) {
        (base @ (Value::Array(_) | Value::Object(_)), over @ (Value::Array(_) | Value::Object(_))) => {
            if key == "environment" || key == "labels" || base.is_object() != over.is_object() {
                // One of them is in the list form.
                let mut fields = mapping(std::mem::take(base), key);
                for (name, value) in mapping(over, key) {
                    merge(fields.entry(name.clone()).or_insert(Value::Null), value, &name);
                }
                *base = Value::Object(fields);
                return;
            }
            match (base, over) {
                (Value::Object(fields), Value::Object(over)) => {
                    for (name, value) in over {
                        merge(fields.entry(name.clone()).or_insert(Value::Null), value, &name);
                    }
                }
                (Value::Array(items), Value::Array(over)) => {
                    // What names the same place in the instance is replaced.
                    let places: Vec<_> = over.iter().filter_map(|item| place(item, key)).collect();
                    items.retain(|item| place(item, key).is_none_or(|it| !places.contains(&it)));
                    items.extend(over);
                }
                _ => {}
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over,
    }
}

/// The mapping that a list stands for.
fn mapping(value: Value, key: &str) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        Value::Array(items) => items
            .into_iter()
            .filter_map(|item| scalar(&item))
            .map(|item| match item.split_once('=') {
                Some((name, value)) => (name.to_owned(), Value::from(value)),
                None if key == "depends_on" => (item, serde_json::json!({ "condition": "service_started" })),
                None => (item, Value::Null),
            })
            .collect(),
        _ => Map::new(),
    }
}

/// What tells elements of a list apart: the path of a volume, the published port, and so on.
fn place(item: &Value, key: &str) -> Option<String> {
    match (key, item) {
        ("volumes", Value::String(text)) => text.split(':').nth(1).or(Some(text)).map(str::to_owned),
        ("volumes" | "configs" | "secrets", Value::Object(fields)) => fields.get("target").and_then(scalar),
        _ => Some(item.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mappings_merge_lists_join_and_commands_are_replaced() {
        let mut base = json!({
            "command": ["a", "b"],
            "environment": ["A=1", "B=2"],
            "volumes": ["data:/data", "logs:/logs"],
            "healthcheck": { "test": ["CMD", "x"], "retries": 3 },
            "image": "one",
        });
        let over = json!({
            "command": "c",
            "environment": { "B": 3 },
            "volumes": ["other:/data"],
            "healthcheck": { "test": ["CMD", "y"] },
            "image": "two",
        });
        merge(&mut base, over, "");
        let expected = json!({
            "command": "c",
            "environment": { "A": "1", "B": 3 },
            "volumes": ["logs:/logs", "other:/data"],
            "healthcheck": { "test": ["CMD", "y"], "retries": 3 },
            "image": "two",
        });
        assert_eq!(base, expected);
    }
}
