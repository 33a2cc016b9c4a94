//! Which instance answers a request, and how many did.

use std::collections::BTreeMap;

use super::{Refusal, Served, SimulatedCluster, State, Tick};
use crate::error::{Error, ErrorKind, Result};
use crate::model::RevisionId;
use crate::name::{AppEnv, ComponentKey, TrackKey};
use crate::port::{
    Epoch, HostPath, Latency, RouteBinding, RouterEvent, ServiceObservation, ServiceState, ServiceTraffic,
    TrafficCount, TrafficFigures, TrafficSource,
};

/// The upper bound of the one bucket of latencies, in microseconds: what is simulated takes no time.
const NO_TIME_US: u64 = 1000;

/// What was counted, by source, component and revision.
pub(super) type Counted = BTreeMap<(TrafficSource, ComponentKey, Option<RevisionId>), TrafficFigures>;

/// The traffic of a track: what was applied last, and what is in force.
#[derive(Debug)]
pub(in crate::memory) struct Service {
    applied: ServiceTraffic,
    pub(super) in_force: ServiceTraffic,
    life: u64,
    /// The credit of each revision in the smooth weighted round robin.
    credit: BTreeMap<RevisionId, i64>,
    turn: usize,
}

impl Service {
    pub(super) fn weights(&self) -> BTreeMap<RevisionId, u32> {
        self.in_force.backends.iter().map(|backend| (backend.revision.clone(), backend.weight)).collect()
    }
}

impl SimulatedCluster {
    /// Sends a request to the router as a client outside would.
    ///
    /// # Errors
    /// A [`Refusal`] with 404 if no access point matches, with 503 if nothing can answer.
    pub fn request(&self, host: &str, path: &str) -> Result<Served, Refusal> {
        self.inner.with(|state| {
            let Some(route) = state.route_for(host, path) else {
                let reason = format!("no access point for {host}{path}");
                return Err(Refusal { status: 404, reason });
            };
            let source = TrafficSource::Route { name: route.name };
            state.serve_counted(source, &route.track)
        })
    }

    /// Sends a request to a TCP port of the router.
    ///
    /// # Errors
    /// A [`Refusal`] as for [`SimulatedCluster::request`].
    pub fn connect(&self, port: u16) -> Result<Served, Refusal> {
        self.inner.with(|state| {
            let mut routes = state.routes.values().flatten();
            let Some(route) = routes.find(|route| route.tcp_port == Some(port)) else {
                return Err(Refusal { status: 404, reason: format!("no access point on port {port}") });
            };
            let (name, track) = (route.name.clone(), route.track.clone());
            state.serve_counted(TrafficSource::Route { name }, &track)
        })
    }

    /// Sends a request to a track as this component would.
    ///
    /// # Errors
    /// A [`Refusal`] as for [`SimulatedCluster::request`].
    pub fn call(&self, caller: &ComponentKey, track: &TrackKey) -> Result<Served, Refusal> {
        let source = TrafficSource::Component { component: caller.clone() };
        self.inner.with(|state| state.serve_counted(source, track))
    }
}

impl State {
    pub(in crate::memory) fn apply_service(&mut self, epoch: Epoch, traffic: &ServiceTraffic) -> Result<()> {
        self.fence("apply the traffic of a track", format!("service {}", traffic.track), epoch)?;
        let lag = self.router_lag;
        let service = self.services.entry(traffic.track.clone()).or_insert_with(|| Service {
            applied: ServiceTraffic { backends: Vec::new(), ..traffic.clone() },
            in_force: ServiceTraffic { backends: Vec::new(), ..traffic.clone() },
            life: 0,
            credit: BTreeMap::new(),
            turn: 0,
        });
        if service.applied == *traffic {
            return Ok(());
        }
        service.applied = traffic.clone();
        service.life += 1;
        let life = service.life;
        if lag.is_zero() {
            self.service_tick(&traffic.track, life);
        } else {
            self.after(lag, Tick::Service { track: traffic.track.clone(), life });
            self.effects.router.push(RouterEvent::Service(traffic.track.clone()));
        }
        Ok(())
    }

    pub(super) fn service_tick(&mut self, track: &TrackKey, life: u64) {
        let Some(service) = self.services.get_mut(track).filter(|service| service.life == life) else {
            return;
        };
        service.in_force = service.applied.clone();
        service.credit.clear();
        self.effects.router.push(RouterEvent::Service(track.clone()));
    }

    pub(in crate::memory) fn remove_service(&mut self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        self.fence("remove the traffic of a track", format!("service {track}"), epoch)?;
        if self.services.remove(track).is_some() {
            self.effects.router.push(RouterEvent::Service(track.clone()));
        }
        Ok(())
    }

    pub(in crate::memory) fn observe_service(&self, track: &TrackKey) -> Option<ServiceObservation> {
        self.services.get(track).map(|service| ServiceObservation {
            weights: service.weights(),
            state: service.in_force.state.clone(),
            confirmed: service.in_force == service.applied,
        })
    }

    pub(in crate::memory) fn apply_routes(
        &mut self,
        epoch: Epoch,
        at: &AppEnv,
        routes: &[RouteBinding],
    ) -> Result<()> {
        const OPERATION: &str = "apply access points";
        self.fence(OPERATION, format!("routes {at}"), epoch)?;
        for route in routes {
            let taken = self.routes.iter().filter(|(owner, _)| *owner != at).find_map(|(owner, others)| {
                others.iter().find(|other| same_place(route, other)).map(|other| (owner, other))
            });
            if let Some((owner, other)) = taken {
                return Err(Error::new(ErrorKind::Conflict, OPERATION)
                    .with_context("application", at)
                    .with_context("route", &route.name)
                    .with_context("taken by", format!("{owner} {}", other.name))
                    .with_source("another application has the same host and path, or port")
                    .with_remedy("Choose another host, path or port, or remove the other access point."));
            }
        }
        let hosts = routes.iter().filter_map(|route| Some(HostPath::new(route.host.as_ref()?, &route.path)));
        for host in hosts {
            if let Some(owner) = self.holder(at, &host) {
                return Err(Error::new(ErrorKind::Conflict, OPERATION)
                    .with_context("application", at)
                    .with_context("host", host)
                    .with_context("taken by", owner)
                    .with_source("another application has the same host and path in its manifests")
                    .with_remedy("Choose another host or path, or remove the other one."));
            }
        }
        if self.routes.get(at).map_or(&[][..], Vec::as_slice) == routes {
            return Ok(());
        }
        if routes.is_empty() {
            self.routes.remove(at);
        } else {
            self.routes.insert(at.clone(), routes.to_vec());
        }
        self.effects.router.push(RouterEvent::Routes(at.clone()));
        Ok(())
    }

    pub(in crate::memory) fn observe_routes(&self, at: &AppEnv) -> Vec<RouteBinding> {
        self.routes.get(at).cloned().unwrap_or_default()
    }

    /// The access point for a request: an exact host before a wildcard, then the longest path.
    fn route_for(&self, host: &str, path: &str) -> Option<RouteBinding> {
        self.routes
            .values()
            .flatten()
            .filter_map(|route| {
                let exact = host_match(route.host.as_deref()?, host)?;
                path_match(&route.path, path).then_some(((exact, route.path.len()), route))
            })
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, route)| route.clone())
    }

    /// Lets a request be served, and counts how that went.
    fn serve_counted(&mut self, source: TrafficSource, track: &TrackKey) -> Result<Served, Refusal> {
        let served = self.serve(track);
        let revision = served.as_ref().ok().map(|served| served.revision.clone());
        let figures = self.counted.entry((source, track.component.clone(), revision)).or_default();
        let ok = u64::from(served.is_ok());
        figures.responses.successful += ok;
        figures.responses.server_error += 1 - ok;
        figures.router_errors += 1 - ok;
        figures.latency.add(&Latency { bounds_us: vec![NO_TIME_US], counts: vec![1, 0], sum_us: 0 });
        served
    }

    pub(in crate::memory) fn counted(&self) -> Vec<TrafficCount> {
        let count = |((source, component, revision), figures): (&(_, _, _), &TrafficFigures)| TrafficCount {
            source: TrafficSource::clone(source),
            component: ComponentKey::clone(component),
            revision: Option::clone(revision),
            figures: figures.clone(),
        };
        self.counted.iter().map(count).collect()
    }

    fn serve(&mut self, track: &TrackKey) -> Result<Served, Refusal> {
        let unavailable = |reason: String| Refusal { status: 503, reason };
        let Some(service) = self.services.get(track) else {
            return Err(unavailable(format!("{track} has no service")));
        };
        if let ServiceState::Stopped { reason } = &service.in_force.state {
            return Err(unavailable(reason.clone()));
        }
        let able: Vec<(RevisionId, u32, u64, Vec<_>)> = service
            .in_force
            .backends
            .iter()
            .filter(|backend| backend.weight > 0)
            .map(|backend| {
                let ready = self.ready_of(track, &backend.revision);
                (backend.revision.clone(), backend.weight, backend.release, ready)
            })
            .filter(|(_, _, _, ready)| !ready.is_empty())
            .collect();
        let total: i64 = able.iter().map(|(_, weight, _, _)| i64::from(*weight)).sum();
        let Some(service) = self.services.get_mut(track) else {
            return Err(unavailable(format!("{track} has no service")));
        };
        for (revision, weight, _, _) in &able {
            *service.credit.entry(revision.clone()).or_default() += i64::from(*weight);
        }
        let credit = |revision: &RevisionId| service.credit.get(revision).copied().unwrap_or_default();
        let Some((revision, _, release, ready)) =
            able.into_iter().rev().max_by_key(|(revision, ..)| credit(revision))
        else {
            return Err(unavailable(format!("no instance of {track} is ready")));
        };
        *service.credit.entry(revision.clone()).or_default() -= total;
        service.turn = service.turn.wrapping_add(1);
        let instance = ready[service.turn % ready.len()].clone();
        Ok(Served { revision, release, instance })
    }
}

fn same_place(a: &RouteBinding, b: &RouteBinding) -> bool {
    match (a.tcp_port, b.tcp_port) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.host == b.host && a.path == b.path,
        _ => false,
    }
}

/// Whether a declared host covers a request's, and if so, whether it is exact.
fn host_match(declared: &str, host: &str) -> Option<bool> {
    if let Some(suffix) = declared.strip_prefix('*') {
        let covers = host.len() > suffix.len() && host.ends_with(suffix);
        return covers.then_some(false);
    }
    (declared == host).then_some(true)
}

/// Whether a path lies under a prefix, by whole segments.
fn path_match(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
