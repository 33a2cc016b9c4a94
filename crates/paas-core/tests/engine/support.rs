//! A platform whose tracks are driven by hand: in a world where every intention comes true at once, unless a test says
//! that a revision never becomes ready.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use paas_core::action::{Deploy, NewApp, NewEnv, NewOrg, ReleaseStarted};
use paas_core::engine::{
    Advanced, Changes, PlatformBuilder, Services, Stored, TrackRecord, advance, remove_documents,
};
use paas_core::memory::{Images, MemoryStore, SimulatedCluster};
use paas_core::model::{AppSpec, ReleaseNumber, RevisionId};
use paas_core::port::Store;
use paas_core::release::{Act, Phase, RevisionView, RouteView, RunView, TrackState, Weights, World, next};
use paas_core::{Actor, AppEnv, Clock, ClusterName, ComponentName, CountingIds, Platform, Session, TrackKey};
use serde_json::{Value, json};

/// A clock that tests move.
#[derive(Debug)]
pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn advance(&self, by: SignedDuration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// What a cluster would show of a track.
#[derive(Debug, Default)]
struct Shown {
    sets: BTreeMap<RevisionId, u32>,
    weights: Option<Weights>,
    runs: BTreeMap<String, RunView>,
}

pub(crate) struct Lab {
    pub(crate) platform: Platform,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) images: Images,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) session: Session,
    /// Revisions whose instances never become ready.
    pub(crate) broken: BTreeSet<RevisionId>,
    shown: BTreeMap<TrackKey, Shown>,
}

pub(crate) fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(crate) fn at() -> AppEnv {
    name("acme/prod/shop")
}

pub(crate) fn web() -> ComponentName {
    name("web")
}

/// A web component that calls an API component, with an access point.
pub(crate) fn spec() -> AppSpec {
    spec_of(json!({
        "components": [
            {
                "name": "web", "image": "shop/web:1", "instances": { "count": 2 },
                "ports": [{ "name": "http", "number": 8080 }],
                "depends_on": [{ "component": "api" }]
            },
            { "name": "api", "image": "shop/api:1", "ports": [{ "name": "http", "number": 9000 }] }
        ],
        "routes": [{ "name": "main", "host": "shop.example", "component": "web" }]
    }))
}

/// One component with what `extra` adds.
pub(crate) fn one(extra: &Value) -> AppSpec {
    let mut component =
        json!({ "name": "web", "image": "shop/web:1", "ports": [{ "name": "http", "number": 8080 }] });
    component.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    spec_of(json!({ "components": [component] }))
}

pub(crate) fn spec_of(value: Value) -> AppSpec {
    serde_json::from_value(value).unwrap()
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(change: impl FnOnce(PlatformBuilder) -> PlatformBuilder) -> Self {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(TestClock(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())));
        let images = Images::any();
        let cluster = SimulatedCluster::new(images.clone());
        let builder = Platform::builder()
            .store(Arc::clone(&store) as Arc<dyn Store>)
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .ids(Arc::new(CountingIds::default()))
            .registry(Arc::new(images.clone()))
            .cluster(ClusterName::local(), cluster.ports())
            .administrator(Actor::user("root"))
            .without_reconcilers();
        let platform = change(builder).build().await.unwrap();
        let session = platform.session(Actor::user("root"));
        Self { platform, store, images, clock, session, broken: BTreeSet::new(), shown: BTreeMap::new() }
    }

    /// A platform with the organisation `acme`, its environment `prod` and its application `shop`.
    pub(crate) async fn ready() -> Self {
        let lab = Self::new().await;
        lab.populate().await;
        lab
    }

    pub(crate) async fn populate(&self) {
        let org = name("acme");
        self.session.create_org(NewOrg::new(name("acme"))).await.unwrap();
        self.session.create_env(&org, NewEnv::new(name("prod"))).await.unwrap();
        self.session.create_app(&org, NewApp::new(name("shop"))).await.unwrap();
    }

    pub(crate) fn services(&self) -> &Services {
        self.platform.services()
    }

    /// Deploys and carries the release to its end.
    pub(crate) async fn release(&mut self, spec: AppSpec) -> ReleaseStarted {
        let started = self.session.deploy(&at(), Deploy::spec(spec)).await.unwrap();
        self.settle().await;
        started
    }

    /// Makes as many releases as it takes to reach this number.
    pub(crate) async fn release_up_to(&mut self, last: u64) {
        for i in 1.. {
            let started = self.release(one(&json!({ "env": { "N": i.to_string() } }))).await;
            if started.number >= ReleaseNumber(last) {
                return;
            }
        }
    }

    pub(crate) async fn current(&self) -> Option<u64> {
        let status = self.session.status(&at()).await.unwrap();
        status.current.map(|release| release.number.0)
    }

    /// Lets everything happen that can, without time passing.
    pub(crate) async fn settle(&mut self) {
        for _ in 0..500 {
            if !self.step().await {
                return;
            }
        }
        panic!("the tracks did not come to rest");
    }

    /// Lets everything happen that can, once; returns whether anything did.
    pub(crate) async fn step(&mut self) -> bool {
        let changed = self.step_tracks().await;
        match advance(self.platform.services(), &at(), None).await.unwrap() {
            Advanced::Changed => true,
            Advanced::Removable => {
                remove_documents(self.platform.services(), &at(), None).await.unwrap();
                true
            }
            Advanced::Unchanged | Advanced::Gone => changed,
        }
    }

    async fn step_tracks(&mut self) -> bool {
        let services = Arc::clone(self.platform.services());
        let tracks = services.collections().children::<TrackRecord>(at().to_string()).await.unwrap();
        let mut changed = false;
        for stored in tracks {
            changed |= self.step_track(&services, stored).await;
        }
        changed
    }

    async fn step_track(&mut self, services: &Services, mut stored: Stored<TrackRecord>) -> bool {
        let key = stored.value.state.track.clone();
        if stored.value.state.phase == Phase::Detached {
            let mut changes = Changes::new();
            changes.remove(&stored);
            services.store().commit(changes.into_txn()).await.unwrap();
            return true;
        }
        let world = self.world(&stored.value.state);
        let decision = next(&stored.value.state, &world, services.now());
        let moved = decision.state != stored.value.state;
        if moved {
            stored.value.state = decision.state;
            let mut changes = Changes::new();
            changes.update(&stored).unwrap();
            services.store().commit(changes.into_txn()).await.unwrap();
        }
        let shown = self.shown.entry(key).or_default();
        let acts = !decision.acts.is_empty();
        for act in decision.acts {
            match act {
                Act::Ensure { revision, count, .. } => drop(shown.sets.entry(revision).or_insert(count)),
                Act::Scale { revision, count, .. } => drop(shown.sets.insert(revision, count)),
                Act::Remove { revision } => drop(shown.sets.remove(&revision)),
                Act::Shift { weights } => shown.weights = Some(weights),
                Act::Unroute { .. } => shown.weights = None,
                Act::Run { key, .. } => drop(shown.runs.insert(key.to_string(), RunView::Succeeded)),
                Act::StopRun { key } => drop(shown.runs.remove(&key.to_string())),
                judge @ Act::Judge { .. } => panic!("no plan of these tests asks for {judge:?}"),
            }
        }
        moved || acts
    }

    fn world(&self, state: &TrackState) -> World {
        let Some(shown) = self.shown.get(&state.track) else { return World::default() };
        let view = |(revision, count): (&RevisionId, &u32)| {
            let ready = if self.broken.contains(revision) { 0 } else { *count as usize };
            let view = RevisionView {
                desired: *count,
                total: *count,
                ready_since: vec![Timestamp::UNIX_EPOCH; ready],
                ..RevisionView::default()
            };
            (revision.clone(), view)
        };
        World {
            observed_at: state.written,
            revisions: shown.sets.iter().map(view).collect(),
            routes: RouteView {
                written: shown.weights.clone(),
                confirmed: shown.weights.clone(),
                snapshot: None,
            },
            runs: shown.runs.clone(),
            ..World::default()
        }
    }

    /// The instances of a component by revision.
    pub(crate) fn instances(&self, component: &str) -> BTreeMap<RevisionId, u32> {
        let key = at().component(name(component)).on(ClusterName::local());
        self.shown.get(&key).map(|shown| shown.sets.clone()).unwrap_or_default()
    }

    /// The number of instances of a component, of all revisions.
    pub(crate) fn count(&self, component: &str) -> u32 {
        self.instances(component).values().sum()
    }
}
