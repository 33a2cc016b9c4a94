//! The way to the gateway: what it shall do is kept here, and told to it whole whenever it changes.

mod compose;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use paas_core::model::{CallTarget, RevisionId};
use paas_core::port::{Epoch, RouteBinding, RouterEvent, ServiceTraffic};
use paas_core::{AppEnv, ComponentKey, Error, ErrorKind, Result, TrackKey};
use paas_gateway::Control;
use paas_gateway::config::Config;
use paas_gateway::handover;
use paas_gateway::process::{Launch, ensure_running, upgrade};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::error::gateway as failed;
pub(super) use compose::tcp_port;
use compose::{compose, http_listener};

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
    /// The change that brought a service its traffic, by track. What was there when this began is told by the first one.
    since: BTreeMap<String, u64>,
}

/// The first change, which tells everything.
const FIRST: u64 = 1;

impl Desired {
    /// Takes over what the router port was told, in this change.
    fn set_router(&mut self, router: RouterState, change: u64) {
        self.since.retain(|name, _| router.services.contains_key(name));
        for (name, entry) in &router.services {
            if self.router.services.get(name).is_none_or(|known| known.traffic != entry.traffic) {
                self.since.insert(name.clone(), change);
            }
        }
        self.router = router;
    }

    /// The change that brought a service its present traffic.
    fn brought_by(&self, service: &str) -> u64 {
        self.since.get(service).copied().unwrap_or(FIRST)
    }

    /// The tracks whose traffic came by a change after `before` and not after `now`.
    fn brought_between(&self, before: u64, now: u64) -> Vec<TrackKey> {
        let services = self.router.services.iter();
        let brought = services.filter(|(name, _)| {
            let change = self.brought_by(name);
            before < change && change <= now
        });
        brought.map(|(_, entry)| entry.traffic.track.clone()).collect()
    }
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
            desired: Mutex::new(Desired { router, ..Desired::default() }),
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
        self.change_as(|desired, _| change(desired))
    }

    /// Takes over what the router port was told.
    pub(super) fn set_router(&self, router: RouterState) -> u64 {
        self.change_as(|desired, number| desired.set_router(router, number))
    }

    fn change_as(&self, change: impl FnOnce(&mut Desired, u64)) -> u64 {
        let mut desired = lock(&self.desired);
        // Under the lock, so that numbers and states have the same order.
        let number = *self.asked.borrow() + 1;
        change(&mut desired, number);
        self.asked.send_replace(number);
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
        let desired = Desired { router: router.clone(), endpoints, ..Desired::default() };
        compose(&desired, 0, self.wanted).validate().map_err(|error| failed("tell the gateway", error))
    }

    /// Has the gateway told everything again, as after it was replaced.
    pub(super) fn again(&self) -> u64 {
        self.change(|_| ())
    }

    /// The traffic of a service, and whether it is in force, whatever else is on its way. Whoever sees that it is not gets
    /// an event when it is.
    pub(super) fn service(&self, name: &str) -> Option<(ServiceTraffic, bool)> {
        let desired = lock(&self.desired);
        let entry = desired.router.services.get(name)?;
        let in_force = self.followed.borrow().change >= desired.brought_by(name);
        Some((entry.traffic.clone(), in_force))
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

    /// Follows changes until the machine is closed, and tells whose traffic came into force.
    async fn follow(&self, tell: impl Fn(TrackKey)) {
        let mut asked = self.asked.subscribe();
        let mut pause = Duration::from_millis(10);
        loop {
            let pending = *asked.borrow_and_update();
            if pending > self.followed.borrow().change {
                let (change, config) = self.config();
                match self.control.apply(config).await {
                    Ok(_) => {
                        pause = Duration::from_millis(10);
                        let before = self.followed.send_replace(Followed { change, refused: None }).change;
                        let brought = lock(&self.desired).brought_between(before, change);
                        brought.into_iter().for_each(&tell);
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
        // Nobody has to listen.
        let tell = |track| drop(follower.router_events.send(RouterEvent::Service(track)));
        tokio::select! {
            () = follower.gateway.follow(tell) => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(app: &str, weight: u32) -> ServiceEntry {
        let at: AppEnv = format!("shop/prod/{app}").parse().expect("a name");
        let track = at.component("web".parse().expect("a name")).on(paas_core::ClusterName::local());
        let backend =
            paas_core::port::Backend { revision: "r1".parse().expect("a name"), weight, release: 1 };
        let state = paas_core::port::ServiceState::Serving;
        ServiceEntry {
            traffic: ServiceTraffic { track, ports: Vec::new(), backends: vec![backend], state },
            epoch: Epoch(1),
        }
    }

    fn router(entries: &[&ServiceEntry]) -> RouterState {
        let services =
            entries.iter().map(|entry| (entry.traffic.track.to_string(), (*entry).clone())).collect();
        RouterState { services, routes: BTreeMap::new() }
    }

    #[test]
    fn a_service_waits_for_its_own_change_only() {
        let (first, second, other) = (traffic("a", 1), traffic("b", 1), traffic("b", 2));
        let mut desired = Desired { router: router(&[&first]), ..Desired::default() };
        assert_eq!(
            desired.brought_between(0, 1),
            vec![first.traffic.track.clone()],
            "what was there is told at first"
        );

        desired.set_router(router(&[&first, &second]), 4);
        assert_eq!(desired.brought_by(&first.traffic.track.to_string()), FIRST);
        assert_eq!(desired.brought_between(1, 4), vec![second.traffic.track.clone()]);

        desired.set_router(router(&[&first, &other]), 9);
        assert_eq!(desired.brought_between(1, 8), Vec::new());
        assert_eq!(desired.brought_between(8, 9), vec![other.traffic.track.clone()]);
    }

    #[test]
    fn another_epoch_alone_is_no_other_traffic() {
        let entry = traffic("a", 1);
        let mut desired = Desired { router: router(&[&entry]), ..Desired::default() };
        desired.set_router(router(&[&ServiceEntry { epoch: Epoch(2), ..entry.clone() }]), 7);
        assert_eq!(desired.brought_by(&entry.traffic.track.to_string()), FIRST);
    }
}
