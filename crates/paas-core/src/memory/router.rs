//! The router of a simulated cluster.

use std::sync::Arc;

use async_trait::async_trait;

use super::cluster::Inner;
use crate::error::Result;
use crate::name::{AppEnv, TrackKey};
use crate::port::{
    BoxStream, Epoch, HostPath, RouteBinding, Router, RouterCapabilities, RouterEvent, ServiceObservation,
    ServiceTraffic, Traffic, TrafficCount,
};

/// The router of a [`SimulatedCluster`](super::SimulatedCluster); it sees which of the cluster's instances are ready.
#[derive(Debug, Clone)]
pub struct SimulatedRouter(pub(super) Arc<Inner>);

#[async_trait]
impl Router for SimulatedRouter {
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
        self.0.with(|state| state.apply_service(epoch, traffic))
    }

    async fn remove_service(&self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        self.0.with(|state| state.remove_service(epoch, track))
    }

    async fn observe_service(&self, track: &TrackKey) -> Result<Option<ServiceObservation>> {
        Ok(self.0.with(|state| state.observe_service(track)))
    }

    async fn apply_routes(&self, epoch: Epoch, at: &AppEnv, routes: &[RouteBinding]) -> Result<()> {
        self.0.with(|state| state.apply_routes(epoch, at, routes))
    }

    async fn observe_routes(&self, at: &AppEnv) -> Result<Vec<RouteBinding>> {
        Ok(self.0.with(|state| state.observe_routes(at)))
    }

    async fn holders(&self, at: &AppEnv, wanted: &[HostPath]) -> Result<Vec<Option<AppEnv>>> {
        Ok(self.0.with(|state| wanted.iter().map(|host| state.holder(at, host).cloned()).collect()))
    }

    fn address(&self, route: &RouteBinding) -> String {
        match (route.tcp_port, &route.host) {
            (Some(port), _) => format!("localhost:{port}"),
            (None, Some(host)) => format!("http://{host}{}", route.path),
            (None, None) => format!("http://{}{}", self.default_host(&route.track.component.at), route.path),
        }
    }

    fn default_host(&self, at: &AppEnv) -> String {
        format!("{}-{}-{}.localhost", at.app, at.env, at.org)
    }

    async fn watch(&self) -> Result<BoxStream<RouterEvent>> {
        Ok(self.0.watch_router())
    }
}

#[async_trait]
impl Traffic for SimulatedRouter {
    async fn counted(&self) -> Result<Vec<TrafficCount>> {
        Ok(self.0.with(|state| state.counted()))
    }
}
