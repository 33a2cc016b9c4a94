//! What changes on the cluster, told as events of the ports.
//!
//! One list and watch per kind follows the metadata of everything that this installation made. A watch that breaks is
//! opened again where it was; one that is too old (410) lists again, and what differs from before is told, what vanished
//! in between included.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use paas_core::port::{BoxStream, InstanceId, RouterEvent, RuntimeEvent};
use paas_core::{AppEnv, Error, ErrorKind, TrackKey};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use crate::cluster::Shared;
use crate::gateway_api::{HTTPRoute, TCPRoute};
use crate::scheme::{keys, roles};

/// How many events a slow reader may be behind before it is told to list again.
const EVENTS: usize = 4096;
/// How long the server keeps a watch open, in seconds; below kube's own bound.
const WATCH_SECONDS: u32 = 290;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How many objects come with one list at most.
const PAGE: u32 = 500;

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

fn spawn<K>(shared: &Arc<Shared>) -> JoinHandle<()>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default,
{
    let api: Api<K> = shared.everywhere();
    let selector = shared.installation().selector();
    tokio::spawn(follow_kind(Arc::downgrade(shared), api, selector))
}

/// What was last told of an object.
#[derive(Debug, Clone)]
struct Known {
    version: Option<String>,
    meta: ObjectMeta,
}

struct Follower<K> {
    shared: Weak<Shared>,
    api: Api<K>,
    selector: String,
    known: BTreeMap<String, Known>,
}

async fn follow_kind<K>(shared: Weak<Shared>, api: Api<K>, selector: String)
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default,
{
    let mut follower = Follower { shared, api, selector, known: BTreeMap::new() };
    let mut pause = FIRST_PAUSE;
    loop {
        match follower.list().await {
            Ok(mut version) => {
                pause = FIRST_PAUSE;
                // Until the version is too old, a watch that ended goes on where it was.
                while follower.watch(&mut version, &mut pause).await {}
            }
            Err(error) => {
                tracing::warn!(%error, "cannot list what is to be followed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        if follower.shared.strong_count() == 0 {
            return;
        }
    }
}

impl<K> Follower<K>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default,
{
    /// Lists everything, tells what differs from before, and returns the version to watch from.
    async fn list(&mut self) -> kube::Result<String> {
        let mut seen = BTreeMap::new();
        let mut parameters = ListParams::default().labels(&self.selector).limit(PAGE);
        let version = loop {
            let page = self.api.list_metadata(&parameters).await?;
            for object in page.items {
                let uid = object.metadata.uid.clone().unwrap_or_default();
                seen.insert(uid, slim(object.metadata));
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => break page.metadata.resource_version.unwrap_or_default(),
            }
        };
        for (uid, known) in &seen {
            if self.known.get(uid).is_none_or(|before| before.version != known.version) {
                self.tell(&known.meta);
            }
        }
        for (uid, known) in &self.known {
            if !seen.contains_key(uid) {
                self.tell(&known.meta);
            }
        }
        self.known = seen;
        Ok(version)
    }

    /// Watches until the watch ends; whether it may go on from the version where it ended.
    async fn watch(&mut self, version: &mut String, pause: &mut Duration) -> bool {
        if self.shared.strong_count() == 0 {
            return false;
        }
        let parameters = WatchParams::default().labels(&self.selector).timeout(WATCH_SECONDS);
        let events = match self.api.watch_metadata(&parameters, version).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if status.code == 410 => return false,
            Err(error) => {
                tracing::warn!(%error, "cannot watch");
                tokio::time::sleep(*pause).await;
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                return true;
            }
        };
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    *pause = FIRST_PAUSE;
                    let uid = object.metadata.uid.clone().unwrap_or_default();
                    let known = slim(object.metadata);
                    version.clone_from(&known.version.clone().unwrap_or_default());
                    self.tell(&known.meta);
                    self.known.insert(uid, known);
                }
                Ok(WatchEvent::Deleted(object)) => {
                    let known = slim(object.metadata.clone());
                    version.clone_from(&known.version.clone().unwrap_or_default());
                    self.known.remove(&object.metadata.uid.unwrap_or_default());
                    self.tell(&known.meta);
                }
                Ok(WatchEvent::Bookmark(bookmark)) => version.clone_from(&bookmark.metadata.resource_version),
                Ok(WatchEvent::Error(status)) if status.code == 410 => return false,
                Ok(WatchEvent::Error(status)) => {
                    tracing::warn!(message = status.message, "a watch failed");
                    tokio::time::sleep(*pause).await;
                    *pause = (*pause * 2).min(LONGEST_PAUSE);
                    return true;
                }
                Err(error) => {
                    tracing::debug!(%error, "a watch was cut");
                    tokio::time::sleep(*pause).await;
                    *pause = (*pause * 2).min(LONGEST_PAUSE);
                    return true;
                }
            }
        }
        true
    }

    fn tell(&self, meta: &ObjectMeta) {
        if let Some(shared) = self.shared.upgrade() {
            shared.tell(meta);
        }
    }
}

/// What is needed of an object's metadata to tell of it, its version included.
fn slim(mut meta: ObjectMeta) -> Known {
    let version = meta.resource_version.take();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        // The largest ones are never needed to tell.
        annotations.retain(|key, _| !key.ends_with(keys::TEMPLATE));
    }
    Known { version, meta }
}

impl Shared {
    /// Tells of a change of an object that this installation made.
    fn tell(&self, meta: &ObjectMeta) {
        let installation = self.installation();
        let Some(labels) = &meta.labels else { return };
        let role: Option<String> = installation.read(labels, keys::ROLE);
        let track = || installation.track_of(labels);
        match role.as_deref() {
            Some(roles::SET | roles::MANIFESTS) => self.tell_track(track()),
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
