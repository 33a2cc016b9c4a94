//! The cluster as a [`Router`].
//!
//! What the platform declares is in two places: the traffic of a track in an annotation of its component's service, the access
//! points of an application in a config map. Both carry the epoch and change by one write each, with the version that was
//! looked at as precondition. The routes of the Gateway API are derived from them, by whoever looks: the same declarations
//! and the same pods give the same routes, so that two servers that do it at once do the same. Only when a service is new in a
//! route does it matter who looks: the first that has seen the gateway accept it gives it its share.

mod addresses;
mod confirm;
mod grace;
mod introduce;
mod keeper;
mod l4;
mod places;
mod routes;
mod service;
mod turns;

use async_trait::async_trait;
use paas_core::port::{
    BoxStream, Epoch, HostPath, RouteBinding, Router, RouterCapabilities, RouterEvent, ServiceObservation,
    ServiceTraffic,
};
use paas_core::{AppEnv, Result, TrackKey};

use crate::cluster::KubernetesCluster;

pub(crate) use confirm::Confirmations;
pub(crate) use introduce::Introductions;
pub(crate) use keeper::keep;
pub(crate) use turns::Turns;

#[async_trait]
impl Router for KubernetesCluster {
    fn capabilities(&self) -> RouterCapabilities {
        let features = self.shared.features;
        RouterCapabilities {
            fenced: true,
            weights: features.http_routes,
            matches: false,
            mirror: false,
            tcp: features.tcp_routes || !features.http_routes,
            wildcard_hosts: features.http_routes,
        }
    }

    async fn apply_service(&self, epoch: Epoch, traffic: &ServiceTraffic) -> Result<()> {
        self.shared.apply_traffic(epoch, traffic).await
    }

    async fn remove_service(&self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        self.shared.remove_traffic(epoch, track).await
    }

    async fn observe_service(&self, track: &TrackKey) -> Result<Option<ServiceObservation>> {
        self.shared.observe_traffic(track).await
    }

    async fn apply_routes(&self, epoch: Epoch, at: &AppEnv, routes: &[RouteBinding]) -> Result<()> {
        self.shared.apply_bindings(epoch, at, routes).await
    }

    async fn observe_routes(&self, at: &AppEnv) -> Result<Vec<RouteBinding>> {
        self.shared.observe_bindings(at).await
    }

    async fn holders(&self, at: &AppEnv, wanted: &[HostPath]) -> Result<Vec<Option<AppEnv>>> {
        self.shared.holders(at, wanted).await
    }

    fn address(&self, route: &RouteBinding) -> String {
        self.shared.address(route)
    }

    fn default_host(&self, at: &AppEnv) -> String {
        self.shared.default_host(at)
    }

    async fn watch(&self) -> Result<BoxStream<RouterEvent>> {
        Ok(self.shared.events.router())
    }
}
