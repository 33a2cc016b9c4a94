//! How requests find instances.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{BoxStream, Epoch};
use crate::error::Result;
use crate::model::{Port, RevisionId};
use crate::name::{AppEnv, RouteName, TrackKey};

/// A revision behind a service and its share of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The revision.
    pub revision: RevisionId,
    /// Its share, relative to the sum of all; 0 means none.
    pub weight: u32,
    /// The number of the release, for statistics and for people.
    pub release: u64,
}

/// Whether a service answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceState {
    /// Requests go to its backends.
    #[default]
    Serving,
    /// Requests are answered with 503 and the reason.
    Stopped {
        /// Why, in words for users of the application.
        reason: String,
    },
}

/// The traffic of one track: what routes and other components reach under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTraffic {
    /// The track.
    pub track: TrackKey,
    /// The ports that can be reached.
    pub ports: Vec<Port>,
    /// The revisions and their shares.
    pub backends: Vec<Backend>,
    /// Whether it answers.
    pub state: ServiceState,
}

/// An access point, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteBinding {
    /// Its name.
    pub name: RouteName,
    /// The host; absent for a TCP port.
    pub host: Option<String>,
    /// The path prefix, `/` if every path.
    pub path: String,
    /// The gateway's TCP port.
    pub tcp_port: Option<u16>,
    /// The track that it leads to.
    pub track: TrackKey,
    /// The component's port.
    pub port: Port,
}

/// A host, and the path prefix below it, by which requests come: what one application of a cluster has for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPath {
    host: String,
    path: String,
}

impl HostPath {
    /// A host and a path prefix; a `/` at the end of the prefix makes no difference.
    pub fn new(host: impl Into<String>, path: &str) -> Self {
        let path = path.trim_end_matches('/');
        Self { host: host.into(), path: if path.is_empty() { "/" } else { path }.to_owned() }
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)
    }
}

/// A service as the router has confirmed it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceObservation {
    /// The shares in force by revision, for every request from now on.
    pub weights: BTreeMap<RevisionId, u32>,
    /// Whether it answers.
    pub state: ServiceState,
    /// Whether the last traffic applied is in force everywhere; until then `weights` may be old in places.
    pub confirmed: bool,
}

/// What a router can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RouterCapabilities {
    /// It rejects calls with an epoch lower than one it has seen.
    pub fenced: bool,
    /// Shares by weight.
    pub weights: bool,
    /// Routes by header, cookie or query.
    pub matches: bool,
    /// Mirrored traffic.
    pub mirror: bool,
    /// TCP ports.
    pub tcp: bool,
    /// Hosts with a wildcard.
    pub wildcard_hosts: bool,
}

/// Something changed: observe again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RouterEvent {
    /// The traffic of a track changed or was confirmed.
    Service(TrackKey),
    /// The access points of an application changed.
    Routes(AppEnv),
}

/// How requests find instances: shares by revision, and access points.
///
/// # Contract
/// - [`Router::apply_service`] makes or replaces the traffic of a track, whole and at once; equal traffic changes nothing.
/// - No request that arrives while a change is applied is refused or cut for it; one that is under way goes on.
/// - A backend with weight 0 gets no request. A backend without a ready instance gets none while another with a weight has one.
/// - [`Router::observe_service`] tells what is confirmed: with `confirmed` no request uses older shares.
/// - [`Router::remove_service`] of a missing service is a success. Routes to it then answer 503.
/// - [`Router::apply_routes`] replaces all access points of an application in an environment at once; equal ones change nothing.
///   A host and path, or a TCP port, that another application has is
///   [`ErrorKind::Conflict`](crate::ErrorKind::Conflict), naming it, and nothing changes.
/// - [`Router::holders`] tells which other application of the installation has a host and path, by an access point or by an
///   object that it brought itself ([`Runtime::hosts`](super::Runtime::hosts)).
/// - [`Router::observe_routes`] tells the access points in force with the addresses that reach them.
#[async_trait]
pub trait Router: fmt::Debug + Send + Sync + 'static {
    /// What this router can do.
    fn capabilities(&self) -> RouterCapabilities;

    /// Makes or replaces the traffic of a track.
    async fn apply_service(&self, epoch: Epoch, traffic: &ServiceTraffic) -> Result<()>;

    /// Takes the traffic of a track away.
    async fn remove_service(&self, epoch: Epoch, track: &TrackKey) -> Result<()>;

    /// The traffic of a track as confirmed, or nothing.
    async fn observe_service(&self, track: &TrackKey) -> Result<Option<ServiceObservation>>;

    /// Replaces the access points of an application in an environment.
    async fn apply_routes(&self, epoch: Epoch, at: &AppEnv, routes: &[RouteBinding]) -> Result<()>;

    /// The access points in force.
    async fn observe_routes(&self, at: &AppEnv) -> Result<Vec<RouteBinding>>;

    /// Which application other than `at` has each of these, in their order.
    async fn holders(&self, at: &AppEnv, wanted: &[HostPath]) -> Result<Vec<Option<AppEnv>>>;

    /// The address that reaches an access point, as a URL or `host:port`.
    fn address(&self, route: &RouteBinding) -> String;

    /// The host that an access point without one gets.
    fn default_host(&self, at: &AppEnv) -> String;

    /// Tells what changes from now on.
    async fn watch(&self) -> Result<BoxStream<RouterEvent>>;
}
