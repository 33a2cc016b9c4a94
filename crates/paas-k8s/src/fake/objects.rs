//! What is stored, and the record of its changes.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use super::State;
use super::answer::Refused;
use super::kinds::{self, Kind};

/// How many changes are kept for watches that begin at an older version.
const KEPT: usize = 20_000;

/// The identity of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: &'static Kind,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(kind: &'static Kind, namespace: Option<&str>, name: &str) -> Self {
        Self { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() }
    }
}

/// A change.
#[derive(Debug, Clone)]
pub(super) struct Changed {
    pub(super) version: u64,
    pub(super) what: &'static str,
    pub(super) key: Key,
    pub(super) object: Value,
    /// The object before, for selectors that it left.
    pub(super) before: Option<Value>,
}

#[derive(Debug, Default)]
pub(super) struct Objects {
    objects: BTreeMap<Key, Value>,
    record: VecDeque<Changed>,
    version: u64,
    /// Watches from before this version must list again.
    floor: u64,
    uids: u64,
}

impl Objects {
    pub(super) fn newest(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(super) fn of<'a>(&'a self, kind: &'static Kind) -> impl Iterator<Item = (&'a Key, &'a Value)> + 'a {
        let first = Key { kind, namespace: None, name: String::new() };
        self.objects.range(first..).take_while(move |(key, _)| key.kind == kind)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter()
    }

    /// The changes after a version, or nothing if they are no longer kept.
    pub(super) fn after(&self, version: u64) -> Option<impl Iterator<Item = &Changed>> {
        if version < self.floor {
            return None;
        }
        let from = self.record.partition_point(|change| change.version <= version);
        Some(self.record.range(from..))
    }

    /// Forgets every change so far.
    pub(super) fn compact(&mut self) {
        self.floor = self.version;
        self.record.clear();
    }

    /// Stores an object under the next version.
    pub(super) fn store(&mut self, key: Key, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let before = self.objects.insert(key.clone(), object.clone());
        let what = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.note(Changed { version: self.version, what, key, object: object.clone(), before });
        object
    }

    /// Takes an object away.
    pub(super) fn take(&mut self, key: &Key) -> Option<Value> {
        let mut object = self.objects.remove(key)?;
        self.version += 1;
        let before = Some(object.clone());
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.note(Changed {
            version: self.version,
            what: "DELETED",
            key: key.clone(),
            object: object.clone(),
            before,
        });
        Some(object)
    }

    fn note(&mut self, change: Changed) {
        self.record.push_back(change);
        if self.record.len() > KEPT
            && let Some(lost) = self.record.pop_front()
        {
            self.floor = lost.version;
        }
    }

    pub(super) fn next_uid(&mut self) -> String {
        self.uids += 1;
        format!("00000000-0000-4000-8000-{:012}", self.uids)
    }
}

impl State {
    /// Makes an object as the server does: with a uid, a time, a generation and defaults.
    pub(super) fn put_new(
        &mut self,
        kind: &'static Kind,
        namespace: Option<&str>,
        name: &str,
        mut object: Value,
    ) -> Value {
        let uid = self.objects.next_uid();
        let time = self.time();
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        let meta = &mut object["metadata"];
        meta["name"] = json!(name);
        if let Some(namespace) = namespace {
            meta["namespace"] = json!(namespace);
        }
        meta["uid"] = json!(uid);
        meta["creationTimestamp"] = time;
        if !object["spec"].is_null() {
            object["metadata"]["generation"] = json!(1);
        }
        Self::defaults(kind, &mut object, &uid);
        self.objects.store(Key::new(kind, namespace, name), object)
    }

    /// The defaults that this crate reads.
    fn defaults(kind: &'static Kind, object: &mut Value, uid: &str) {
        if kind == kinds::SERVICE && object["spec"]["clusterIP"].is_null() {
            let number: u64 =
                uid.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or_default();
            object["spec"]["clusterIP"] =
                json!(format!("10.96.{}.{}", (number / 250) % 250, number % 250 + 1));
        }
        if kind == kinds::NAMESPACE {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["status"]["phase"] = json!("Active");
        }
        if kind == kinds::DEPLOYMENT && object["spec"]["replicas"].is_null() {
            object["spec"]["replicas"] = json!(1);
        }
    }

    /// Replaces an object: the server's own fields stay, a changed spec is a new generation, equal content is no change.
    pub(super) fn replace(&mut self, key: &Key, mut object: Value) -> Result<Value, Refused> {
        let Some(before) = self.objects.get(key).cloned() else { return Err(Refused::missing(key)) };
        for field in ["uid", "creationTimestamp", "generation", "name", "namespace", "deletionTimestamp"] {
            set(&mut object["metadata"], field, before["metadata"][field].clone());
        }
        object["apiVersion"] = before["apiVersion"].clone();
        object["kind"] = before["kind"].clone();
        if key.kind == kinds::SERVICE && object["spec"]["clusterIP"].is_null() {
            object["spec"]["clusterIP"] = before["spec"]["clusterIP"].clone();
        }
        if before["immutable"] == json!(true) && object["data"] != before["data"] {
            return Err(Refused::invalid(key, "data: Forbidden: field is immutable when `immutable` is set"));
        }
        if object["spec"] != before["spec"] {
            let generation = before["metadata"]["generation"].as_u64().unwrap_or(1) + 1;
            object["metadata"]["generation"] = json!(generation);
        }
        object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        if object == before {
            return Ok(before);
        }
        let gone = !object["metadata"]["deletionTimestamp"].is_null()
            && object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
            && key.kind != kinds::POD;
        let stored = self.objects.store(key.clone(), object);
        if gone {
            self.objects.take(key);
        }
        Ok(stored)
    }

    /// Begins the deletion of an object: at once, or after its finalizers or, for a pod, its grace.
    pub(super) fn delete(&mut self, key: &Key, grace: Option<u64>) -> Result<Value, Refused> {
        let Some(mut object) = self.objects.get(key).cloned() else { return Err(Refused::missing(key)) };
        if key.kind == kinds::POD && grace != Some(0) {
            return Ok(self.end_pod(key, grace));
        }
        if object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
            if object["metadata"]["deletionTimestamp"].is_null() {
                object["metadata"]["deletionTimestamp"] = self.time();
                object = self.objects.store(key.clone(), object);
            }
            return Ok(object);
        }
        if key.kind == kinds::NAMESPACE {
            let inside: Vec<Key> = self.objects.all().map(|(key, _)| key.clone()).collect();
            for other in inside.iter().filter(|other| other.namespace.as_deref() == Some(&key.name)) {
                self.forget_pod(other);
                self.objects.take(other);
            }
        }
        self.forget_pod(key);
        Ok(self.objects.take(key).unwrap_or(object))
    }
}

fn set(map: &mut Value, field: &str, value: Value) {
    if value.is_null() {
        if let Some(map) = map.as_object_mut() {
            map.remove(field);
        }
    } else {
        map[field] = value;
    }
}
