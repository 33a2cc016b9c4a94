//! Patches: JSON merge patch (RFC 7386) and server-side apply.
//!
//! Server-side apply here owns leaves: values, and lists as a whole. A real server also merges some lists by key.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::State;
use super::answer::Refused;
use super::objects::Key;
use super::request::Request;

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// The path of a leaf.
type Path = Vec<String>;

impl State {
    /// Patches an object, or its status.
    pub(super) fn patch(&mut self, request: &Request, key: &Key) -> Result<Value, Refused> {
        let patch: Value = serde_json::from_slice(&request.body)
            .map_err(|error| Refused::bad_request(format!("the patch is not JSON: {error}")))?;
        let manager = request.parameter("fieldManager").unwrap_or("unknown").to_owned();
        let is_status = request.subresource.as_deref() == Some("status");
        match request.content_type.as_str() {
            MERGE | STRATEGIC => {
                let Some(mut object) = self.objects.get(key).cloned() else {
                    return Err(Refused::missing(key));
                };
                precondition(key, &object, &patch["metadata"])?;
                let mut patch = patch;
                if let Some(meta) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
                    meta.remove("resourceVersion");
                }
                if is_status {
                    merge(&mut object["status"], &patch["status"]);
                } else {
                    if let Some(patch) = patch.as_object_mut() {
                        patch.remove("status");
                    }
                    merge(&mut object, &patch);
                }
                self.replace(key, object)
            }
            APPLY => self.apply(key, patch, &manager, request.asks("force")),
            other => Err(Refused::new(415, "UnsupportedMediaType", format!("{other} is not understood"))),
        }
    }

    fn apply(&mut self, key: &Key, mut wanted: Value, manager: &str, force: bool) -> Result<Value, Refused> {
        let existing = self.objects.get(key).cloned();
        if let Some(existing) = &existing {
            precondition(key, existing, &wanted["metadata"])?;
        } else if wanted["metadata"]["uid"].is_string() {
            return Err(Refused::conflict(key, "uid mismatch: no existing object was found"));
        }
        for field in ["resourceVersion", "uid", "managedFields", "creationTimestamp", "generation"] {
            if let Some(meta) = wanted["metadata"].as_object_mut() {
                meta.remove(field);
            }
        }
        if let Some(map) = wanted.as_object_mut() {
            map.remove("status");
        }
        let mut ours = BTreeMap::new();
        leaves(&wanted, &mut Vec::new(), &mut ours);
        ours.retain(|path, _| !is_identity(path));
        let mut owners = existing.as_ref().map(owners_of).unwrap_or_default();
        let mut object = existing.clone().unwrap_or_else(|| json!({ "metadata": {} }));

        let mut contested = Vec::new();
        for (path, value) in &ours {
            for (other, paths) in &mut owners {
                if other == manager || !paths.contains(path) || find(&object, path) == Some(value) {
                    continue;
                }
                if force {
                    paths.remove(path);
                } else {
                    contested.push(format!("conflict with {other:?}: .{}", path.join(".")));
                }
            }
        }
        if !contested.is_empty() {
            let message =
                format!("Apply failed with {} conflicts: {}", contested.len(), contested.join(", "));
            return Err(Refused::new(409, "Conflict", message));
        }
        let before = owners.remove(manager).unwrap_or_default();
        for path in before.iter().filter(|path| !ours.contains_key(*path)) {
            if !owners.values().any(|paths| paths.contains(path)) {
                remove(&mut object, path);
            }
        }
        for (path, value) in &ours {
            put(&mut object, path, value.clone());
        }
        owners.insert(manager.to_owned(), ours.into_keys().collect());
        owners.retain(|_, paths| !paths.is_empty());
        object["metadata"]["managedFields"] = managed(&owners);
        if existing.is_some() {
            self.replace(key, object)
        } else {
            self.admit(key, &object)?;
            Ok(self.put_new(key.kind, key.namespace.as_deref(), &key.name, object))
        }
    }
}

/// The version and identity that a change expects.
pub(super) fn precondition(key: &Key, object: &Value, expected: &Value) -> Result<(), Refused> {
    for (field, what) in [("resourceVersion", "the object has been modified"), ("uid", "the uid differs")] {
        let wanted = &expected[field];
        if wanted.as_str().is_some_and(|text| !text.is_empty()) && *wanted != object["metadata"][field] {
            return Err(Refused::conflict(key, what));
        }
    }
    Ok(())
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn leaves(value: &Value, path: &mut Path, out: &mut BTreeMap<Path, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, out);
                path.pop();
            }
        }
        Value::Null => {}
        leaf => drop(out.insert(path.clone(), leaf.clone())),
    }
}

/// What names an object is nobody's.
fn is_identity(path: &Path) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(path.as_slice(), ["apiVersion" | "kind"] | ["metadata", "name" | "namespace"])
}

fn find<'a>(object: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(object, |object, field| object.get(field))
}

fn put(object: &mut Value, path: &[String], value: Value) {
    match path {
        [] => *object = value,
        [first, rest @ ..] => {
            if !object.is_object() {
                *object = Value::Object(Map::new());
            }
            put(&mut object[first.as_str()], rest, value);
        }
    }
}

fn remove(object: &mut Value, path: &[String]) {
    match path {
        [] => {}
        [last] => {
            if let Some(map) = object.as_object_mut() {
                map.remove(last);
            }
        }
        [first, rest @ ..] => {
            let Some(inner) = object.get_mut(first) else { return };
            remove(inner, rest);
            if inner.as_object().is_some_and(Map::is_empty) {
                remove(object, std::slice::from_ref(first));
            }
        }
    }
}

/// The owners are kept where a real server keeps them, in a form of our own: paths joined by a character that no key has.
fn managed(owners: &BTreeMap<String, BTreeSet<Path>>) -> Value {
    let entry = |(manager, paths): (&String, &BTreeSet<Path>)| {
        let paths: Map<String, Value> = paths.iter().map(|path| (path.join("\u{1f}"), json!({}))).collect();
        json!({ "manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": paths })
    };
    Value::Array(owners.iter().map(entry).collect())
}

fn owners_of(object: &Value) -> BTreeMap<String, BTreeSet<Path>> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let owner = |entry: &Value| {
        let paths = entry["fieldsV1"].as_object()?.keys();
        let paths = paths.map(|path| path.split('\u{1f}').map(str::to_owned).collect()).collect();
        Some((entry["manager"].as_str()?.to_owned(), paths))
    };
    entries.filter_map(owner).collect()
}
