//! A proxy between a server and an API server of Kubernetes, for tests.
//!
//! It speaks HTTP without TLS on a loopback address and passes everything on, streams and upgrades too, as somebody that the
//! API server knows. It counts every call and remembers every [`Write`]; a [`Gate`] sees each before it is passed on and after its answer, and may
//! keep it for as long as it wants. [`Proxy::inject`] breaks what it is told to.
//!
//! What a client has sent arrives, even if the client is gone by then, as it does on a network.

mod call;
mod fault;
mod forward;
mod stream;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use paas_k8s::kube::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use call::{Verb, Write};
pub use fault::{Fault, Selection};

/// Who sees every write on its way.
#[async_trait]
pub trait Gate: Send + Sync {
    /// A write has come and is passed on when this returns.
    async fn before(&self, write: &Write);

    /// A write was answered with this status; the answer is passed on when this returns.
    async fn after(&self, write: &Write, status: u16);
}

/// An object that came into being by a write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// The resource by its plural name, such as `deployments`.
    pub resource: String,
    /// The namespace, if it is in one.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The identity, which another object of the name does not have.
    pub uid: String,
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

struct Shared {
    upstream: Client,
    state: Mutex<State>,
    /// Counts the changes of what is broken: streams wait for the next one.
    changes: watch::Sender<u64>,
    /// The calls that go on without their client.
    calls: tokio::sync::Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    gate: Option<Arc<dyn Gate>>,
    rules: fault::Rules,
    cuts: u64,
    calls: BTreeMap<(Verb, String), u64>,
    writes: Vec<(Write, u16)>,
    made: Vec<Made>,
}

impl Proxy {
    /// Starts a proxy before the API server of a client. The client should neither repeat calls nor bound them.
    ///
    /// # Errors
    /// If there is no port to listen on.
    pub async fn start(upstream: Client) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            calls: tokio::sync::Mutex::default(),
        });
        let listener = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets somebody see the writes from now on, or nobody.
    pub fn set_gate(&self, gate: Option<Arc<dyn Gate>>) {
        self.shared.lock().gate = gate;
    }

    /// Breaks every call of a selection in one way, until [`Proxy::heal`].
    pub fn inject(&self, selection: Selection, fault: Fault) {
        self.shared.lock().rules.add(selection, fault, None);
        self.shared.changed();
    }

    /// Breaks the next `times` calls of a selection in one way.
    pub fn inject_times(&self, selection: Selection, fault: Fault, times: usize) {
        self.shared.lock().rules.add(selection, fault, Some(times));
        self.shared.changed();
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.shared.lock().rules.clear();
        self.shared.changed();
    }

    /// Cuts every stream: watches, logs that are followed.
    pub fn cut_streams(&self) {
        self.shared.lock().cuts += 1;
        self.shared.changed();
    }

    /// How many calls were broken since the start.
    pub fn struck(&self) -> usize {
        self.shared.lock().rules.struck()
    }

    /// How many calls have come since the last time, by what they do and the resource, such as `pods` or `deployments/status`;
    /// it is empty for what is about none. A watch counts once, when it begins.
    pub fn take_calls(&self) -> BTreeMap<(Verb, String), u64> {
        std::mem::take(&mut self.shared.lock().calls)
    }

    /// The writes that were answered since the last time, with the status of each answer.
    pub fn take_writes(&self) -> Vec<(Write, u16)> {
        std::mem::take(&mut self.shared.lock().writes)
    }

    /// The objects that came into being since the last time.
    pub fn take_made(&self) -> Vec<Made> {
        std::mem::take(&mut self.shared.lock().made)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
        if let Ok(mut calls) = self.shared.calls.try_lock() {
            calls.abort_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&shared)))),
                // There may be too many open files for a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| forward::answer(Arc::clone(&shared), request));
    let _ = stream.set_nodelay(true); // only slower without
    let server = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    drop(server.with_upgrades().await); // a client that is gone, or a fault that cuts the connection
}
