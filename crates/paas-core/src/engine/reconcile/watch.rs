//! What wakes reconcilers: the store's feed, and the watches of backends.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::context::{Context, Key};
use crate::engine::queue::Backoff;
use crate::error::{Error, ErrorKind, Result};
use crate::name::ClusterName;
use crate::port::{BoxStream, ChangeStream, ClusterPorts, RouterEvent, Runtime, RuntimeEvent};

/// The pauses before a watch that failed is opened again.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(10) };

/// Starts following everything. A feed that ends is an error: what it missed is unknown, and everything is read again.
pub(super) fn spawn(context: &Arc<Context>, feed: ChangeStream, tasks: &mut JoinSet<Error>) {
    tasks.spawn(follow_store(Arc::clone(context), feed));
    tasks.spawn(follow_clusters(Arc::clone(context)));
}

/// A cluster that is followed. Nobody follows it any more when this is dropped.
struct Following {
    runtime: Arc<dyn Runtime>,
    _tasks: JoinSet<Error>,
}

impl Following {
    fn start(context: &Arc<Context>, cluster: &ClusterName, ports: &ClusterPorts) -> Self {
        let mut tasks = JoinSet::new();
        let runtime = Arc::clone(&ports.runtime);
        tasks.spawn(follow(Arc::clone(context), cluster.clone(), move || {
            let runtime = Arc::clone(&runtime);
            async move { runtime.watch().await }
        }));
        let router = Arc::clone(&ports.router);
        tasks.spawn(follow(Arc::clone(context), cluster.clone(), move || {
            let router = Arc::clone(&router);
            async move { router.watch().await }
        }));
        Self { runtime: Arc::clone(&ports.runtime), _tasks: tasks }
    }

    /// Whether it is these ports that are followed, and not those of the cluster as it was configured before.
    fn is_of(&self, ports: &ClusterPorts) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.runtime), Arc::as_ptr(&ports.runtime))
    }
}

/// Follows every cluster that there is, those that come and go included.
async fn follow_clusters(context: Arc<Context>) -> Error {
    let mut sets = context.services.cluster_registry().subscribe();
    let mut following: BTreeMap<ClusterName, Following> = BTreeMap::new();
    loop {
        let now = Arc::clone(&sets.borrow_and_update());
        following.retain(|cluster, followed| now.get(cluster).is_some_and(|ports| followed.is_of(ports)));
        for (cluster, ports) in now.iter() {
            following.entry(cluster.clone()).or_insert_with(|| {
                context.queue.add(Key::Orphans(cluster.clone()));
                Following::start(&context, cluster, ports)
            });
        }
        if sets.changed().await.is_err() {
            return Error::new(ErrorKind::Cancelled, "follow the clusters");
        }
    }
}

async fn follow_store(context: Arc<Context>, mut feed: ChangeStream) -> Error {
    loop {
        match feed.next().await {
            Some(Ok(change)) => {
                for key in context.cache.follow(change) {
                    context.queue.add(key);
                }
            }
            Some(Err(error)) => return error,
            None => return Error::new(ErrorKind::Unavailable, "follow the changes of the store"),
        }
    }
}

/// An event of a backend, as the keys that it concerns.
trait Wakes: Send + 'static {
    fn key(self, cluster: &ClusterName, context: &Context) -> Option<Key>;
}

impl Wakes for RuntimeEvent {
    fn key(self, _: &ClusterName, context: &Context) -> Option<Key> {
        match self {
            Self::Track(track) => Some(Key::Track(track)),
            Self::Run(id) => context.owner_of_run(&id),
        }
    }
}

impl Wakes for RouterEvent {
    fn key(self, cluster: &ClusterName, _: &Context) -> Option<Key> {
        match self {
            Self::Service(track) => Some(Key::Track(track)),
            Self::Routes(at) => Some(Key::Routes(at, cluster.clone())),
        }
    }
}

/// Follows a backend for ever. Whenever the watch is opened anew, everything on the cluster is looked at.
async fn follow<E, F>(context: Arc<Context>, cluster: ClusterName, open: impl Fn() -> F + Send) -> Error
where
    E: Wakes,
    F: Future<Output = Result<BoxStream<E>>> + Send,
{
    let mut failures = 0;
    loop {
        match context.call("watch a cluster", &cluster, open()).await {
            Ok(mut events) => {
                for key in context.cache.keys_on(&cluster) {
                    context.queue.add(key);
                }
                while let Some(event) = events.next().await {
                    match event {
                        Ok(event) => {
                            failures = 0;
                            if let Some(key) = event.key(&cluster, &context) {
                                context.queue.add(key);
                            }
                        }
                        Err(error) => {
                            tracing::debug!(%cluster, error = %error.report(), "a watch failed");
                            break;
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(%cluster, error = %error.report(), "a watch was not opened"),
        }
        failures += 1;
        sleep(AGAIN.after(failures)).await;
    }
}
