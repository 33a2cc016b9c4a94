//! What the clusters show at the moment of asking. Each is asked by itself, within a time limit of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt as _};

use crate::engine::{ClusterRecord, Services};
use crate::error::{Error, ErrorKind, Result};
use crate::name::{AppEnv, ClusterName, RouteName, TrackKey};
use crate::port::{ClusterPorts, RouteBinding, ServiceObservation, TrackObservation};

/// How long a cluster may take to answer everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long one may that did not answer before: whoever looks need not wait for it each time.
const LITTLE_PATIENCE: Duration = Duration::from_secs(1);

/// How many questions a cluster is asked at once.
const CONCURRENCY: usize = 16;

/// What was seen of a track, or why it was not.
pub(super) type Seen = Result<(TrackObservation, Option<ServiceObservation>), String>;

/// What the clusters show.
pub(super) struct Clusters {
    tracks: BTreeMap<TrackKey, Seen>,
    routes: BTreeMap<ClusterName, Vec<RouteBinding>>,
    regions: BTreeMap<ClusterName, String>,
}

struct Shown {
    tracks: Vec<(TrackKey, Seen)>,
    routes: Option<(ClusterName, Vec<RouteBinding>)>,
}

impl Clusters {
    /// Asks every cluster that has tracks, and each of `targets` for its access points.
    ///
    /// # Errors
    /// Those of the store. A cluster that does not answer is part of what was seen.
    pub(super) async fn observe(
        services: &Services,
        at: &AppEnv,
        tracks: Vec<TrackKey>,
        targets: impl Iterator<Item = &ClusterName>,
    ) -> Result<Self> {
        let mut questions: BTreeMap<ClusterName, Vec<TrackKey>> =
            targets.map(|cluster| (cluster.clone(), Vec::new())).collect();
        for track in tracks {
            questions.entry(track.cluster.clone()).or_default().push(track);
        }
        let mut regions = BTreeMap::new();
        for cluster in questions.keys() {
            let record = services.collections().get::<ClusterRecord>(&ClusterRecord::key_of(cluster)).await?;
            if let Some(region) = record.and_then(|record| record.value.region) {
                regions.insert(cluster.clone(), region);
            }
        }
        let asked = questions.into_iter().map(|(cluster, tracks)| ask(services, at, cluster, tracks));
        let mut clusters = Self { tracks: BTreeMap::new(), routes: BTreeMap::new(), regions };
        for shown in join_all(asked).await {
            clusters.tracks.extend(shown.tracks);
            clusters.routes.extend(shown.routes);
        }
        Ok(clusters)
    }

    /// What was seen of a track; nothing if its cluster is not open.
    pub(super) fn track(&self, key: &TrackKey) -> Option<&Seen> {
        self.tracks.get(key)
    }

    pub(super) fn region(&self, cluster: &ClusterName) -> Option<String> {
        self.regions.get(cluster).cloned()
    }

    /// The addresses of an access point by cluster.
    pub(super) fn addresses(&self, services: &Services, name: &RouteName) -> BTreeMap<ClusterName, String> {
        let mut addresses = BTreeMap::new();
        let clusters = services.clusters();
        for (cluster, bindings) in &self.routes {
            let binding = bindings.iter().find(|binding| binding.name == *name);
            if let (Some(binding), Some(ports)) = (binding, clusters.get(cluster)) {
                addresses.insert(cluster.clone(), ports.router.address(binding));
            }
        }
        addresses
    }
}

async fn ask(services: &Services, at: &AppEnv, cluster: ClusterName, tracks: Vec<TrackKey>) -> Shown {
    let Some(ports) = services.clusters().get(&cluster).cloned() else {
        return Shown { tracks: Vec::new(), routes: None };
    };
    let is_away = services.outages().of(&cluster, services.now()).is_some();
    let patience = if is_away { LITTLE_PATIENCE } else { PATIENCE };
    let end = tokio::time::Instant::now() + patience;
    let routes = tokio::time::timeout_at(end, ports.router.observe_routes(at));
    let seen = stream::iter(tracks)
        .map(|key| observe(services, &ports, end, patience, key))
        .buffer_unordered(CONCURRENCY)
        .collect::<Vec<_>>();
    let (routes, tracks) = futures::join!(routes, seen);
    Shown { tracks, routes: routes.ok().and_then(Result::ok).map(|bindings| (cluster, bindings)) }
}

async fn observe(
    services: &Services,
    ports: &ClusterPorts,
    end: tokio::time::Instant,
    patience: Duration,
    key: TrackKey,
) -> (TrackKey, Seen) {
    let now = services.now();
    let asked = async {
        let observation = ports.runtime.observe(&key).await?;
        let service = ports.router.observe_service(&key).await?;
        Ok::<_, Error>((observation, service))
    };
    let answer = tokio::time::timeout_at(end, asked).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, "see a track")
            .with_source(format!("no answer within {} s", patience.as_secs())))
    });
    services.outages().note(&key.cluster, &answer, now);
    (key, answer.map_err(|error| error.report()))
}
