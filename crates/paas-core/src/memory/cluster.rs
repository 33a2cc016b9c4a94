//! A cluster that exists in memory only.

mod control;
mod instances;
mod objects;
mod ordered;
mod runs;
mod sets;
mod surroundings;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::{
    Images, SimulatedExec, SimulatedLogs, SimulatedMetrics, SimulatedNodes, SimulatedRouter,
    SimulatedRuntime, SimulatedSpaces, TokioClock,
};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ResolvedValue, RevisionId};
use crate::name::{AppEnv, EnvRef, RouteName, TrackKey, VolumeName};
use crate::port::{
    BoxStream, ClusterPorts, Drift, Epoch, InstanceId, LogLine, LogStream, RouteBinding, RouterEvent,
    RuntimeEvent, SecretSource, ServiceState, SetKey,
};

pub(super) use objects::hosts;
pub(super) use runs::{Run, RunOutput, environment};
pub(super) use sets::Set;
pub(super) use traffic::Service;

/// How many events a slow watcher may be behind before it is told to list again.
const EVENTS: usize = 1024;
/// How many lines of an instance are kept.
const LINES: usize = 1000;

/// A cluster in memory, and the hand that makes things happen to it. Clones are the same cluster.
///
/// It needs a tokio runtime with time: instances change by themselves in spawned tasks.
#[derive(Clone)]
pub struct SimulatedCluster {
    inner: Arc<Inner>,
}

impl fmt::Debug for SimulatedCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedCluster").finish_non_exhaustive()
    }
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// With an exit code.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// Killed for using more memory than allowed.
    OutOfMemory,
}

/// A request that was answered by an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The revision.
    pub revision: RevisionId,
    /// The release that the router was told.
    pub release: u64,
    /// The instance.
    pub instance: InstanceId,
}

/// A request that nothing could answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer: 404 or 503.
    pub status: u16,
    /// Why.
    pub reason: String,
}

/// What a cluster holds, in a form that two runs of the same story can be compared by: no times, no identities of instances.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClusterSnapshot {
    /// The sets.
    pub sets: BTreeMap<String, SetSnapshot>,
    /// The shares in force by track and revision; absent for a stopped service.
    pub services: BTreeMap<String, Option<BTreeMap<RevisionId, u32>>>,
    /// The access points by application.
    pub routes: BTreeMap<String, Vec<RouteName>>,
    /// The volumes by track; those of ordered sets with their ordinal, as in `data-0`.
    pub volumes: BTreeMap<String, Vec<String>>,
    /// The runs.
    pub runs: Vec<InstanceId>,
}

/// A set of a [`ClusterSnapshot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetSnapshot {
    /// How many instances there shall be.
    pub desired: u32,
    /// How many instances are there, those that drain included.
    pub instances: usize,
    /// How many can serve.
    pub ready: usize,
}

pub(super) struct Inner {
    images: Images,
    clock: Arc<dyn Clock>,
    secrets: Mutex<Option<Arc<dyn SecretSource>>>,
    state: Mutex<State>,
    runtime_events: broadcast::Sender<RuntimeEvent>,
    router_events: broadcast::Sender<RouterEvent>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

/// Everything the cluster knows. Changes by itself are timers that come back in as [`Tick`]s.
#[derive(Debug)]
pub(super) struct State {
    images: Images,
    now: Timestamp,
    sets: BTreeMap<SetKey, Set>,
    runs: BTreeMap<InstanceId, Run>,
    /// Volumes by track and, in ordered sets, by ordinal.
    volumes: BTreeSet<(TrackKey, VolumeName, Option<u32>)>,
    objects: BTreeMap<TrackKey, objects::Objects>,
    services: BTreeMap<TrackKey, Service>,
    routes: BTreeMap<AppEnv, Vec<RouteBinding>>,
    counted: traffic::Counted,
    logs: BTreeMap<TrackKey, broadcast::Sender<LogLine>>,
    epochs: BTreeMap<String, Epoch>,
    capacity: Option<usize>,
    router_lag: Duration,
    nodes: BTreeSet<u32>,
    /// Those that take no new instances.
    cordoned: BTreeSet<u32>,
    /// What others have changed of each space.
    spaces: BTreeMap<EnvRef, Vec<Drift>>,
    next_node: u32,
    next_instance: u64,
    made: Vec<InstanceId>,
    /// How many commands run inside each instance.
    pub(super) commands: BTreeMap<InstanceId, usize>,
    effects: Effects,
}

/// What follows from a change and has to wait until the state is unlocked.
#[derive(Debug, Default)]
struct Effects {
    timers: Vec<(Duration, Tick)>,
    runtime: Vec<RuntimeEvent>,
    router: Vec<RouterEvent>,
}

/// Something that happens by itself after a time. `life` tells whether it still concerns the same life of the thing.
#[derive(Debug, Clone)]
enum Tick {
    Instance { set: SetKey, id: InstanceId, life: u64, what: instances::Stage },
    Run { id: InstanceId, life: u64, what: runs::Stage },
    Service { track: TrackKey, life: u64 },
}

impl SimulatedCluster {
    /// A cluster that pulls from `images`, with one node and no bound on instances.
    pub fn new(images: Images) -> Self {
        Self::with_clock(images, Arc::new(TokioClock::default()))
    }

    /// The same with a clock for the times that it tells.
    pub fn with_clock(images: Images, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            images: images.clone(),
            now: clock.now(),
            sets: BTreeMap::new(),
            runs: BTreeMap::new(),
            volumes: BTreeSet::new(),
            objects: BTreeMap::new(),
            services: BTreeMap::new(),
            routes: BTreeMap::new(),
            counted: traffic::Counted::new(),
            logs: BTreeMap::new(),
            epochs: BTreeMap::new(),
            capacity: None,
            router_lag: Duration::ZERO,
            nodes: BTreeSet::from([0]),
            cordoned: BTreeSet::new(),
            spaces: BTreeMap::new(),
            next_node: 1,
            next_instance: 0,
            made: Vec::new(),
            commands: BTreeMap::new(),
            effects: Effects::default(),
        };
        let inner = Inner {
            images,
            clock,
            secrets: Mutex::default(),
            state: Mutex::new(state),
            runtime_events: broadcast::channel(EVENTS).0,
            router_events: broadcast::channel(EVENTS).0,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Its ports, as a platform takes them.
    pub fn ports(&self) -> ClusterPorts {
        ClusterPorts {
            logs: Some(Arc::new(self.logs())),
            exec: Some(Arc::new(self.exec())),
            metrics: Some(Arc::new(SimulatedMetrics(self.inner.clone()))),
            traffic: Some(Arc::new(self.router())),
            nodes: Some(Arc::new(SimulatedNodes(self.inner.clone()))),
            spaces: Some(Arc::new(SimulatedSpaces(self.inner.clone()))),
            ..ClusterPorts::new(Arc::new(self.runtime()), Arc::new(self.router()))
        }
    }

    /// Its runtime.
    pub fn runtime(&self) -> SimulatedRuntime {
        SimulatedRuntime(self.inner.clone())
    }

    /// Its router.
    pub fn router(&self) -> SimulatedRouter {
        SimulatedRouter(self.inner.clone())
    }

    /// Its logs.
    pub fn logs(&self) -> SimulatedLogs {
        SimulatedLogs(self.inner.clone())
    }

    /// Its commands.
    pub fn exec(&self) -> SimulatedExec {
        SimulatedExec(self.inner.clone())
    }

    /// The images that it pulls.
    pub fn images(&self) -> &Images {
        &self.inner.images
    }
}

impl Inner {
    /// Runs `change` on the state, then lets happen what follows from it.
    pub(super) fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let (answer, effects) = {
            let mut state = self.lock();
            state.now = self.clock.now();
            let answer = change(&mut state);
            (answer, std::mem::take(&mut state.effects))
        };
        for (after, tick) in effects.timers {
            let inner = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                fire(&inner, tick);
            });
        }
        // Nobody listening is no failure.
        for event in effects.runtime {
            let _ = self.runtime_events.send(event);
        }
        for event in effects.router {
            let _ = self.router_events.send(event);
        }
        answer
    }

    /// Asks for the values of secrets as runtimes do, and keeps none of them.
    pub(super) async fn reveal(
        &self,
        at: &AppEnv,
        values: impl Iterator<Item = &ResolvedValue>,
    ) -> Result<()> {
        let source = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(source) = source else { return Ok(()) };
        for value in values {
            if let ResolvedValue::Secret(secret) = value {
                source.reveal(at, secret).await?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch_runtime(&self) -> BoxStream<RuntimeEvent> {
        stream_of(self.runtime_events.subscribe())
    }

    pub(super) fn watch_router(&self) -> BoxStream<RouterEvent> {
        stream_of(self.router_events.subscribe())
    }
}

fn fire(inner: &Weak<Inner>, tick: Tick) {
    let Some(inner) = inner.upgrade() else { return };
    inner.with(|state| match tick {
        Tick::Instance { set, id, life, what } => state.instance_tick(&set, &id, life, what),
        Tick::Run { id, life, what } => state.run_tick(&id, life, what),
        Tick::Service { track, life } => state.service_tick(&track, life),
    });
}

/// The events of a channel; a reader that is too slow is told so, then the stream ends.
fn stream_of<T: Clone + Send + 'static>(receiver: broadcast::Receiver<T>) -> BoxStream<T> {
    Box::pin(futures::stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Ok(event) => Some((Ok(event), Some(receiver))),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                let error =
                    Error::new(ErrorKind::Lagged, "watch a simulated cluster").with_context("missed", missed);
                Some((Err(error), None))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }))
}

impl State {
    /// Rejects an epoch lower than the highest one seen for an object.
    pub(super) fn fence(
        &mut self,
        operation: &'static str,
        object: impl fmt::Display,
        epoch: Epoch,
    ) -> Result<()> {
        let object = object.to_string();
        let seen = self.epochs.entry(object.clone()).or_default();
        if epoch < *seen {
            return Err(Error::new(ErrorKind::Fenced, operation)
                .with_context("object", object)
                .with_context("epoch", epoch)
                .with_context("seen", *seen));
        }
        *seen = epoch;
        Ok(())
    }

    fn after(&mut self, delay: Duration, tick: Tick) {
        self.effects.timers.push((delay, tick));
    }

    fn changed(&mut self, track: &TrackKey) {
        self.effects.runtime.push(RuntimeEvent::Track(track.clone()));
    }

    /// A new identity, never used again.
    fn next_id(&mut self, prefix: &str) -> InstanceId {
        self.next_instance += 1;
        InstanceId(format!("{prefix}-{}", self.next_instance))
    }

    /// The node with the fewest instances; the lowest number among equals.
    fn place(&self) -> Option<u32> {
        let load = |node: &u32| {
            self.sets.values().flat_map(|set| &set.instances).filter(|i| i.node == *node).count()
        };
        let open = self.nodes.iter().copied().filter(|node| !self.cordoned.contains(node));
        open.min_by_key(|node| (load(node), *node))
    }

    pub(super) fn lines_of(&mut self, track: &TrackKey) -> broadcast::Receiver<LogLine> {
        self.logs.entry(track.clone()).or_insert_with(|| broadcast::channel(EVENTS).0).subscribe()
    }

    pub(super) fn sets_of<'a>(&'a self, track: &'a TrackKey) -> impl Iterator<Item = (&'a SetKey, &'a Set)> {
        self.sets.iter().filter(move |(key, _)| key.track == *track)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    fn line(&self, instance: &InstanceId, stream: LogStream, text: impl Into<String>) -> LogLine {
        LogLine { instance: instance.clone(), at: self.now, stream, text: text.into() }
    }

    fn snapshot(&self) -> ClusterSnapshot {
        let mut snapshot =
            ClusterSnapshot { runs: self.runs.keys().cloned().collect(), ..Default::default() };
        for (key, set) in &self.sets {
            let set = SetSnapshot {
                desired: set.desired,
                instances: set.instances.len(),
                ready: set.instances.iter().filter(|instance| instance.is_ready()).count(),
            };
            snapshot.sets.insert(key.to_string(), set);
        }
        for (track, service) in &self.services {
            let weights = matches!(service.in_force.state, ServiceState::Serving).then(|| service.weights());
            snapshot.services.insert(track.to_string(), weights);
        }
        for (at, routes) in &self.routes {
            let names = routes.iter().map(|route| route.name.clone()).collect();
            snapshot.routes.insert(at.to_string(), names);
        }
        for (track, volume, ordinal) in &self.volumes {
            let name = ordinal.map_or_else(|| volume.to_string(), |ordinal| format!("{volume}-{ordinal}"));
            snapshot.volumes.entry(track.to_string()).or_default().push(name);
        }
        snapshot
    }
}

/// A whole number of seconds or milliseconds as people read it.
fn seconds(duration: Duration) -> String {
    SignedDuration::try_from(duration).map_or_else(|_| "a long time".to_owned(), |d| format!("{d:#}"))
}
