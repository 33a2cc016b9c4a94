//! Runtimes and routers with interceptors.

use async_trait::async_trait;

use super::Intercepted;
use crate::error::{Fault, Result};
use crate::model::{RevisionId, Template};
use crate::name::{AppEnv, TrackKey};
use crate::port::{
    BoxStream, Epoch, HostPath, InstanceId, Ordinals, RouteBinding, Router, RouterCapabilities, RouterEvent,
    RunObservation, RunSpec, Runtime, RuntimeCapabilities, RuntimeEvent, ServiceObservation, ServiceTraffic,
    SetKey, SetSpec, TrackObservation,
};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Runtime for Intercepted<dyn Runtime> {
    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }

    fn refusals(&self, template: &Template) -> Vec<Fault> {
        self.inner.refusals(template)
    }

    fn hosts(&self, template: &Template) -> Vec<(String, HostPath)> {
        self.inner.hosts(template)
    }

    async fn ensure(&self, epoch: Epoch, spec: &SetSpec) -> Result<()> {
        let object = format!("{} with {}", spec.key, spec.ordinals());
        self.around("runtime", "ensure", object, true, self.inner.ensure(epoch, spec)).await
    }

    async fn scale(&self, epoch: Epoch, key: &SetKey, ordinals: Ordinals) -> Result<()> {
        let object = format!("{key} to {ordinals}");
        self.around("runtime", "scale", object, true, self.inner.scale(epoch, key, ordinals)).await
    }

    async fn remove(&self, epoch: Epoch, key: &SetKey) -> Result<()> {
        self.around("runtime", "remove", key.to_string(), true, self.inner.remove(epoch, key)).await
    }

    async fn observe(&self, track: &TrackKey) -> Result<TrackObservation> {
        self.around("runtime", "observe", track.to_string(), false, self.inner.observe(track)).await
    }

    async fn tracks(&self) -> Result<Vec<TrackKey>> {
        self.around("runtime", "tracks", String::new(), false, self.inner.tracks()).await
    }

    async fn purge(&self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        self.around("runtime", "purge", track.to_string(), true, self.inner.purge(epoch, track)).await
    }

    async fn start_run(&self, epoch: Epoch, spec: &RunSpec) -> Result<()> {
        self.around("runtime", "start_run", spec.id.to_string(), true, self.inner.start_run(epoch, spec))
            .await
    }

    async fn observe_run(&self, id: &InstanceId) -> Result<Option<RunObservation>> {
        self.around("runtime", "observe_run", id.to_string(), false, self.inner.observe_run(id)).await
    }

    async fn remove_run(&self, epoch: Epoch, id: &InstanceId) -> Result<()> {
        self.around("runtime", "remove_run", id.to_string(), true, self.inner.remove_run(epoch, id)).await
    }

    async fn watch(&self) -> Result<BoxStream<RuntimeEvent>> {
        self.around("runtime", "watch", String::new(), false, self.inner.watch()).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Router for Intercepted<dyn Router> {
    fn capabilities(&self) -> RouterCapabilities {
        self.inner.capabilities()
    }

    async fn apply_service(&self, epoch: Epoch, traffic: &ServiceTraffic) -> Result<()> {
        let shares: Vec<(&RevisionId, u32)> =
            traffic.backends.iter().map(|backend| (&backend.revision, backend.weight)).collect();
        let object = format!("{} with {shares:?} {:?}", traffic.track, traffic.state);
        self.around("router", "apply_service", object, true, self.inner.apply_service(epoch, traffic)).await
    }

    async fn remove_service(&self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        let object = track.to_string();
        self.around("router", "remove_service", object, true, self.inner.remove_service(epoch, track)).await
    }

    async fn observe_service(&self, track: &TrackKey) -> Result<Option<ServiceObservation>> {
        let object = track.to_string();
        self.around("router", "observe_service", object, false, self.inner.observe_service(track)).await
    }

    async fn apply_routes(&self, epoch: Epoch, at: &AppEnv, routes: &[RouteBinding]) -> Result<()> {
        let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
        let object = format!("{at} with [{}]", names.join(", "));
        self.around("router", "apply_routes", object, true, self.inner.apply_routes(epoch, at, routes)).await
    }

    async fn observe_routes(&self, at: &AppEnv) -> Result<Vec<RouteBinding>> {
        self.around("router", "observe_routes", at.to_string(), false, self.inner.observe_routes(at)).await
    }

    async fn holders(&self, at: &AppEnv, wanted: &[HostPath]) -> Result<Vec<Option<AppEnv>>> {
        self.around("router", "holders", at.to_string(), false, self.inner.holders(at, wanted)).await
    }

    fn address(&self, route: &RouteBinding) -> String {
        self.inner.address(route)
    }

    fn default_host(&self, at: &AppEnv) -> String {
        self.inner.default_host(at)
    }

    async fn watch(&self) -> Result<BoxStream<RouterEvent>> {
        self.around("router", "watch", String::new(), false, self.inner.watch()).await
    }
}
