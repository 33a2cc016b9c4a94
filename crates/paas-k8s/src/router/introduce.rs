//! A service comes into a route without a share first.
//!
//! A gateway's proxies hear of routes, and of the services in them, on different ways and in no order. One that is given a share
//! for a service that it does not know yet answers 503. So a service that is new in a route has no share until the gateway has
//! accepted the route with it and the time of grace has passed; until then all shares stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use paas_core::AppEnv;
use serde::Serialize;
use tokio::time::Instant;

use super::confirm::is_accepted;
use super::grace;
use crate::build::NOBODY;
use crate::cluster::Shared;
use crate::gateway_api::{BackendRef, HTTPRoute, RouteStatus, TCPRoute};
use crate::mirror::Mirrored;
use crate::options::GatewayOptions;

/// A route of either kind. Those that this crate writes have one rule.
pub(super) trait Route: Mirrored + k8s_openapi::Resource + Serialize {
    /// The services of its rule, with their shares.
    fn services(&self) -> &[BackendRef];
    /// Gives its rule other ones.
    fn set_services(&mut self, services: Vec<BackendRef>);
    /// What gateways say about it.
    fn status(&self) -> Option<&RouteStatus>;
    /// Whether it declares the same.
    fn declares_the_same(&self, other: &Self) -> bool;
}

/// Both kinds are alike but for their types.
macro_rules! route {
    ($kind:ty) => {
        impl Route for $kind {
            fn services(&self) -> &[BackendRef] {
                self.spec.rules.first().map(|rule| rule.backend_refs.as_slice()).unwrap_or_default()
            }

            fn set_services(&mut self, services: Vec<BackendRef>) {
                if let Some(rule) = self.spec.rules.first_mut() {
                    rule.backend_refs = services;
                }
            }

            fn status(&self) -> Option<&RouteStatus> {
                self.status.as_ref()
            }

            fn declares_the_same(&self, other: &Self) -> bool {
                self.spec == other.spec && self.metadata.labels == other.metadata.labels
            }
        }
    };
}
route!(HTTPRoute);
route!(TCPRoute);

/// What gateways know, as far as this process has seen it. After a restart everything without a share counts as new again.
#[derive(Debug, Default)]
pub(crate) struct Introductions {
    /// Since when a route, by its uid, has been accepted with each of the services in it.
    since: Mutex<BTreeMap<String, BTreeMap<String, Instant>>>,
    /// The applications whose routes are as declared, with nothing held back.
    complete: Mutex<BTreeSet<AppEnv>>,
}

impl Introductions {
    /// Takes in which services a route has; answers since when it has been accepted with each.
    fn look(
        &self,
        uid: &str,
        is_accepted: bool,
        services: &BTreeMap<&str, u32>,
    ) -> BTreeMap<String, Instant> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let known = since.entry(uid.to_owned()).or_default();
        known.retain(|name, _| services.contains_key(name.as_str()));
        if is_accepted {
            let now = Instant::now();
            for name in services.keys() {
                known.entry((*name).to_owned()).or_insert(now);
            }
        }
        known.clone()
    }

    /// A route is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Something else is declared for an application.
    pub(super) fn declared(&self, at: &AppEnv) {
        self.complete.lock().unwrap_or_else(PoisonError::into_inner).remove(at);
    }

    /// The routes of an application are as declared, or something is held back; true if that is new.
    pub(super) fn written(&self, at: &AppEnv, is_complete: bool) -> bool {
        let mut complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        if is_complete { complete.insert(at.clone()) } else { complete.remove(at) }
    }

    /// Whether the routes of an application are as declared.
    pub(super) fn is_complete(&self, at: &AppEnv) -> bool {
        self.complete.lock().unwrap_or_else(PoisonError::into_inner).contains(at)
    }
}

impl Shared {
    /// Holds the shares of a route as they are, if a service that the gateway does not know would have one; whether it does.
    pub(super) fn introduce<K: Route>(
        &self,
        at: &AppEnv,
        gateway: &GatewayOptions,
        existing: &K,
        wanted: &mut K,
    ) -> bool {
        let shares: BTreeMap<&str, u32> =
            existing.services().iter().map(|it| (it.name.as_str(), it.weight)).collect();
        let meta = existing.meta();
        let is_accepted = is_accepted(gateway, meta.generation.unwrap_or_default(), existing.status());
        let since = self.introductions.look(meta.uid.as_deref().unwrap_or_default(), is_accepted, &shares);
        // Where nobody answers yet, no request is lost by another answer of the same kind.
        let serves = shares.iter().any(|(name, weight)| *weight > 0 && *name != NOBODY);
        let share_of = |name: &str| shares.get(name).copied().unwrap_or_default();
        let waits = |it: &BackendRef| -> Option<Duration> {
            if it.weight == 0 || it.name == NOBODY || share_of(&it.name) > 0 {
                return None;
            }
            let passed = since.get(&it.name).map(Instant::elapsed).unwrap_or_default();
            grace::of_services(gateway).checked_sub(passed).filter(|rest| !rest.is_zero())
        };
        let rest = wanted.services().iter().filter_map(waits).max();
        let Some(rest) = rest.filter(|_| serves) else { return false };
        let new = wanted.services().iter().filter(|it| !shares.contains_key(it.name.as_str()));
        let new: Vec<BackendRef> = new.map(|it| BackendRef { weight: 0, ..it.clone() }).collect();
        wanted.set_services([existing.services(), &new].concat());
        // Before it is accepted, the gateway's word of that wakes; then time does.
        if new.is_empty() && is_accepted {
            let (stale, at) = (self.events.stale_sender(), at.clone());
            tokio::spawn(async move {
                tokio::time::sleep(rest).await;
                let _ = stale.send(at); // nobody listening is no failure
            });
        }
        true
    }
}
