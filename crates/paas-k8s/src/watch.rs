//! What changes on the cluster, told as events of the ports.
//!
//! One list and watch per kind follows everything that this installation made, and keeps its [mirror](crate::mirror). A
//! watch that breaks is opened again where it was; one that is too old (410) lists again, and what differs from before is
//! told, what vanished in between included. Why a kind cannot be followed, such as a permission that is missing, is told once.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, ResourceExt as _};
use paas_core::port::{BoxStream, InstanceId, RouterEvent, RuntimeEvent};
use paas_core::{AppEnv, Error, ErrorKind, TrackKey};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::cluster::Shared;
use crate::error::failed;
use crate::gateway_api::{HTTPRoute, TCPRoute};
use crate::mirror::{Mirrored, followed, slim};
use crate::scheme::{keys, roles};
use crate::trouble::Trouble;

/// How many events a slow reader may be behind before it is told to list again.
const EVENTS: usize = 4096;
/// How long the server keeps a watch open, in seconds; below kube's own bound.
const WATCH_SECONDS: u32 = 290;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The events of both ports.
#[derive(Debug)]
pub(crate) struct Events {
    runtime: broadcast::Sender<RuntimeEvent>,
    router: broadcast::Sender<RouterEvent>,
    /// The applications whose routes may have to be written anew.
    stale: broadcast::Sender<AppEnv>,
    /// The tracks of which an object of a manifest changed.
    touched: broadcast::Sender<TrackKey>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            runtime: broadcast::channel(EVENTS).0,
            router: broadcast::channel(EVENTS).0,
            stale: broadcast::channel(EVENTS).0,
            touched: broadcast::channel(EVENTS).0,
        }
    }
}

impl Events {
    pub(crate) fn runtime(&self) -> BoxStream<RuntimeEvent> {
        stream_of(self.runtime.subscribe())
    }

    pub(crate) fn router(&self) -> BoxStream<RouterEvent> {
        stream_of(self.router.subscribe())
    }

    pub(crate) fn stale(&self) -> broadcast::Receiver<AppEnv> {
        self.stale.subscribe()
    }

    pub(crate) fn touched(&self) -> broadcast::Receiver<TrackKey> {
        self.touched.subscribe()
    }

    pub(crate) fn router_sender(&self) -> broadcast::Sender<RouterEvent> {
        self.router.clone()
    }

    pub(crate) fn stale_sender(&self) -> broadcast::Sender<AppEnv> {
        self.stale.clone()
    }

    pub(crate) fn tell_runtime(&self, event: RuntimeEvent) {
        let _ = self.runtime.send(event);
    }

    pub(crate) fn tell_router(&self, event: RouterEvent) {
        let _ = self.router.send(event);
    }

    pub(crate) fn tell_stale(&self, at: AppEnv) {
        let _ = self.stale.send(at);
    }
}

/// The events of a channel; a reader that is too slow is told so, then the stream ends.
fn stream_of<T: Clone + Send + 'static>(receiver: broadcast::Receiver<T>) -> BoxStream<T> {
    Box::pin(futures::stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Ok(event) => Some((Ok(event), Some(receiver))),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                let error = Error::new(ErrorKind::Lagged, "watch a cluster").with_context("missed", missed);
                Some((Err(error), None))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }))
}

/// Begins to follow everything.
pub(crate) fn follow(shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let mut tasks = vec![
        spawn::<Deployment>(shared),
        spawn::<StatefulSet>(shared),
        spawn::<Pod>(shared),
        spawn::<Job>(shared),
        spawn::<Service>(shared),
        spawn::<ConfigMap>(shared),
    ];
    if shared.features.http_routes {
        tasks.push(spawn::<HTTPRoute>(shared));
    }
    if shared.features.tcp_routes {
        tasks.push(spawn::<TCPRoute>(shared));
    }
    tasks
}

fn spawn<K: Mirrored>(shared: &Arc<Shared>) -> JoinHandle<()> {
    let api: Api<K> = shared.everywhere();
    let follower = Follower { shared: Arc::downgrade(shared), api, trouble: Trouble::default() };
    tokio::spawn(follower.follow())
}

struct Follower<K> {
    shared: Weak<Shared>,
    api: Api<K>,
    trouble: Trouble,
}

/// How a watch ended.
enum End {
    /// It may go on where it was.
    Cut,
    /// The version is too old, or the cluster is closed: only a list helps, if anybody is there for it.
    Over,
}

impl<K: Mirrored> Follower<K> {
    async fn follow(mut self) {
        let mut pause = FIRST_PAUSE;
        while let Some(shared) = self.shared.upgrade() {
            let listed = K::of(&shared.mirrors).list(&self.api, shared.installation()).await;
            match listed {
                Ok((mut version, changed)) => {
                    pause = FIRST_PAUSE;
                    for object in changed {
                        shared.tell(object.meta());
                    }
                    drop(shared);
                    // Until the version is too old, a watch that ended goes on where it was.
                    while matches!(self.watch(&mut version, &mut pause).await, End::Cut) {}
                }
                Err(error) => {
                    drop(shared);
                    self.cannot(error);
                    rest(&mut pause).await;
                }
            }
        }
    }

    /// Watches until the watch ends. As long as it lasts, the mirror may be believed.
    async fn watch(&mut self, version: &mut String, pause: &mut Duration) -> End {
        let Some(shared) = self.shared.upgrade() else { return End::Over };
        let selector = followed::<K>(shared.installation());
        drop(shared);
        let parameters = WatchParams::default().labels(&selector).timeout(WATCH_SECONDS);
        let events = match self.api.watch(&parameters, version).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.code == 410 => return End::Over,
            Err(error) => {
                self.cannot(error);
                rest(pause).await;
                return End::Cut;
            }
        };
        if self.trouble.is_over() {
            tracing::info!(kind = %K::plural(&()), "changes are followed again");
        }
        self.connected(true);
        let end = self.take_in(std::pin::pin!(events), version, pause).await;
        self.connected(false);
        if let Ok(end) = end {
            return end;
        }
        rest(pause).await;
        End::Cut
    }

    /// Takes in the events of a watch; an error if it failed, so that a pause is due.
    async fn take_in(
        &self,
        mut events: impl Stream<Item = kube::Result<WatchEvent<K>>> + Unpin,
        version: &mut String,
        pause: &mut Duration,
    ) -> Result<End, ()> {
        while let Some(event) = events.next().await {
            let Some(shared) = self.shared.upgrade() else { return Ok(End::Over) };
            let mirror = K::of(&shared.mirrors);
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    *pause = FIRST_PAUSE;
                    let object = slim(object, shared.installation());
                    *version = object.resource_version().unwrap_or_default();
                    mirror.put(&object);
                    shared.tell(object.meta());
                }
                Ok(WatchEvent::Deleted(object)) => {
                    *version = object.resource_version().unwrap_or_default();
                    mirror.take(&object);
                    shared.tell(object.meta());
                }
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    version.clone_from(&bookmark.metadata.resource_version);
                    mirror.heard(version);
                }
                Ok(WatchEvent::Error(status)) if status.code == 410 => return Ok(End::Over),
                Ok(WatchEvent::Error(status)) => {
                    tracing::warn!(message = status.message, "a watch failed");
                    return Err(());
                }
                Err(error) => {
                    tracing::debug!(%error, "a watch was cut");
                    return Err(());
                }
            }
        }
        Ok(End::Cut)
    }

    /// The API server does not let this kind be followed, or does not answer. It is tried again, and works without meanwhile.
    fn cannot(&mut self, error: kube::Error) {
        let kind = K::plural(&());
        let error = failed(format!("follow {kind}"), error);
        if let Some(why) = self.trouble.news(&error) {
            tracing::warn!(%kind, error = why, "changes are not followed; the API server is asked instead");
        }
    }

    fn connected(&self, is_connected: bool) {
        if let Some(shared) = self.shared.upgrade() {
            K::of(&shared.mirrors).connected(is_connected);
        }
    }
}

/// Pauses, longer each time.
async fn rest(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

impl Shared {
    /// Tells of a change of an object that this installation made.
    pub(crate) fn tell(&self, meta: &ObjectMeta) {
        let installation = self.installation();
        let Some(labels) = &meta.labels else { return };
        let role: Option<String> = installation.read(labels, keys::ROLE);
        let track = || installation.track_of(labels);
        match role.as_deref() {
            Some(roles::SET | roles::ORDERED | roles::MANIFESTS) => self.tell_track(track()),
            Some(roles::MANIFEST) => {
                if let Some(track) = track() {
                    let _ = self.events.touched.send(track.clone());
                    self.tell_track(Some(track));
                }
            }
            Some(roles::INSTANCE) => {
                let track = track();
                if let Some(track) = &track
                    && Self::lock(&self.shared_traffic).contains(track)
                {
                    self.events.tell_stale(track.component.at.clone());
                }
                self.tell_track(track);
            }
            Some(roles::RUN) => {
                if let Some(id) = installation.annotation(meta, keys::RUN_ID) {
                    self.events.tell_runtime(RuntimeEvent::Run(InstanceId(id.to_owned())));
                }
            }
            Some(roles::SERVICE) => {
                if let Some(track) = track() {
                    self.note_traffic(&track, meta);
                    self.events.tell_stale(track.component.at.clone());
                    self.events.tell_router(RouterEvent::Service(track));
                }
            }
            Some(roles::ROUTES) => {
                if let Some(at) = installation.app_of(labels) {
                    // A route of a track tells of its traffic too: its status may confirm it.
                    if let Some(track) = track() {
                        self.events.tell_router(RouterEvent::Service(track));
                    }
                    self.events.tell_stale(at.clone());
                    self.events.tell_router(RouterEvent::Routes(at));
                }
            }
            _ => {}
        }
    }

    fn tell_track(&self, track: Option<TrackKey>) {
        if let Some(track) = track {
            self.events.tell_runtime(RuntimeEvent::Track(track));
        }
    }
}
