//! When a change of traffic is in force.
//!
//! A gateway says of a route that it is accepted and its references are found, and of which generation it speaks. Its proxies
//! follow a little later, which nobody says: they are given a time of grace.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use paas_core::port::{RouterEvent, ServiceTraffic};
use paas_core::{Result, TrackKey};
use tokio::time::Instant;

use crate::cluster::Shared;
use crate::error::failed;
use crate::gateway_api::{HTTPRoute, RouteStatus, TCPRoute};
use crate::options::GatewayOptions;
use crate::scheme::keys;

/// Since when what is declared is accepted, as long as it stays the same.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    since: Mutex<BTreeMap<TrackKey, Accepted>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Accepted {
    /// The routes with their generations.
    what: Vec<(String, i64)>,
    at: Instant,
}

impl Confirmations {
    /// Forgets what was accepted: something else is declared now.
    pub(crate) fn changed(&self, track: &TrackKey) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(track);
    }

    /// How long it has been accepted, and whether this is the first that is heard of it.
    fn accepted(&self, track: &TrackKey, what: Vec<(String, i64)>) -> (Duration, bool) {
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
            None => Duration::from_millis(500), // nodes follow services within moments, and nobody says when
            Some(gateway) => {
                if !self.introductions.is_complete(&track.component.at) {
                    return Ok(false);
                }
                let Some(routes) = self.accepted_routes(gateway, track).await? else { return Ok(false) };
                what = routes;
                gateway.grace
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

    /// The routes of a track with their generations; nothing if one is not accepted as it is now.
    async fn accepted_routes(
        &self,
        gateway: &GatewayOptions,
        track: &TrackKey,
    ) -> Result<Option<Vec<(String, i64)>>> {
        let error = |error| failed("observe traffic", error).with_context("track", track);
        let installation = self.installation();
        let component = &track.component;
        let selector = format!(
            "{},{}={},{}={},{}={}",
            installation.selector(),
            installation.key(keys::APP),
            component.at.app,
            installation.key(keys::COMPONENT),
            component.component,
            installation.key(keys::CLUSTER),
            track.cluster,
        );
        let selector = ListParams::default().labels(&selector);
        let namespace = self.namespace(&component.at.env_ref());
        let http: Api<HTTPRoute> = self.api(&namespace);
        let mut seen: Vec<_> = http
            .list(&selector)
            .await
            .map_err(error)?
            .items
            .into_iter()
            .map(|route| (route.metadata, route.status))
            .collect();
        if self.features.tcp_routes {
            let tcp: Api<TCPRoute> = self.api(&namespace);
            let tcp = tcp.list(&selector).await.map_err(error)?;
            seen.extend(tcp.items.into_iter().map(|route| (route.metadata, route.status)));
        }
        let mut routes = Vec::new();
        for (meta, status) in seen {
            let generation = meta.generation.unwrap_or_default();
            if !is_accepted(gateway, generation, status.as_ref()) {
                return Ok(None);
            }
            routes.push((meta.name.unwrap_or_default(), generation));
        }
        routes.sort();
        Ok(Some(routes))
    }
}

/// Whether the gateway has accepted a route, with its references, in this generation.
pub(super) fn is_accepted(gateway: &GatewayOptions, generation: i64, status: Option<&RouteStatus>) -> bool {
    let parents = status.map(|status| status.parents.as_slice()).unwrap_or_default();
    let mut ours = parents.iter().filter(|parent| parent.parent_ref.name == gateway.name).peekable();
    ours.peek().is_some()
        && ours.all(|parent| {
            ["Accepted", "ResolvedRefs"].iter().all(|kind| {
                parent.conditions.iter().any(|it| {
                    it.type_ == *kind && it.status == "True" && it.observed_generation == Some(generation)
                })
            })
        })
}
