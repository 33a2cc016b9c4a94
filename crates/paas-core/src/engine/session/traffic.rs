//! What routers counted of the requests of applications.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Session;
use super::cluster::{PATIENCE, SilentCluster, in_time};
use crate::action::{ReadAllTraffic, ReadTraffic};
use crate::engine::TrackRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Release, ReleaseNumber, RevisionId};
use crate::name::{AppEnv, ClusterName, ComponentKey, ComponentName, RouteName};
use crate::port::{Responses, TrafficCount, TrafficFigures, TrafficSource};

/// What was counted of the requests of an application, since each cluster's router began to count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AppTraffic {
    /// The requests from the world, by access point.
    pub routes: Vec<RouteTraffic>,
    /// All requests to the application, by the version that answered.
    pub versions: Vec<VersionTraffic>,
    /// The requests between components, those of other applications included, by who called whom.
    pub calls: Vec<CallTraffic>,
    /// The clusters that tell nothing now, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<SilentCluster>,
}

/// The requests that came by an access point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteTraffic {
    /// The cluster.
    pub cluster: ClusterName,
    /// The access point.
    pub route: RouteName,
    /// The component that they went to.
    pub component: ComponentName,
    /// What was counted.
    #[serde(flatten)]
    pub summary: TrafficSummary,
}

/// The requests that a version answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionTraffic {
    /// The cluster.
    pub cluster: ClusterName,
    /// The component.
    pub component: ComponentName,
    /// The revision; absent for requests that no instance could answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionId>,
    /// The newest release that has this revision, if it is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// What was counted.
    #[serde(flatten)]
    pub summary: TrafficSummary,
}

/// The requests of one component to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallTraffic {
    /// The cluster.
    pub cluster: ClusterName,
    /// Who called.
    pub caller: ComponentKey,
    /// Who was called.
    pub callee: ComponentKey,
    /// What was counted.
    #[serde(flatten)]
    pub summary: TrafficSummary,
}

/// Requests in figures.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct TrafficSummary {
    /// How many were answered.
    pub requests: u64,
    /// The same by the class of the answer.
    pub responses: Responses,
    /// Those that the router answered itself with an error.
    pub router_errors: u64,
    /// Those that the client gave up before it had an answer.
    pub abandoned: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// How long the answers took.
    pub latency: LatencySummary,
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes that clients got.
    pub bytes_out: u64,
    /// Upgraded and TCP connections.
    pub connections: u64,
}

/// How long answers took. A quantile is the upper bound of a bucket of the router, and absent if there was no request or if
/// it was slower than every bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LatencySummary {
    /// The sum of all in microseconds.
    pub sum_us: u64,
    /// Within how many microseconds half of them was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// The same for 95 of 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_us: Option<u64>,
    /// The same for 99 of 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
}

impl From<&TrafficFigures> for TrafficSummary {
    fn from(figures: &TrafficFigures) -> Self {
        let latency = &figures.latency;
        Self {
            requests: figures.responses.total(),
            responses: figures.responses,
            router_errors: figures.router_errors,
            abandoned: figures.abandoned,
            retries: figures.retries,
            latency: LatencySummary {
                sum_us: latency.sum_us,
                p50_us: latency.within(500),
                p95_us: latency.within(950),
                p99_us: latency.within(990),
            },
            bytes_in: figures.bytes_in,
            bytes_out: figures.bytes_out,
            connections: figures.connections,
        }
    }
}

impl Session {
    /// What was counted of the requests of an application. A cluster that does not tell is named, and delays nobody.
    ///
    /// # Errors
    /// Those of [`Session::perform`].
    pub async fn traffic(&self, at: &AppEnv) -> Result<AppTraffic> {
        self.perform(ReadTraffic { at: at.clone() }).await?;
        let tracks = self.services.collections().children::<TrackRecord>(at.to_string()).await?;
        let clusters: BTreeSet<ClusterName> =
            tracks.into_iter().map(|record| record.value.state.track.cluster).collect();
        let mut sums = Sums::default();
        let mut missing = Vec::new();
        let asked = clusters.into_iter().map(|cluster| self.counted(cluster));
        for (cluster, counted) in futures::future::join_all(asked).await {
            match counted {
                Ok(counts) => counts.into_iter().for_each(|count| sums.add(at, &cluster, count)),
                Err(error) => missing.push(SilentCluster { cluster, reason: error.report() }),
            }
        }
        let releases = self.services.collections().children::<Release>(at.to_string()).await?;
        Ok(sums.told(&releases.into_iter().map(|release| release.value).collect::<Vec<_>>(), missing))
    }

    /// What was counted of the requests to every application that the actor may see, by cluster. Clusters that tell nothing
    /// now are left out.
    ///
    /// # Errors
    /// Those of [`Session::perform`].
    pub async fn all_traffic(&self) -> Result<Vec<(ClusterName, TrafficCount)>> {
        let clusters: Vec<ClusterName> = self.services.clusters().keys().cloned().collect();
        let asked = clusters.into_iter().map(|cluster| self.counted(cluster));
        let mut all = Vec::new();
        for (cluster, counted) in futures::future::join_all(asked).await {
            match counted {
                Ok(counts) => all.extend(counts.into_iter().map(|count| (cluster.clone(), count))),
                Err(error) => tracing::debug!(%cluster, error = %error.report(), "no figures of requests"),
            }
        }
        let apps: BTreeSet<&AppEnv> = all.iter().map(|(_, count)| &count.component.at).collect();
        let apps = apps.into_iter().cloned().collect();
        let visible: BTreeSet<AppEnv> = self.perform(ReadAllTraffic { apps }).await?.into_iter().collect();
        all.retain(|(_, count)| visible.contains(&count.component.at));
        Ok(all)
    }

    async fn counted(&self, cluster: ClusterName) -> (ClusterName, Result<Vec<TrafficCount>>) {
        let ports = self.services.clusters().get(&cluster).cloned();
        let counted = match ports.and_then(|ports| ports.traffic) {
            Some(traffic) => in_time(&cluster, PATIENCE, traffic.counted()).await,
            None => Err(Error::new(ErrorKind::Unsupported, "read what was counted of requests")
                .with_context("cluster", &cluster)),
        };
        (cluster, counted)
    }
}

/// What was counted of one application, summed up.
#[derive(Default)]
struct Sums {
    routes: BTreeMap<(ClusterName, RouteName, ComponentName), TrafficFigures>,
    versions: BTreeMap<(ClusterName, ComponentName, Option<RevisionId>), TrafficFigures>,
    calls: BTreeMap<(ClusterName, ComponentKey, ComponentKey), TrafficFigures>,
}

impl Sums {
    /// Adds what concerns the application.
    fn add(&mut self, at: &AppEnv, cluster: &ClusterName, count: TrafficCount) {
        let TrafficCount { source, component, revision, figures } = count;
        let is_own = component.at == *at;
        if figures.is_empty() {
            return;
        }
        if is_own {
            let version = (cluster.clone(), component.component.clone(), revision);
            self.versions.entry(version).or_default().add(&figures);
        }
        match source {
            TrafficSource::Route { name } if is_own => {
                let route = (cluster.clone(), name, component.component);
                self.routes.entry(route).or_default().add(&figures);
            }
            TrafficSource::Component { component: caller } if is_own || caller.at == *at => {
                self.calls.entry((cluster.clone(), caller, component)).or_default().add(&figures);
            }
            _ => {}
        }
    }

    fn told(self, releases: &[Release], missing: Vec<SilentCluster>) -> AppTraffic {
        let release_of = |component: &ComponentName, revision: &RevisionId| {
            let has = |release: &&Release| {
                release.components.get(component).is_some_and(|it| it.revision == *revision)
            };
            releases.iter().filter(has).map(|release| release.number).max()
        };
        let routes = self.routes.into_iter().map(|((cluster, route, component), figures)| RouteTraffic {
            cluster,
            route,
            component,
            summary: (&figures).into(),
        });
        let versions =
            self.versions.into_iter().map(|((cluster, component, revision), figures)| VersionTraffic {
                release: revision.as_ref().and_then(|revision| release_of(&component, revision)),
                cluster,
                component,
                revision,
                summary: (&figures).into(),
            });
        let calls = self.calls.into_iter().map(|((cluster, caller, callee), figures)| CallTraffic {
            cluster,
            caller,
            callee,
            summary: (&figures).into(),
        });
        AppTraffic { routes: routes.collect(), versions: versions.collect(), calls: calls.collect(), missing }
    }
}
