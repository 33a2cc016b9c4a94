//! The documents that reconcilers read, kept up to date by the store's feed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::context::Key;
use crate::engine::{
    AppEnvRecord, Collections, ForgottenRecord, Record, RolloutRecord, RoutesRecord, RunRecord,
    ScheduleRecord, Stored, TombstoneRecord, TrackRecord,
};
use crate::error::Result;
use crate::model::{Environment, Target};
use crate::name::{AppEnv, ClusterName, ComponentName, EnvRef, TrackKey};
use crate::port::{Change, ChangeStream, Document, DocumentKey, InstanceId, ListOptions, Revision, Store};

/// The documents of one application in an environment.
#[derive(Debug, Clone, Default)]
pub(super) struct AppDocuments {
    pub(super) place: Option<Arc<Stored<AppEnvRecord>>>,
    pub(super) rollout: Option<Arc<Stored<RolloutRecord>>>,
    pub(super) routes: Option<Arc<Stored<RoutesRecord>>>,
    pub(super) tracks: BTreeMap<TrackKey, Arc<Stored<TrackRecord>>>,
    pub(super) runs: BTreeMap<InstanceId, Arc<Stored<RunRecord>>>,
    pub(super) schedules: BTreeMap<ComponentName, Arc<Stored<ScheduleRecord>>>,
}

impl AppDocuments {
    /// Whether the application is being deleted.
    pub(super) fn is_deleting(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.value.deleting.is_some())
    }
}

#[derive(Debug, Default)]
struct Documents {
    envs: HashMap<EnvRef, Arc<Stored<Environment>>>,
    apps: BTreeMap<AppEnv, AppDocuments>,
    tombstones: BTreeMap<(AppEnv, ClusterName), Arc<Stored<TombstoneRecord>>>,
    forgotten: BTreeMap<ClusterName, Arc<Stored<ForgottenRecord>>>,
    /// How far the feed has come.
    followed: Revision,
    /// What this process has removed and the feed does not know of yet: it still brings what was there before.
    removed: HashMap<DocumentKey, Revision>,
}

/// The documents that reconcilers read.
#[derive(Debug, Default)]
pub(super) struct Cache(RwLock<Documents>);

const KINDS: [&str; 9] = [
    TombstoneRecord::KIND,
    ForgottenRecord::KIND,
    Environment::KIND,
    AppEnvRecord::KIND,
    RolloutRecord::KIND,
    RoutesRecord::KIND,
    TrackRecord::KIND,
    RunRecord::KIND,
    ScheduleRecord::KIND,
];

impl Cache {
    /// Lists what there is, and follows the feed from there.
    pub(super) async fn load(store: &Arc<dyn Store>) -> Result<(Self, ChangeStream)> {
        // The feed first: what changes while the lists are read comes again, and is recognised by its revision.
        let from = store.revision().await?;
        let feed = store.watch(from).await?;
        let cache = Self::default();
        for kind in KINDS {
            let mut options = ListOptions { kind: kind.to_owned(), ..ListOptions::default() };
            loop {
                let page = store.list(&options).await?;
                for document in page.documents {
                    cache.put(document);
                }
                match page.next {
                    Some(next) => options.after = Some(next),
                    None => break,
                }
            }
        }
        Ok((cache, feed))
    }

    /// Takes a change in that the feed brought; returns whom it concerns, or nobody if it was known.
    pub(super) fn follow(&self, change: Change) -> Vec<Key> {
        {
            let mut all = self.write();
            all.followed = change.revision;
            all.removed.retain(|_, removed| *removed > change.revision);
        }
        self.take(change)
    }

    /// Takes a change in that this process committed, or a document that it read, before the feed brings it; returns whom
    /// it concerns, or nobody if it was known.
    pub(super) fn apply(&self, change: Change) -> Vec<Key> {
        if change.document.is_none() {
            let mut all = self.write();
            if change.revision > all.followed {
                all.removed.insert(change.key.clone(), change.revision);
            }
        }
        self.take(change)
    }

    fn take(&self, change: Change) -> Vec<Key> {
        let key = change.key;
        match change.document {
            Some(document) => self.put(document),
            None => self.remove(&key, change.revision),
        }
    }

    /// Every key there is.
    pub(super) fn keys(&self) -> Vec<Key> {
        let documents = self.read();
        let mut keys = Vec::new();
        for (at, app) in &documents.apps {
            keys.extend(documents.app_keys(at, app));
        }
        keys.extend(
            documents.tombstones.keys().map(|(at, cluster)| Key::Tombstone(at.clone(), cluster.clone())),
        );
        keys.extend(documents.forgotten.keys().cloned().map(Key::Forget));
        keys
    }

    /// The keys that concern a cluster.
    pub(super) fn keys_on(&self, cluster: &ClusterName) -> Vec<Key> {
        let on = |key: &Key| key.cluster().is_none_or(|it| it == cluster);
        self.keys().into_iter().filter(on).collect()
    }

    /// The documents of an application.
    pub(super) fn app(&self, at: &AppEnv) -> Option<AppDocuments> {
        self.read().apps.get(at).cloned()
    }

    /// The clusters of an environment.
    pub(super) fn targets(&self, env: &EnvRef) -> Vec<Target> {
        self.read().envs.get(env).map(|env| env.value.targets.clone()).unwrap_or_default()
    }

    /// Whether a track is known.
    pub(super) fn has_track(&self, track: &TrackKey) -> bool {
        self.read().apps.get(&track.component.at).is_some_and(|app| app.tracks.contains_key(track))
    }

    /// Whether an environment has tracks on a cluster.
    pub(super) fn has_tracks_of(&self, env: &EnvRef, cluster: &ClusterName) -> bool {
        let documents = self.read();
        let mut apps = documents.apps.iter().filter(|(at, _)| at.env_ref() == *env);
        apps.any(|(_, app)| app.tracks.keys().any(|track| track.cluster == *cluster))
    }

    /// A track.
    pub(super) fn track(&self, track: &TrackKey) -> Option<Arc<Stored<TrackRecord>>> {
        self.read().apps.get(&track.component.at)?.tracks.get(track).cloned()
    }

    /// The tombstone of an application on a cluster.
    pub(super) fn tombstone(
        &self,
        at: &AppEnv,
        cluster: &ClusterName,
    ) -> Option<Arc<Stored<TombstoneRecord>>> {
        self.read().tombstones.get(&(at.clone(), cluster.clone())).cloned()
    }

    /// Whether an application belongs on a cluster: its environment has the cluster, and it is not being deleted.
    pub(super) fn belongs(&self, at: &AppEnv, cluster: &ClusterName) -> bool {
        !self.is_deleting(at) && self.targets(&at.env_ref()).iter().any(|target| target.cluster == *cluster)
    }

    /// Whether an application is being deleted.
    pub(super) fn is_deleting(&self, at: &AppEnv) -> bool {
        self.read().apps.get(at).is_some_and(AppDocuments::is_deleting)
    }

    fn put(&self, document: Document) -> Vec<Key> {
        let key = document.key.clone();
        if self.read().removed.get(&key).is_some_and(|removed| *removed > document.modified) {
            return Vec::new();
        }
        match key.kind.as_str() {
            Environment::KIND => self.decoded(document, |all, env: Arc<Stored<Environment>>| {
                let name = EnvRef::new(env.value.org.clone(), env.value.name.clone());
                let slot = all.envs.get(&name).map(|old| old.modified);
                if !newer(slot, env.modified) {
                    return Vec::new();
                }
                all.envs.insert(name.clone(), env);
                let apps = all.apps.iter().filter(|(at, _)| at.env_ref() == name);
                apps.flat_map(|(at, app)| all.app_keys(at, app)).collect()
            }),
            AppEnvRecord::KIND => self.decoded(document, |all, place: Arc<Stored<AppEnvRecord>>| {
                let at = place.value.at.clone();
                let app = all.apps.entry(at.clone()).or_default();
                if !newer(app.place.as_ref().map(|old| old.modified), place.modified) {
                    return Vec::new();
                }
                app.place = Some(place);
                all.keys_of(&at)
            }),
            RolloutRecord::KIND => self.decoded(document, |all, rollout: Arc<Stored<RolloutRecord>>| {
                let at = rollout.value.at.clone();
                let app = all.apps.entry(at.clone()).or_default();
                if !newer(app.rollout.as_ref().map(|old| old.modified), rollout.modified) {
                    return Vec::new();
                }
                app.rollout = Some(rollout);
                vec![Key::App(at)]
            }),
            RoutesRecord::KIND => self.decoded(document, |all, routes: Arc<Stored<RoutesRecord>>| {
                let at = routes.value.at.clone();
                let app = all.apps.entry(at.clone()).or_default();
                if !newer(app.routes.as_ref().map(|old| old.modified), routes.modified) {
                    return Vec::new();
                }
                app.routes = Some(routes);
                vec![Key::App(at)]
            }),
            TrackRecord::KIND => self.decoded(document, |all, record: Arc<Stored<TrackRecord>>| {
                let track = record.value.state.track.clone();
                let at = track.component.at.clone();
                let app = all.apps.entry(at.clone()).or_default();
                if !newer(app.tracks.get(&track).map(|old| old.modified), record.modified) {
                    return Vec::new();
                }
                app.tracks.insert(track.clone(), record);
                vec![Key::App(at), Key::Track(track)]
            }),
            RunRecord::KIND => self.decoded(document, |all, run: Arc<Stored<RunRecord>>| {
                let at = run.value.track.component.at.clone();
                let app = all.apps.entry(at.clone()).or_default();
                if !newer(app.runs.get(&run.value.id).map(|old| old.modified), run.modified) {
                    return Vec::new();
                }
                let mut keys = vec![run_key(&run.value)];
                let of = run.value.is_of_schedule().then(|| run.value.track.component.component.clone());
                app.runs.insert(run.value.id.clone(), run);
                // What it leaves room for, or waits for it.
                keys.extend(of.and_then(|component| all.schedule_key(&at, &component)));
                keys
            }),
            ScheduleRecord::KIND => self.decoded(document, |all, schedule: Arc<Stored<ScheduleRecord>>| {
                let component = schedule.value.component.clone();
                let app = all.apps.entry(component.at.clone()).or_default();
                let known = app.schedules.get(&component.component).map(|old| old.modified);
                if !newer(known, schedule.modified) {
                    return Vec::new();
                }
                app.schedules.insert(component.component.clone(), schedule);
                all.schedule_key(&component.at, &component.component).into_iter().collect()
            }),
            TombstoneRecord::KIND => {
                self.decoded(document, |all, tombstone: Arc<Stored<TombstoneRecord>>| {
                    let TombstoneRecord { at, cluster, .. } = &tombstone.value;
                    let key = (at.clone(), cluster.clone());
                    if !newer(all.tombstones.get(&key).map(|old| old.modified), tombstone.modified) {
                        return Vec::new();
                    }
                    all.tombstones.insert(key.clone(), tombstone);
                    vec![Key::Tombstone(key.0, key.1)]
                })
            }
            ForgottenRecord::KIND => self.decoded(document, |all, mark: Arc<Stored<ForgottenRecord>>| {
                let cluster = mark.value.cluster.clone();
                if !newer(all.forgotten.get(&cluster).map(|old| old.modified), mark.modified) {
                    return Vec::new();
                }
                all.forgotten.insert(cluster.clone(), mark);
                vec![Key::Forget(cluster)]
            }),
            _ => Vec::new(),
        }
    }

    /// A document that cannot be read is left alone: nothing is decided on what is not understood.
    fn decoded<T: Record>(
        &self,
        document: Document,
        take: impl FnOnce(&mut Documents, Arc<Stored<T>>) -> Vec<Key>,
    ) -> Vec<Key> {
        match Stored::<T>::decode(document) {
            Ok(stored) => take(&mut self.write(), Arc::new(stored)),
            Err(error) => {
                tracing::error!(error = %error.report(), "a document cannot be read and is left alone");
                Vec::new()
            }
        }
    }

    fn remove(&self, key: &DocumentKey, revision: Revision) -> Vec<Key> {
        let mut all = self.write();
        let older = |modified: Revision| modified < revision;
        match key.kind.as_str() {
            Environment::KIND => {
                let gone = all.envs.extract_if(|_, env| env.key() == key && older(env.modified));
                let targets = gone.flat_map(|(_, env)| env.value.targets.clone());
                targets.map(|target| Key::Spaces(target.cluster)).collect()
            }
            // Whoever has the name now may begin on that cluster.
            TombstoneRecord::KIND => {
                let gone = all.tombstones.iter().find(|(_, it)| it.key() == key && older(it.modified));
                let Some((at, cluster)) = gone.map(|(place, _)| place.clone()) else { return Vec::new() };
                all.tombstones.remove(&(at.clone(), cluster.clone()));
                let mut keys = all.keys_of(&at);
                keys.push(Key::Spaces(cluster));
                keys
            }
            ForgottenRecord::KIND => {
                all.forgotten.retain(|_, it| it.key() != key || !older(it.modified));
                Vec::new()
            }
            AppEnvRecord::KIND => {
                let Some((at, _)) = all.apps.iter_mut().find(|(_, app)| {
                    app.place.as_ref().is_some_and(|place| place.key() == key && older(place.modified))
                }) else {
                    return Vec::new();
                };
                let at = at.clone();
                if let Some(app) = all.apps.get_mut(&at) {
                    app.place = None;
                }
                all.tidy(&at);
                vec![Key::App(at)]
            }
            _ => {
                let Ok(at) = key.parent.parse::<AppEnv>() else { return Vec::new() };
                let Some(app) = all.apps.get_mut(&at) else { return Vec::new() };
                let mut keys = vec![Key::App(at.clone())];
                let mut scheduled = None;
                match key.kind.as_str() {
                    RolloutRecord::KIND => app.rollout = app.rollout.take().filter(|it| !older(it.modified)),
                    RoutesRecord::KIND => app.routes = app.routes.take().filter(|it| !older(it.modified)),
                    // What the environment has left may be left with its space.
                    TrackRecord::KIND => {
                        let gone = app.tracks.extract_if(.., |_, it| it.key() == key && older(it.modified));
                        keys.extend(gone.map(|(track, _)| Key::Spaces(track.cluster)));
                    }
                    RunRecord::KIND => {
                        let gone = app.runs.extract_if(.., |_, it| it.key() == key && older(it.modified));
                        let gone = gone.filter(|(_, run)| run.value.is_of_schedule());
                        scheduled = gone.map(|(_, run)| run.value.track.component.component.clone()).last();
                    }
                    // Its runs are forgotten as those of nobody's schedule are.
                    ScheduleRecord::KIND => {
                        app.schedules.retain(|_, it| it.key() != key || !older(it.modified));
                        keys.extend(app.runs.values().map(|run| run_key(&run.value)));
                    }
                    _ => return Vec::new(),
                }
                // Another run may have waited for it.
                keys.extend(scheduled.and_then(|component| all.schedule_key(&at, &component)));
                all.tidy(&at);
                keys
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Documents> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Documents> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Documents {
    /// Forgets an application of which nothing is left.
    fn tidy(&mut self, at: &AppEnv) {
        let gone = self.apps.get(at).is_some_and(|app| {
            app.place.is_none()
                && app.rollout.is_none()
                && app.routes.is_none()
                && app.tracks.is_empty()
                && app.runs.is_empty()
                && app.schedules.is_empty()
        });
        if gone {
            self.apps.remove(at);
        }
    }

    fn keys_of(&self, at: &AppEnv) -> Vec<Key> {
        self.apps.get(at).map(|app| self.app_keys(at, app)).unwrap_or_default()
    }

    fn app_keys(&self, at: &AppEnv, app: &AppDocuments) -> Vec<Key> {
        let tracks = app.tracks.keys().cloned().map(Key::Track);
        let runs = app.runs.values().map(|run| run_key(&run.value));
        let schedules = app.schedules.keys().filter_map(|component| self.schedule_key(at, component));
        std::iter::once(Key::App(at.clone())).chain(tracks).chain(runs).chain(schedules).collect()
    }

    /// The key of a schedule, at the first of its clusters: whoever works on it finds out where the next run goes.
    fn schedule_key(&self, at: &AppEnv, component: &ComponentName) -> Option<Key> {
        let first = self.envs.get(&at.env_ref())?.value.targets.first()?;
        Some(Key::Schedule(at.component(component.clone()), first.cluster.clone()))
    }
}

fn newer(known: Option<Revision>, revision: Revision) -> bool {
    known.is_none_or(|known| known < revision)
}

pub(super) fn run_key(run: &RunRecord) -> Key {
    let track = &run.track;
    Key::Run(track.component.at.clone(), track.cluster.clone(), run.id.clone())
}

/// Reads for what is not cached.
pub(super) async fn read<T: Record>(collections: &Collections, key: &DocumentKey) -> Result<Option<T>> {
    Ok(collections.get::<T>(key).await?.map(|stored| stored.value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Changes;
    use crate::memory::MemoryStore;
    use crate::port::Write;
    use crate::release::TrackState;

    fn track() -> TrackKey {
        let at: AppEnv = "shop/prod/web".parse().unwrap();
        at.component("web".parse().unwrap()).on(ClusterName::local())
    }

    /// A change that puts the track, as a store tells of it.
    fn put(revision: u64) -> Change {
        let record = TrackRecord { state: TrackState::new(track(), 1), run: None, failing: None };
        let mut changes = Changes::new();
        changes.put(&record).unwrap();
        let Some(Write::Put { key, schema, body, index }) = changes.into_txn().writes.pop() else {
            unreachable!("it was put")
        };
        let revision = Revision(revision);
        let document =
            Document { key: key.clone(), schema, body, index, created: revision, modified: revision };
        Change { revision, key, document: Some(document) }
    }

    fn removal(revision: u64) -> Change {
        Change { revision: Revision(revision), document: None, ..put(revision) }
    }

    async fn cache() -> Cache {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        Cache::load(&store).await.unwrap().0
    }

    #[tokio::test]
    async fn what_this_process_removed_is_not_brought_back_by_a_feed_that_is_behind() {
        let cache = cache().await;
        cache.apply(put(4));
        cache.apply(removal(5));
        assert_eq!(cache.follow(put(3)), Vec::new());
        assert_eq!(cache.follow(put(4)), Vec::new());
        assert!(!cache.has_track(&track()));
        cache.follow(removal(5));
        assert!(!cache.has_track(&track()));
        cache.follow(put(6));
        assert!(cache.has_track(&track()), "it was made anew");
    }

    #[tokio::test]
    async fn a_removal_that_the_feed_brought_first_is_not_remembered() {
        let cache = cache().await;
        cache.follow(put(4));
        cache.follow(removal(5));
        cache.apply(removal(5));
        assert!(cache.read().removed.is_empty());
        cache.apply(put(6));
        assert!(cache.has_track(&track()));
    }
}
