//! A wrapper that lets tests stand before and after every call of a port.

mod access;
mod cluster;
mod instances;
mod storage;
mod surroundings;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::Result;
use crate::port::ClusterPorts;

/// A call of a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The port: `runtime`, `router`, `logs`, `exec`, `metrics`, `traffic`, `nodes`, `spaces`, `store`, `registry`, `key_ring`, `authorizer`
    /// or `admission`.
    pub port: &'static str,
    /// The method.
    pub operation: &'static str,
    /// What it is about, for people.
    pub object: String,
    /// Whether it may change something. A transaction without writes does not; a command in an instance may.
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

/// Any port but drivers with interceptors: `before` is asked in their order, `after` in the opposite one.
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

/// The ports of a cluster with interceptors, all but those that it lacks.
pub fn intercept_cluster(ports: ClusterPorts, interceptors: &[Arc<dyn Interceptor>]) -> ClusterPorts {
    macro_rules! wrapped {
        ($port:expr) => {
            $port.map(|port| Arc::new(Intercepted::new(port, interceptors.to_vec())) as _)
        };
    }
    ClusterPorts {
        runtime: Arc::new(Intercepted::new(ports.runtime, interceptors.to_vec())),
        router: Arc::new(Intercepted::new(ports.router, interceptors.to_vec())),
        logs: wrapped!(ports.logs),
        exec: wrapped!(ports.exec),
        metrics: wrapped!(ports.metrics),
        traffic: wrapped!(ports.traffic),
        nodes: wrapped!(ports.nodes),
        spaces: wrapped!(ports.spaces),
    }
}
