//! When a change of traffic is in force.
//!
//! A gateway says of a route that it is accepted and its references are found, and of which generation it speaks. Its proxies
//! follow a little later, which nobody says: they are given a time of grace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use paas_core::port::{RouterEvent, ServiceTraffic};
use paas_core::{Result, TrackKey};
use tokio::time::Instant;

use super::grace;
use super::introduce::Route;
use crate::cluster::Shared;
use crate::error::failed;
use crate::gateway_api::{HTTPRoute, RouteParentStatus, RouteStatus, TCPRoute};
use crate::mirror::Source;
use crate::options::GatewayOptions;
use crate::scheme::keys;

/// Since when what is declared is accepted, as long as it stays the same.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    since: Mutex<BTreeMap<TrackKey, Accepted>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Accepted {
    what: Vec<Shares>,
    at: Instant,
}

/// The shares of a route by its name: those of nothing change what nobody does, and need no confirmation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Shares {
    route: String,
    services: Vec<(String, u32)>,
}

impl Shares {
    fn of<K: Route>(route: &K) -> Self {
        let services = route.services().iter().filter(|it| it.weight > 0);
        Self {
            route: route.meta().name.clone().unwrap_or_default(),
            services: services.map(|it| (it.name.clone(), it.weight)).collect(),
        }
    }
}

/// The routes of a track, once they are accepted.
#[derive(Debug, Default)]
struct AcceptedRoutes {
    shares: Vec<Shares>,
    /// How long until all requests follow them.
    grace: Duration,
}

impl Confirmations {
    /// Forgets what was accepted: something else is declared now.
    pub(crate) fn changed(&self, track: &TrackKey) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(track);
    }

    /// How long it has been accepted, and whether this is the first that is heard of it.
    fn accepted(&self, track: &TrackKey, what: Vec<Shares>) -> (Duration, bool) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match since.get(track).filter(|known| known.what == what) {
            Some(known) => (now - known.at, false),
            None => {
                since.insert(track.clone(), Accepted { what, at: now });
                (Duration::ZERO, true)
            }
        }
    }
}

impl Shared {
    /// Whether declared traffic is in force everywhere.
    pub(super) async fn is_confirmed(&self, traffic: &ServiceTraffic) -> Result<bool> {
        let track = &traffic.track;
        let mut what = Vec::new();
        let grace = match &self.options.gateway {
            None => grace::OF_NODES,
            Some(gateway) => {
                if !self.introductions.is_complete(&track.component.at) {
                    return Ok(false);
                }
                let Some(accepted) = self.accepted_routes(gateway, track).await? else { return Ok(false) };
                what = accepted.shares;
                if what.is_empty() { grace::OF_NODES } else { accepted.grace }
            }
        };
        let (passed, is_first) = self.confirmations.accepted(track, what);
        if passed >= grace {
            return Ok(true);
        }
        if is_first {
            let (events, track) = (self.events.router_sender(), track.clone());
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                let _ = events.send(RouterEvent::Service(track)); // nobody listening is no failure
            });
        }
        Ok(false)
    }

    /// The routes of a track; nothing if one is not accepted as it is now.
    async fn accepted_routes(
        &self,
        gateway: &GatewayOptions,
        track: &TrackKey,
    ) -> Result<Option<AcceptedRoutes>> {
        let mut routes = AcceptedRoutes::default();
        if !self.accepted_kind::<HTTPRoute>(gateway, track, &mut routes).await?
            || self.features.tcp_routes
                && !self.accepted_kind::<TCPRoute>(gateway, track, &mut routes).await?
        {
            return Ok(None);
        }
        routes.shares.sort();
        Ok(Some(routes))
    }

    /// Adds a track's routes of one kind; false if one is not accepted as it is now.
    async fn accepted_kind<K: Route>(
        &self,
        gateway: &GatewayOptions,
        track: &TrackKey,
        routes: &mut AcceptedRoutes,
    ) -> Result<bool> {
        let installation = self.installation();
        let component = &track.component;
        let labels = BTreeMap::from([
            (installation.key(keys::INSTALLATION), installation.id().to_owned()),
            (installation.key(keys::APP), component.at.app.to_string()),
            (installation.key(keys::COMPONENT), component.component.to_string()),
            (installation.key(keys::CLUSTER), track.cluster.to_string()),
        ]);
        let namespace = self.namespace(&component.at.env_ref());
        let found = self.list::<K>(Source::Mirror, &namespace, &labels).await;
        let found = found.map_err(|error| failed("observe traffic", error).with_context("track", track))?;
        routes.shares.extend(found.iter().map(|route| Shares::of(&**route)));
        let graces = found.iter().map(|route| grace::of_shares(gateway, route.status()));
        routes.grace = graces.fold(routes.grace, Duration::max);
        let accepted = |route: &Arc<K>| {
            is_accepted(gateway, route.meta().generation.unwrap_or_default(), route.status())
        };
        Ok(found.iter().all(accepted))
    }
}

/// What is said about a route by those who implement the gateway.
pub(super) fn parents<'a>(
    gateway: &GatewayOptions,
    status: Option<&'a RouteStatus>,
) -> impl Iterator<Item = &'a RouteParentStatus> {
    let parents = status.map(|status| status.parents.as_slice()).unwrap_or_default();
    parents.iter().filter(|parent| parent.parent_ref.name == gateway.name)
}

/// Whether the gateway has accepted a route, with its references, in this generation.
pub(super) fn is_accepted(gateway: &GatewayOptions, generation: i64, status: Option<&RouteStatus>) -> bool {
    let mut ours = parents(gateway, status).peekable();
    ours.peek().is_some()
        && ours.all(|parent| {
            ["Accepted", "ResolvedRefs"].iter().all(|kind| {
                parent.conditions.iter().any(|it| {
                    it.type_ == *kind && it.status == "True" && it.observed_generation == Some(generation)
                })
            })
        })
}
