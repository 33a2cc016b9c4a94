//! The way to the gateway: what it shall do is kept here, and told to it whole whenever it changes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use paas_core::ComponentKey;
use paas_core::model::{CallTarget, Port, Protocol, RevisionId};
use paas_core::port::{Epoch, RouteBinding, ServiceState, ServiceTraffic};
use paas_core::{AppEnv, Error, ErrorKind, Result};
use paas_gateway::Control;
use paas_gateway::config::{
    self, Caller, Config, Dial, HostPattern, Listener, PathPrefix, Revision, Route, Serves, Service, State,
};
use paas_gateway::handover;
use paas_gateway::process::{Launch, ensure_running, upgrade};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::error::gateway as failed;

/// The listener for HTTP.
const HTTP: &str = "http";
/// How long a change may take to be in force.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the router port was told, as it is kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RouterState {
    /// By track.
    pub(super) services: BTreeMap<String, ServiceEntry>,
    /// By application in its environment.
    pub(super) routes: BTreeMap<String, RoutesEntry>,
}

/// The traffic of a track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ServiceEntry {
    pub(super) traffic: ServiceTraffic,
    pub(super) epoch: Epoch,
}

/// The access points of an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RoutesEntry {
    pub(super) at: AppEnv,
    pub(super) routes: Vec<RouteBinding>,
    pub(super) epoch: Epoch,
}

/// A container, as far as the gateway is concerned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Endpoint {
    pub(super) component: ComponentKey,
    pub(super) revision: RevisionId,
    pub(super) socket: PathBuf,
    pub(super) ready: bool,
    pub(super) draining: bool,
    /// What it may call, by its listeners.
    pub(super) calls: Vec<(handover::Listener, CallTarget)>,
}

/// Everything that the gateway shall do.
#[derive(Debug, Default)]
pub(super) struct Desired {
    pub(super) router: RouterState,
    /// By container.
    pub(super) endpoints: BTreeMap<String, Endpoint>,
}

/// How far the gateway has followed.
#[derive(Debug, Clone, Default)]
struct Followed {
    change: u64,
    refused: Option<Refused>,
}

/// The latest thing that the gateway did not do.
#[derive(Debug, Clone)]
struct Refused {
    change: u64,
    kind: ErrorKind,
    why: String,
}

/// The way to the gateway.
#[derive(Debug)]
pub(super) struct GatewayLink {
    folder: PathBuf,
    control: Control,
    wanted: SocketAddr,
    bound: SocketAddr,
    generation: Mutex<u64>,
    desired: Mutex<Desired>,
    /// The number of the latest change.
    asked: watch::Sender<u64>,
    followed: watch::Sender<Followed>,
    closing: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in this module panics while it holds a lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn launch(folder: &Path) -> Launch {
    Launch::new("/proc/self/exe").with_argument("__gateway").with_argument(folder)
}

impl GatewayLink {
    /// Finds the gateway of a folder or starts it, and makes sure that it listens at `wanted`.
    pub(super) async fn open(
        folder: &Path,
        wanted: SocketAddr,
        router: RouterState,
        closing: CancellationToken,
    ) -> Result<Self> {
        const OPERATION: &str = "start the gateway";
        let control =
            ensure_running(folder, &launch(folder)).await.map_err(|error| failed(OPERATION, error))?;
        let hello = control.hello().await.map_err(|error| failed(OPERATION, error))?;
        let control = if hello.build == env!("CARGO_PKG_VERSION") {
            control
        } else {
            tracing::info!(from = hello.build, "the gateway is of another version and is replaced");
            upgrade(folder, &launch(folder)).await.map_err(|error| failed(OPERATION, error))?
        };
        let mut config = match control.config().await.map_err(|error| failed(OPERATION, error))? {
            Some(config) => config,
            None => Config::new(0),
        };
        let present = config.listeners.iter().find(|listener| listener.id.as_str() == HTTP);
        let present = present.map(|listener| listener.address);
        // With port 0 the one of the last time is good, so that addresses stay over a restart.
        let good = |address: SocketAddr| {
            address == wanted || (wanted.port() == 0 && address.ip() == wanted.ip() && address.port() != 0)
        };
        let listens = match present {
            Some(address) if good(address) => address,
            _ => {
                let address = chosen(wanted)?;
                config.generation += 1;
                config.listeners.retain(|listener| listener.id.as_str() != HTTP);
                config.listeners.push(http_listener(address));
                control.apply(config.clone()).await.map_err(|error| failed(OPERATION, error))?;
                address
            }
        };
        let status = control.status().await.map_err(|error| failed(OPERATION, error))?;
        let listener = status.listeners.into_iter().find(|listener| listener.listener.as_str() == HTTP);
        let bound = listener.as_ref().and_then(|listener| listener.bound).ok_or_else(|| {
            let why = listener
                .and_then(|listener| listener.error)
                .unwrap_or_else(|| "it does not say why".to_owned());
            Error::new(ErrorKind::Unavailable, "let the gateway listen")
                .with_context("address", wanted)
                .with_source(why)
                .with_remedy("Name another address for the gateway, or port 0 for any that is free.")
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            control,
            wanted: listens,
            bound,
            closing,
            generation: Mutex::new(config.generation),
            desired: Mutex::new(Desired { router, endpoints: BTreeMap::new() }),
            asked: watch::Sender::new(0),
            followed: watch::Sender::new(Followed::default()),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.bound
    }

    pub(super) fn control(&self) -> Control {
        self.control.clone()
    }

    /// What the router port was told.
    pub(super) fn router(&self) -> RouterState {
        lock(&self.desired).router.clone()
    }

    /// Changes what the gateway shall do; [`GatewayLink::in_force`] waits for it.
    pub(super) fn change(&self, change: impl FnOnce(&mut Desired)) -> u64 {
        let mut desired = lock(&self.desired);
        change(&mut desired);
        let mut number = 0;
        // Under the lock, so that numbers and states have the same order.
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        number
    }

    /// Says whether a container can serve; nothing if the gateway knows that already.
    pub(super) fn set_ready(&self, container: &str, ready: bool) -> Option<u64> {
        let known = |desired: &Desired| desired.endpoints.get(container).map(|endpoint| endpoint.ready);
        if known(&lock(&self.desired)).is_none_or(|known| known == ready) {
            return None;
        }
        Some(self.change(|desired| {
            if let Some(endpoint) = desired.endpoints.get_mut(container) {
                endpoint.ready = ready;
            }
        }))
    }

    /// Checks that the gateway could be told so.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with everything that is wrong with it.
    pub(super) fn check(&self, router: &RouterState) -> Result<()> {
        let endpoints = lock(&self.desired).endpoints.clone();
        let desired = Desired { router: router.clone(), endpoints };
        compose(&desired, 0, self.wanted).validate().map_err(|error| failed("tell the gateway", error))
    }

    /// Has the gateway told everything again, as after it was replaced.
    pub(super) fn again(&self) -> u64 {
        self.change(|_| ())
    }

    /// Whether everything asked for is in force.
    pub(super) fn is_settled(&self) -> bool {
        self.followed.borrow().change >= *self.asked.borrow()
    }

    /// Waits until a change is in force.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the gateway does not follow in time (it will once it is back) or the machine is
    /// closed; [`ErrorKind::Conflict`] and [`ErrorKind::Invalid`] if it refuses to.
    pub(super) async fn in_force(&self, change: u64) -> Result<()> {
        const OPERATION: &str = "have the gateway follow a change";
        let refused = |followed: &Followed| {
            let refused = followed.refused.as_ref().filter(|refused| refused.change >= change);
            refused.filter(|refused| refused.kind != ErrorKind::Unavailable).cloned()
        };
        let mut followed = self.followed.subscribe();
        let done = followed.wait_for(|followed| followed.change >= change || refused(followed).is_some());
        let seen = tokio::select! {
            seen = tokio::time::timeout(PATIENCE, done) => seen.ok().and_then(|seen| seen.ok().map(|seen| seen.clone())),
            () = self.closing.cancelled() => {
                return Err(Error::new(ErrorKind::Unavailable, OPERATION).with_source("the machine was closed"));
            }
        };
        match seen {
            Some(seen) if seen.change >= change => Ok(()),
            Some(seen) => match refused(&seen) {
                Some(refused) => Err(Error::new(refused.kind, OPERATION).with_source(refused.why)),
                None => Ok(()),
            },
            None => {
                let why = self.followed.borrow().refused.as_ref().map(|refused| refused.why.clone());
                let why = why.unwrap_or_else(|| "it does not answer".to_owned());
                Err(Error::new(ErrorKind::Unavailable, OPERATION).with_source(why))
            }
        }
    }

    /// Follows changes until the machine is closed.
    async fn follow(&self) {
        let mut asked = self.asked.subscribe();
        let mut pause = Duration::from_millis(10);
        loop {
            let pending = *asked.borrow_and_update();
            if pending > self.followed.borrow().change {
                let (change, config) = self.config();
                match self.control.apply(config).await {
                    Ok(_) => {
                        pause = Duration::from_millis(10);
                        self.followed.send_modify(|followed| *followed = Followed { change, refused: None });
                    }
                    Err(error) => {
                        tracing::warn!("the gateway did not follow: {}", error.chain());
                        let why = error.chain();
                        let kind = match failed("tell the gateway", error).kind() {
                            kind @ (ErrorKind::Invalid | ErrorKind::Conflict) => kind,
                            _ => ErrorKind::Unavailable,
                        };
                        let refused = Some(Refused { change, kind, why });
                        self.followed.send_modify(|followed| followed.refused = refused);
                        // Another change may be what it waits for.
                        tokio::select! {
                            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
                            _ = asked.changed() => {}
                        }
                    }
                }
                continue;
            }
            if asked.changed().await.is_err() {
                return;
            }
        }
    }

    /// The present change and the config for it.
    fn config(&self) -> (u64, Config) {
        let desired = lock(&self.desired);
        let change = *self.asked.borrow();
        let mut generation = lock(&self.generation);
        *generation += 1;
        (change, compose(&desired, *generation, self.wanted))
    }

    /// The process of the gateway, when it ends.
    async fn ended(&self) -> Result<()> {
        let fail =
            |error: std::io::Error| Error::new(ErrorKind::Internal, "watch the gateway").with_source(error);
        let hello = self.control.hello().await.map_err(|error| failed("reach the gateway", error))?;
        let pid = i32::try_from(hello.pid).ok().and_then(rustix::process::Pid::from_raw);
        let Some(pid) = pid else { return Ok(()) };
        let pidfd = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(errno) => return Err(fail(errno.into())),
        };
        let gone = crate::ready::watch(pidfd, tokio::io::Interest::READABLE).map_err(fail)?;
        let _ = gone.readable().await.map_err(fail)?;
        Ok(())
    }
}

/// Keeps the gateway running and told, until the machine is closed.
pub(super) fn watch_over(shared: &Arc<Shared>) {
    let follower = shared.clone();
    shared.tasks.spawn(async move {
        tokio::select! {
            () = follower.gateway.follow() => {}
            () = follower.closing.cancelled() => {}
        }
    });
    let watcher = shared.clone();
    shared.tasks.spawn(async move {
        let keep = async {
            loop {
                if watcher.gateway.ended().await.is_ok() {
                    tracing::warn!("the gateway ended; another one is started");
                }
                let folder = &watcher.gateway.folder;
                match ensure_running(folder, &launch(folder)).await {
                    Ok(_) => drop(watcher.gateway.again()),
                    Err(error) => {
                        tracing::error!("the gateway cannot be started: {}", error.chain());
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = keep => {}
            () = watcher.closing.cancelled() => {}
        }
    });
}

/// The address to listen on: with port 0 one that is free now, so that it can be had again later.
fn chosen(wanted: SocketAddr) -> Result<SocketAddr> {
    if wanted.port() != 0 {
        return Ok(wanted);
    }
    let free = std::net::TcpListener::bind(wanted).and_then(|listener| listener.local_addr());
    free.map_err(|error| {
        Error::new(ErrorKind::Unavailable, "find a free port for the gateway")
            .with_context("address", wanted)
            .with_source(error)
    })
}

fn http_listener(address: SocketAddr) -> Listener {
    Listener { id: config::ListenerId::new(HTTP), address, serves: Serves::Http { trust_forwarded: false } }
}

fn service_id(component: &ComponentKey) -> config::ServiceId {
    config::ServiceId::new(component.to_string())
}

fn port(port: &Port) -> config::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => config::Protocol::Tcp,
        _ => config::Protocol::Http,
    };
    config::Port { name: config::PortName::new(port.name.as_str()), number: port.number, protocol }
}

/// The whole config. What routes or callers lead to and nobody serves is a service that says so.
fn compose(desired: &Desired, generation: u64, http: SocketAddr) -> Config {
    let mut config = Config::new(generation);
    config.listeners.push(http_listener(http));
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for entry in desired.router.services.values() {
        let traffic = &entry.traffic;
        services.insert(traffic.track.component.to_string(), service(traffic));
    }
    let mut need = |component: &ComponentKey, needed: &Port, state: State| {
        let service = services.entry(component.to_string()).or_insert_with(|| Service {
            id: service_id(component),
            ports: Vec::new(),
            revisions: Vec::new(),
            state,
            rules: Vec::new(),
            balance: config::Balance::default(),
        });
        if !service.ports.iter().any(|known| known.name.as_str() == needed.name.as_str()) {
            service.ports.push(port(needed));
        }
    };
    for entry in desired.router.routes.values() {
        for route in &entry.routes {
            let component = &route.track.component;
            need(component, &route.port, State::Stopped { reason: "nothing is deployed here".to_owned() });
            let id = format!("{}/{}", entry.at, route.name);
            let port = config::PortName::new(route.port.name.as_str());
            let service = service_id(component);
            if let Some(tcp) = route.tcp_port {
                config.listeners.push(Listener {
                    id: config::ListenerId::new(format!("tcp-{tcp}")),
                    address: SocketAddr::new(http.ip(), tcp),
                    serves: Serves::Tcp { service, port },
                });
            } else {
                config.routes.push(Route {
                    id: config::RouteId::new(id),
                    host: HostPattern::new(route.host.as_deref().unwrap_or("*")),
                    path: PathPrefix::new(route.path.as_str()),
                    service,
                    port,
                    strip_prefix: false,
                });
            }
        }
    }
    for (container, endpoint) in &desired.endpoints {
        for (_, target) in &endpoint.calls {
            need(&target.component, &target.port, State::Starting);
        }
        if !endpoint.calls.is_empty() {
            config.callers.push(Caller {
                instance: config::InstanceId::new(container),
                component: config::ComponentId::new(endpoint.component.to_string()),
                handover: endpoint.socket.clone(),
                dependencies: endpoint
                    .calls
                    .iter()
                    .map(|(listener, target)| config::Dependency {
                        listener: listener.clone(),
                        service: service_id(&target.component),
                        port: config::PortName::new(target.port.name.as_str()),
                    })
                    .collect(),
            });
        }
    }
    for (container, endpoint) in &desired.endpoints {
        let known = services.get(&endpoint.component.to_string());
        let serves = |service: &Service| {
            service.revisions.iter().any(|revision| revision.id.as_str() == endpoint.revision.as_str())
        };
        if known.is_some_and(serves) {
            config.instances.push(config::Instance {
                id: config::InstanceId::new(container),
                service: service_id(&endpoint.component),
                revision: config::RevisionId::new(endpoint.revision.as_str()),
                ready: endpoint.ready,
                draining: endpoint.draining,
                dial: Dial::Handover(endpoint.socket.clone()),
                ports: BTreeMap::new(),
            });
        }
    }
    config.services = services.into_values().collect();
    config
}

fn service(traffic: &ServiceTraffic) -> Service {
    let revisions = traffic.backends.iter().map(|backend| Revision {
        id: config::RevisionId::new(backend.revision.as_str()),
        weight: backend.weight,
        labels: BTreeMap::from([("release".to_owned(), backend.release.to_string())]),
    });
    Service {
        id: service_id(&traffic.track.component),
        ports: traffic.ports.iter().map(port).collect(),
        revisions: revisions.collect(),
        state: match &traffic.state {
            ServiceState::Stopped { reason } => State::Stopped { reason: reason.clone() },
            _ => State::Serving,
        },
        rules: Vec::new(),
        balance: config::Balance::default(),
    }
}
