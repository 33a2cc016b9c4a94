//! The state of a mirror, and whether it may be believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::{Resource, ResourceExt as _};
use tokio::time::Instant;

use super::{Labels, Mirrored};

/// A kind may be silent for so many times as long as a list of it takes, so that lists take little of the time.
const LISTS: u32 = 50;
const LEAST_SILENCE: Duration = Duration::from_secs(2);
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// Whether a view may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// As good as a list.
    Current,
    /// This process has written something that the watch has not brought yet.
    Behind,
    /// It is not known whether there is no news or a watch that hangs, or what came of a write.
    Silent,
    /// There is no watch.
    Unfollowed,
}

#[derive(Debug)]
pub(super) struct View<K> {
    /// By namespace and name.
    objects: BTreeMap<(String, String), Arc<K>>,
    /// Everything up to this version is in it; unknown before the first list, and if versions are no numbers.
    version: Option<u64>,
    is_connected: bool,
    heard: Instant,
    silence: Duration,
    own: Own,
}

/// What this process has written.
#[derive(Debug, Default)]
struct Own {
    /// The newest version that a write was answered with.
    version: u64,
    /// The uids of what was deleted.
    going: BTreeSet<String>,
    /// How many writes had an unknown end.
    unsure: u64,
    /// How many of those a list has shown.
    shown: u64,
}

impl<K> Default for View<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            version: None,
            is_connected: false,
            heard: Instant::now(),
            silence: LEAST_SILENCE,
            own: Own::default(),
        }
    }
}

impl<K> View<K> {
    pub(super) fn standing(&self) -> Standing {
        let Some(version) = self.version.filter(|_| self.is_connected) else { return Standing::Unfollowed };
        if self.heard.elapsed() > self.silence || self.own.unsure > self.own.shown {
            Standing::Silent
        } else if version < self.own.version || !self.own.going.is_empty() {
            Standing::Behind
        } else {
            Standing::Current
        }
    }

    pub(super) fn connected(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
    }

    /// How many writes had an unknown end until now.
    pub(super) fn unsure(&self) -> u64 {
        self.own.unsure
    }

    /// A write was answered with a version.
    pub(super) fn wrote(&mut self, version: u64) {
        self.own.version = self.own.version.max(version);
    }

    /// Nobody knows what came of a write.
    pub(super) fn wrote_perhaps(&mut self) {
        self.own.unsure += 1;
    }

    pub(super) fn heard(&mut self, version: &str) {
        self.heard = Instant::now();
        self.advance(version);
    }

    /// Notes a version; false if it was known already.
    fn advance(&mut self, version: &str) -> bool {
        let Ok(version) = version.parse() else {
            self.version = None;
            return true;
        };
        let is_new = self.version.is_none_or(|known| known < version);
        if is_new {
            self.version = Some(version);
        }
        is_new
    }

    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.objects.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }
}

impl<K: Mirrored> View<K> {
    pub(super) fn put(&mut self, object: &Arc<K>) {
        self.heard = Instant::now();
        // A list may have brought it before.
        if self.advance(&object.resource_version().unwrap_or_default()) {
            if object.meta().deletion_timestamp.is_some() {
                self.own.going.remove(&uid(&**object));
            }
            self.objects.insert(place(&**object), Arc::clone(object));
        }
    }

    pub(super) fn take(&mut self, object: &K) {
        self.heard = Instant::now();
        if self.advance(&object.resource_version().unwrap_or_default()) {
            self.objects.remove(&place(object));
        }
        self.own.going.remove(&uid(object));
    }

    /// Something was deleted.
    pub(super) fn deleted(&mut self, gone: String) {
        let standing = |object: &Arc<K>| object.meta().deletion_timestamp.is_none();
        let is_here = self.objects.values().any(|object| uid(&**object) == gone && standing(object));
        // The watch may have been faster than the answer.
        if is_here || self.version.is_none_or(|version| version < self.own.version) {
            self.own.going.insert(gone);
        }
    }

    /// Takes in a list that took so long, and that was begun after so many writes of unknown end. Answers what differs.
    pub(super) fn replace(
        &mut self,
        objects: Vec<Arc<K>>,
        version: &str,
        took: Duration,
        unsure: u64,
    ) -> Vec<Arc<K>> {
        self.heard = Instant::now();
        self.silence = (took * LISTS).clamp(LEAST_SILENCE, LONGEST_SILENCE);
        self.own.shown = self.own.shown.max(unsure);
        // The watch may have gone on meanwhile; then it knows better.
        if self.version.is_some_and(|known| version.parse::<u64>().is_ok_and(|listed| listed < known)) {
            return Vec::new();
        }
        self.version = version.parse().ok();
        let listed: BTreeMap<_, _> = objects.into_iter().map(|object| (place(&*object), object)).collect();
        let before = std::mem::replace(&mut self.objects, listed);
        let same = |one: &Arc<K>, other: &Arc<K>| {
            one.resource_version() == other.resource_version() && uid(&**one) == uid(&**other)
        };
        let new = |(at, object): &(&_, &Arc<K>)| before.get(*at).is_none_or(|old| !same(old, object));
        let mut changed: Vec<Arc<K>> =
            self.objects.iter().filter(new).map(|(_, object)| Arc::clone(object)).collect();
        changed.extend(before.into_iter().filter(|(at, _)| !self.objects.contains_key(at)).map(|(_, it)| it));
        let stand: BTreeSet<String> = self
            .objects
            .values()
            .filter(|it| it.meta().deletion_timestamp.is_none())
            .map(|it| uid(&**it))
            .collect();
        self.own.going.retain(|uid| stand.contains(uid));
        changed
    }

    pub(super) fn of(&self, namespace: &str, labels: &Labels) -> Vec<Arc<K>> {
        let first = (namespace.to_owned(), String::new());
        let inside = self.objects.range(first..).take_while(|((of, _), _)| of == namespace);
        inside.map(|(_, object)| object).filter(|object| fits(&***object, labels)).cloned().collect()
    }

    pub(super) fn everywhere(&self, labels: &Labels) -> Vec<Arc<K>> {
        self.objects.values().filter(|object| fits(&***object, labels)).cloned().collect()
    }
}

fn fits<K: Resource>(object: &K, labels: &Labels) -> bool {
    let have = object.labels();
    labels.iter().all(|(key, value)| have.get(key) == Some(value))
}

fn place<K: Resource>(object: &K) -> (String, String) {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn uid<K: Resource>(object: &K) -> String {
    object.meta().uid.clone().unwrap_or_default()
}
