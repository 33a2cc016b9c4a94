//! Counters in the format of Prometheus. Those of the server name routes and phases, never tenants; those of applications are
//! for whoever may see them.

mod traffic;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use traffic::text as traffic_text;

/// The media type of Prometheus' text format as `OpenMetrics` defines it.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

/// Counters of the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    instances: Family<StateLabels, Gauge>,
    apps: Family<StateLabels, Gauge>,
    rollouts: Gauge,
    revision: Gauge<u64, AtomicU64>,
}

/// What is counted when somebody asks, because it is the state of the platform and not of the server.
#[derive(Debug, Default)]
pub struct Census {
    pub instances: std::collections::BTreeMap<String, i64>,
    pub apps: std::collections::BTreeMap<String, i64>,
    pub rollouts: i64,
    pub revision: u64,
}

impl Metrics {
    /// Counters at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("paas");
        let requests = Family::default();
        let durations = Family::<RouteLabels, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 4.0, 8))
        });
        let instances = Family::default();
        let apps = Family::default();
        let rollouts = Gauge::default();
        let revision = Gauge::default();
        registry.register("requests", "Requests answered, by route and status", Family::clone(&requests));
        registry.register_with_unit(
            "request_duration",
            "Time until the answer began, by route",
            Unit::Seconds,
            Family::clone(&durations),
        );
        registry.register("instances", "Instances, by phase", Family::clone(&instances));
        registry.register("applications", "Applications in environments, by state", Family::clone(&apps));
        registry.register("rollouts_running", "Releases under way", Gauge::clone(&rollouts));
        registry.register("store_revision", "The newest commit of the store", Gauge::clone(&revision));
        Self { registry, requests, durations, instances, apps, rollouts, revision }
    }

    /// Counts an answer.
    pub fn request(&self, method: &Method, route: &str, status: StatusCode, time: Duration) {
        // Methods are a short list; whatever else a caller makes up counts as one.
        let method = match *method {
            Method::GET | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::HEAD => {
                method.as_str()
            }
            _ => "other",
        };
        let labels =
            RequestLabels { method: method.to_owned(), route: route.to_owned(), status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&RouteLabels { route: route.to_owned() }).observe(time.as_secs_f64());
    }

    /// All counters as text, with what was just counted.
    pub fn text(&self, census: &Census) -> String {
        let fill = |family: &Family<StateLabels, Gauge>, counts: &std::collections::BTreeMap<String, i64>| {
            family.clear();
            for (state, count) in counts {
                family.get_or_create(&StateLabels { state: state.clone() }).set(*count);
            }
        };
        fill(&self.instances, &census.instances);
        fill(&self.apps, &census.apps);
        self.rollouts.set(census.rollouts);
        self.revision.set(census.revision);
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a text does not fail");
        text
    }
}
