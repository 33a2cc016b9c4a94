//! An API server in memory, with the few controllers that make it behave like a cluster, for tests without one.
//!
//! It is a tower service that [`kube::Client`] can talk to, and can be served on a loopback address. It does what this crate and programs like it need: lists and
//! watches (bookmarks, 410), merge patches and server-side apply with field managers and conflicts, resource versions and
//! generations, preconditions, deletion with grace and finalizers, the status subresource, logs. Deployments and jobs get
//! pods, pods live as the [`Image`](paas_core::memory::Image) of their digest says, routes are accepted by a gateway, which
//! answers requests.
//!
//! It does less than a real one: no validation beyond names, no defaults beyond those that this crate reads, no
//! replica sets between deployments and pods, lists inside objects are owned whole in server-side apply, and there is one user, who may do
//! everything unless rules say less.

mod access;
mod answer;
mod apply;
mod attach;
mod controllers;
mod data_plane;
mod exec;
mod faults;
mod gateway;
mod hand;
mod http;
mod kinds;
mod kubelet;
mod logs;
mod metrics;
mod objects;
mod request;
mod service;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use paas_core::Clock as _;
use paas_core::memory::{Images, TokioClock};
use serde_json::Value;
use tokio::sync::{Notify, watch as signal};

use crate::client::{CallLimits, over};

pub use access::Permission;
pub use data_plane::Reply;
pub use faults::{Fault, Verb};
pub use http::{FakeServer, kubeconfig};
pub use service::FakeService;

use faults::Script;
use kubelet::PodLife;
use logs::Printed;
use objects::Objects;

/// A cluster in memory, and the hand that makes things happen to it. Clones are the same cluster.
///
/// It needs a tokio runtime with time: controllers are tasks.
#[derive(Clone)]
pub struct FakeCluster {
    inner: Arc<Inner>,
}

impl fmt::Debug for FakeCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeCluster").finish_non_exhaustive()
    }
}

struct Inner {
    images: Images,
    clock: TokioClock,
    state: Mutex<State>,
    /// The newest resource version: watches wait for it.
    newest: signal::Sender<u64>,
    /// Wakes the controllers.
    work: Notify,
}

/// Everything that the cluster knows.
#[derive(Debug)]
struct State {
    now: Timestamp,
    objects: Objects,
    lives: BTreeMap<String, PodLife>,
    /// The templates that stateful sets have had, by the name of their revision.
    templates: BTreeMap<String, Value>,
    printed: BTreeMap<String, Printed>,
    script: Script,
    access: access::Access,
    settings: Settings,
    /// How many requests of each weighted choice were sent where, so that shares are exact.
    sent: BTreeMap<String, BTreeMap<String, u64>>,
    /// The commands that run inside pods.
    commands: Vec<exec::Running>,
    reads: u64,
    writes: u64,
    timers: Vec<(Duration, Timer)>,
}

/// How the cluster behaves.
#[derive(Debug, Clone)]
struct Settings {
    has_gateway_api: bool,
    gateway_lag: Duration,
    controller_lag: Duration,
    pods: Option<usize>,
    has_node: bool,
}

/// Something that happens by itself after a time.
#[derive(Debug, Clone)]
enum Timer {
    /// A pod's next step; `life` tells whether it still concerns the same life.
    Pod { uid: String, life: u64, stage: kubelet::Stage },
    /// A gateway looks at its routes.
    Gateway,
}

impl FakeCluster {
    /// A cluster that pulls from `images`, with room for any number of pods and the Gateway API.
    pub fn new(images: Images) -> Self {
        let settings = Settings {
            has_gateway_api: true,
            gateway_lag: Duration::from_millis(5),
            controller_lag: Duration::from_millis(2),
            pods: None,
            has_node: true,
        };
        let clock = TokioClock::default();
        let state = State {
            now: clock.now(),
            objects: Objects::default(),
            lives: BTreeMap::new(),
            templates: BTreeMap::new(),
            printed: BTreeMap::new(),
            script: Script::default(),
            access: access::Access::default(),
            settings,
            sent: BTreeMap::new(),
            commands: Vec::new(),
            reads: 0,
            writes: 0,
            timers: Vec::new(),
        };
        let inner = Arc::new(Inner {
            images,
            clock,
            state: Mutex::new(state),
            newest: signal::channel(0).0,
            work: Notify::new(),
        });
        tokio::spawn(controllers::run(Arc::downgrade(&inner)));
        let cluster = Self { inner };
        cluster.inner.with(State::begin);
        cluster
    }

    /// A client with the default bounds on calls.
    pub fn client(&self) -> Client {
        self.client_with(CallLimits { per_second: 1_000_000, ..CallLimits::default() })
    }

    /// A client with these bounds on calls.
    pub fn client_with(&self, limits: CallLimits) -> Client {
        over(self.service(), limits)
    }

    /// The API server as a service.
    pub fn service(&self) -> FakeService {
        FakeService::new(self.inner.clone())
    }
}

impl Inner {
    /// Runs `change` on the state, then lets happen what follows from it.
    fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let (answer, timers, newest) = {
            let mut state = self.lock();
            state.now = self.clock.now();
            let answer = change(&mut state);
            (answer, std::mem::take(&mut state.timers), state.objects.newest())
        };
        for (after, timer) in timers {
            let inner = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                fire(&inner, timer);
            });
        }
        let moved = self.newest.send_if_modified(|seen| {
            let moved = *seen != newest;
            *seen = newest;
            moved
        });
        if moved {
            self.work.notify_one();
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fire(inner: &Weak<Inner>, timer: Timer) {
    let Some(inner) = inner.upgrade() else { return };
    let images = inner.images.clone();
    inner.with(|state| match timer {
        Timer::Pod { uid, life, stage } => state.pod_step(&images, &uid, life, stage),
        Timer::Gateway => state.accept_routes(),
    });
}

impl State {
    /// What a new cluster has.
    fn begin(&mut self) {
        for name in ["default", "kube-system", "gateway"] {
            let namespace = serde_json::json!({ "metadata": { "name": name } });
            self.put_new(kinds::NAMESPACE, None, name, namespace);
        }
        let ports = [80, 7301, 7302, 7303];
        let listener = |port: &u16| {
            let protocol = if *port == 80 { "HTTP" } else { "TCP" };
            serde_json::json!({ "name": format!("port-{port}"), "port": port, "protocol": protocol })
        };
        let gateway = serde_json::json!({
            "metadata": { "name": "gateway", "namespace": "gateway" },
            "spec": {
                "gatewayClassName": "fake",
                "listeners": ports.iter().map(listener).collect::<Vec<_>>(),
            },
        });
        self.put_new(kinds::GATEWAY, Some("gateway"), "gateway", gateway);
        let node = serde_json::json!({
            "metadata": {
                "name": "node-0",
                "labels": { "kubernetes.io/hostname": "node-0", "topology.kubernetes.io/zone": "zone-0" },
            },
            "spec": {},
            "status": {
                "capacity": { "cpu": "8", "memory": "16Gi", "pods": "110" },
                "allocatable": { "cpu": "8", "memory": "16Gi", "pods": "110" },
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": self.time(),
                                 "lastHeartbeatTime": self.time(), "reason": "KubeletReady", "message": "" }],
            },
        });
        self.put_new(kinds::NODE, None, "node-0", node);
    }

    fn after(&mut self, delay: Duration, timer: Timer) {
        self.timers.push((delay, timer));
    }

    /// The time as the API writes it: whole seconds.
    fn time(&self) -> Value {
        Value::String(time(self.now))
    }
}

/// A time as the API writes it: whole seconds.
fn time(at: Timestamp) -> String {
    let seconds = Timestamp::from_second(at.as_second()).unwrap_or(at);
    seconds.to_string()
}
