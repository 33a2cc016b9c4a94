//! A wrapper that lets tests stand before and after every call of a port.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Fault, Result};
use crate::model::{RevisionId, Template};
use crate::name::{AppEnv, TrackKey};
use crate::port::{
    BoxStream, ChangeStream, Document, DocumentKey, Epoch, ImageQuery, InstanceId, ListOptions, Page,
    Registry, ResolvedImage, Revision, RouteBinding, Router, RouterCapabilities, RouterEvent, RunObservation,
    RunSpec, Runtime, RuntimeCapabilities, RuntimeEvent, ServiceObservation, ServiceTraffic, SetKey, SetSpec,
    Store, StoreLimits, TrackObservation, Txn, Write,
};

/// A call of a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The port: `runtime`, `router`, `store` or `registry`.
    pub port: &'static str,
    /// The method.
    pub operation: &'static str,
    /// What it is about, for people.
    pub object: String,
    /// Whether it may change something. A transaction without writes does not.
    pub mutates: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} {}", self.port, self.operation, self.object)
    }
}

/// Stands before and after the calls of a port.
#[async_trait]
pub trait Interceptor: fmt::Debug + Send + Sync + 'static {
    /// Before the call; an error is returned in its place and nothing happens.
    async fn before(&self, call: &Call) -> Result<()>;

    /// After the call succeeded; an error is returned although it took effect.
    async fn after(&self, call: &Call) -> Result<()>;
}

/// A port with interceptors: `before` is asked in their order, `after` in the opposite one.
#[derive(Debug)]
pub struct Intercepted<P: ?Sized> {
    inner: Arc<P>,
    interceptors: Vec<Arc<dyn Interceptor>>,
}

impl<P: ?Sized> Intercepted<P> {
    /// Wraps a port.
    pub fn new(inner: Arc<P>, interceptors: Vec<Arc<dyn Interceptor>>) -> Self {
        Self { inner, interceptors }
    }

    async fn around<T>(
        &self,
        port: &'static str,
        operation: &'static str,
        object: String,
        mutates: bool,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let describe = Call { port, operation, object, mutates };
        for interceptor in &self.interceptors {
            interceptor.before(&describe).await?;
        }
        let answer = call.await?;
        for interceptor in self.interceptors.iter().rev() {
            interceptor.after(&describe).await?;
        }
        Ok(answer)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Runtime for Intercepted<dyn Runtime> {
    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }

    fn refusals(&self, template: &Template) -> Vec<Fault> {
        self.inner.refusals(template)
    }

    async fn ensure(&self, epoch: Epoch, spec: &SetSpec) -> Result<()> {
        let object = format!("{} with {}", spec.key, spec.count);
        self.around("runtime", "ensure", object, true, self.inner.ensure(epoch, spec)).await
    }

    async fn scale(&self, epoch: Epoch, key: &SetKey, count: u32) -> Result<()> {
        let object = format!("{key} to {count}");
        self.around("runtime", "scale", object, true, self.inner.scale(epoch, key, count)).await
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

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Intercepted<dyn Store> {
    fn limits(&self) -> StoreLimits {
        self.inner.limits()
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.around("store", "get", key.to_string(), false, self.inner.get(key)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page> {
        self.around("store", "list", options.kind.clone(), false, self.inner.list(options)).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        let written: Vec<String> = txn
            .writes
            .iter()
            .map(|write| match write {
                Write::Put { key, .. } => format!("put {key}"),
                Write::Delete { key } => format!("delete {key}"),
            })
            .collect();
        let mutates = !written.is_empty();
        self.around("store", "commit", written.join(", "), mutates, self.inner.commit(txn)).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.around("store", "revision", String::new(), false, self.inner.revision()).await
    }

    async fn watch(&self, from: Revision) -> Result<ChangeStream> {
        self.around("store", "watch", from.to_string(), false, self.inner.watch(from)).await
    }

    async fn compact(&self, up_to: Revision) -> Result<()> {
        self.around("store", "compact", up_to.to_string(), true, self.inner.compact(up_to)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for Intercepted<dyn Registry> {
    async fn resolve(&self, query: &ImageQuery) -> Result<ResolvedImage> {
        let object = query.reference.clone();
        self.around("registry", "resolve", object, false, self.inner.resolve(query)).await
    }

    async fn list(&self, query: &ImageQuery, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let object = query.reference.clone();
        self.around("registry", "list", object, false, self.inner.list(query, after, limit)).await
    }
}
