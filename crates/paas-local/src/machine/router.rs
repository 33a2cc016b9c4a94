//! The machine as a [`Router`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use paas_core::port::{
    BoxStream, Epoch, HostPath, RouteBinding, Router, RouterCapabilities, RouterEvent, ServiceObservation,
    ServiceTraffic,
};
use paas_core::{AppEnv, Error, ErrorKind, Result, TrackKey};
use tokio::sync::broadcast;

use super::LocalMachine;
use super::gateway::{RouterState, RoutesEntry, ServiceEntry};
use super::set::check_epoch;

#[async_trait]
impl Router for LocalMachine {
    fn capabilities(&self) -> RouterCapabilities {
        RouterCapabilities {
            fenced: true,
            weights: true,
            matches: false,
            mirror: false,
            tcp: true,
            wildcard_hosts: true,
        }
    }

    async fn apply_service(&self, epoch: Epoch, traffic: &ServiceTraffic) -> Result<()> {
        let name = traffic.track.to_string();
        let changed = self.change_router(|router| {
            if let Some(entry) = router.services.get(&name) {
                check_epoch(entry.epoch, epoch, &name)?;
            }
            let entry = ServiceEntry { traffic: traffic.clone(), epoch };
            Ok(router.services.insert(name.clone(), entry.clone()) != Some(entry))
        })?;
        // Whoever watches is told by the gateway's follower.
        self.in_force(changed, None).await
    }

    async fn remove_service(&self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        let name = track.to_string();
        let changed = self.change_router(|router| {
            if let Some(entry) = router.services.get(&name) {
                check_epoch(entry.epoch, epoch, &name)?;
            }
            Ok(router.services.remove(&name).is_some())
        })?;
        self.in_force(changed, Some(RouterEvent::Service(track.clone()))).await
    }

    async fn observe_service(&self, track: &TrackKey) -> Result<Option<ServiceObservation>> {
        let seen = self.shared.gateway.service(&track.to_string());
        Ok(seen.map(|(traffic, confirmed)| ServiceObservation {
            weights: traffic.backends.into_iter().map(|backend| (backend.revision, backend.weight)).collect(),
            state: traffic.state,
            confirmed,
        }))
    }

    async fn apply_routes(&self, epoch: Epoch, at: &AppEnv, routes: &[RouteBinding]) -> Result<()> {
        let name = at.to_string();
        let wanted =
            (!routes.is_empty()).then(|| RoutesEntry { at: at.clone(), routes: routes.to_vec(), epoch });
        let mut before = None;
        let changed = self.change_router(|router| {
            before = router.routes.get(&name).cloned();
            if let Some(entry) = &before {
                check_epoch(entry.epoch, epoch, at)?;
            }
            for (index, route) in routes.iter().enumerate() {
                is_free(router, at, route)?;
                is_said_once(&routes[..index], route)?;
            }
            put(router, &name, wanted.clone());
            Ok(before != wanted)
        })?;
        let outcome = self.in_force(changed, Some(RouterEvent::Routes(at.clone()))).await;
        if outcome.as_ref().is_err_and(|error| error.kind() != ErrorKind::Unavailable) {
            // A port that cannot be had would keep every later change from coming into force.
            self.change_router(|router| {
                let ours = router.routes.get(&name) == wanted.as_ref();
                if ours {
                    put(router, &name, before);
                }
                Ok(ours)
            })?;
        }
        outcome
    }

    async fn observe_routes(&self, at: &AppEnv) -> Result<Vec<RouteBinding>> {
        let router = self.shared.gateway.router();
        Ok(router.routes.get(&at.to_string()).map(|entry| entry.routes.clone()).unwrap_or_default())
    }

    async fn holders(&self, at: &AppEnv, wanted: &[HostPath]) -> Result<Vec<Option<AppEnv>>> {
        let router = self.shared.gateway.router();
        let others = router.routes.values().filter(|entry| entry.at != *at);
        let has = |route: &RouteBinding| Some(HostPath::new(route.host.as_ref()?, &route.path));
        let taken: BTreeMap<HostPath, &AppEnv> = others
            .flat_map(|entry| entry.routes.iter().filter_map(has).map(|host| (host, &entry.at)))
            .collect();
        Ok(wanted.iter().map(|host| taken.get(host).copied().cloned()).collect())
    }

    fn address(&self, route: &RouteBinding) -> String {
        let gateway = self.gateway_address();
        match (route.tcp_port, &route.host) {
            (Some(port), _) => format!("{}:{port}", gateway.ip()),
            (None, host) => {
                let host = host.clone().unwrap_or_else(|| gateway.ip().to_string());
                let port = if gateway.port() == 80 { String::new() } else { format!(":{}", gateway.port()) };
                format!("http://{host}{port}{}", route.path)
            }
        }
    }

    fn default_host(&self, at: &AppEnv) -> String {
        format!("{}-{}-{}.localhost", at.app, at.env, at.org)
    }

    async fn watch(&self) -> Result<BoxStream<RouterEvent>> {
        let receiver = self.shared.router_events.subscribe();
        Ok(Box::pin(futures::stream::unfold(Some(receiver), |receiver| async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Ok(event) => Some((Ok(event), Some(receiver))),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    Some((Err(Error::new(ErrorKind::Lagged, "watch the gateway")), None))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })))
    }
}

impl LocalMachine {
    /// Changes what the gateway is told: on disk first, then to it. Gives the number of the change, or nothing if it
    /// changed nothing.
    fn change_router(&self, change: impl FnOnce(&mut RouterState) -> Result<bool>) -> Result<Option<u64>> {
        let shared = &self.shared;
        // One change at a time, from reading to writing.
        let _turn = shared.routing();
        shared.check_open()?;
        let mut router = shared.gateway.router();
        if !change(&mut router)? {
            return Ok(None);
        }
        shared.gateway.check(&router)?;
        shared.documents.put_router(&router)?;
        Ok(Some(shared.gateway.set_router(router)))
    }

    /// Waits until a change is in force, and tells of it.
    async fn in_force(&self, change: Option<u64>, event: Option<RouterEvent>) -> Result<()> {
        let Some(change) = change else { return Ok(()) };
        self.shared.gateway.in_force(change).await?;
        // Nobody has to listen.
        let _ = event.map(|event| self.shared.router_events.send(event));
        Ok(())
    }
}

fn put(router: &mut RouterState, name: &str, entry: Option<RoutesEntry>) {
    match entry {
        Some(entry) => drop(router.routes.insert(name.to_owned(), entry)),
        None => drop(router.routes.remove(name)),
    }
}

/// What access points must not have in common.
fn address(route: &RouteBinding) -> (Option<&str>, &str, Option<u16>) {
    match route.tcp_port {
        Some(port) => (None, "", Some(port)),
        None => (route.host.as_deref(), &route.path, None),
    }
}

/// Refuses an address that the same application has given already.
fn is_said_once(earlier: &[RouteBinding], route: &RouteBinding) -> Result<()> {
    let Some(other) = earlier.iter().find(|other| address(other) == address(route)) else { return Ok(()) };
    Err(Error::new(ErrorKind::Conflict, "give an access point its address")
        .with_context("route", &route.name)
        .with_context("other", &other.name)
        .with_remedy("Two access points of the application have the same address: leave one of them out."))
}

/// Refuses an address that another application has.
fn is_free(router: &RouterState, at: &AppEnv, route: &RouteBinding) -> Result<()> {
    let others = router.routes.values().filter(|entry| entry.at != *at);
    let taken: BTreeMap<_, _> = others
        .flat_map(|entry| entry.routes.iter().map(|other| (address(other), (&entry.at, other))))
        .collect();
    let Some((owner, other)) = taken.get(&address(route)) else { return Ok(()) };
    let shown = match route.tcp_port {
        Some(port) => format!("TCP port {port}"),
        None => format!("{}{}", route.host.as_deref().unwrap_or("*"), route.path),
    };
    Err(Error::new(ErrorKind::Conflict, "give an access point its address")
        .with_context("address", shown)
        .with_context("application", owner)
        .with_context("route", &other.name)
        .with_remedy("Another application has this address: choose another host, path or port."))
}
