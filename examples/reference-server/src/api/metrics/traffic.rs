//! What routers counted, in the format of Prometheus.

use std::cmp::Reverse;
use std::sync::atomic::AtomicU64;

use paas_core::ClusterName;
use paas_core::port::{TrafficCount, TrafficSource};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// How many sources of requests are told at most, the busiest ones.
const MOST: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    cluster: String,
    org: String,
    env: String,
    app: String,
    component: String,
    revision: String,
    /// The access point; empty for calls.
    route: String,
    /// The component that called; empty for requests from the world.
    caller: String,
}

impl Labels {
    fn of(cluster: &ClusterName, count: &TrafficCount) -> Self {
        let at = &count.component.at;
        let (route, caller) = match &count.source {
            TrafficSource::Route { name } => (name.to_string(), String::new()),
            TrafficSource::Component { component } => (String::new(), component.to_string()),
            _ => Default::default(),
        };
        Self {
            cluster: cluster.to_string(),
            org: at.org.to_string(),
            env: at.env.to_string(),
            app: at.app.to_string(),
            component: count.component.component.to_string(),
            revision: count.revision.as_ref().map(ToString::to_string).unwrap_or_default(),
            route,
            caller,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    #[prometheus(flatten)]
    of: Labels,
    class: &'static str,
}

/// What was counted as text. Each entry of a router is a series by itself, so that none falls unless its router begins anew.
pub fn text(mut counts: Vec<(ClusterName, TrafficCount)>) -> String {
    counts.sort_by_key(|(_, count)| Reverse(count.figures.responses.total()));
    let omitted = counts.len().saturating_sub(MOST);
    counts.truncate(MOST);
    let requests = Family::<ClassLabels, Counter>::default();
    let durations = Family::<Labels, Counter<f64, AtomicU64>>::default();
    let errors = Family::<Labels, Counter>::default();
    let abandoned = Family::<Labels, Counter>::default();
    for (cluster, count) in &counts {
        let (labels, figures) = (Labels::of(cluster, count), &count.figures);
        for (class, number) in figures.responses.classes().into_iter().filter(|(_, number)| *number > 0) {
            requests.get_or_create(&ClassLabels { of: labels.clone(), class }).inc_by(number);
        }
        #[allow(clippy::cast_precision_loss, reason = "a sum of seconds need not be exact")]
        durations.get_or_create(&labels).inc_by(figures.latency.sum_us as f64 / 1e6);
        errors.get_or_create(&labels).inc_by(figures.router_errors);
        abandoned.get_or_create(&labels).inc_by(figures.abandoned);
    }
    let left_out = Gauge::<i64>::default();
    left_out.set(i64::try_from(omitted).unwrap_or(i64::MAX));

    let mut registry = Registry::with_prefix("paas_app");
    registry.register("requests", "Requests to applications, by the class of the answer", requests);
    let help = "Time from requests to the heads of their answers";
    registry.register_with_unit("request_duration", help, Unit::Seconds, durations);
    registry.register("router_errors", "Requests that the router answered itself with an error", errors);
    registry.register("abandoned", "Requests that the client gave up", abandoned);
    let help = "Sources of requests that are left out, because they are too many and had the fewest requests";
    registry.register("sources_omitted", help, left_out);
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a text does not fail");
    text
}

#[cfg(test)]
mod tests {
    use paas_core::port::{Responses, TrafficFigures};

    use super::*;

    fn count(revision: usize, successful: u64) -> (ClusterName, TrafficCount) {
        let responses = Responses { successful, server_error: 1, ..Responses::default() };
        let mut figures = TrafficFigures { responses, router_errors: 1, ..TrafficFigures::default() };
        figures.latency.sum_us = 1_500_000;
        let count = TrafficCount {
            source: TrafficSource::Route { name: "main".parse().unwrap() },
            component: "acme/prod/shop/web".parse().unwrap(),
            revision: Some(format!("{revision:012x}").parse().unwrap()),
            figures,
        };
        (ClusterName::local(), count)
    }

    #[test]
    fn each_source_and_version_is_a_series() {
        let text = text(vec![count(1, 7)]);
        let labels = r#"cluster="local",org="acme",env="prod",app="shop",component="web",revision="000000000001",route="main",caller="""#;
        for line in [
            format!(r#"paas_app_requests_total{{{labels},class="2xx"}} 7"#),
            format!(r#"paas_app_requests_total{{{labels},class="5xx"}} 1"#),
            format!("paas_app_request_duration_seconds_total{{{labels}}} 1.5"),
            format!("paas_app_router_errors_total{{{labels}}} 1"),
            "paas_app_sources_omitted 0".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_busiest_are_told_if_there_are_too_many() {
        let busy = u64::try_from(2 * MOST).unwrap();
        let counts = (0..MOST + 5).map(|number| count(number, busy - u64::try_from(number).unwrap()));
        let text = text(counts.collect());
        let told = text.lines().filter(|line| line.starts_with("paas_app_router_errors_total")).count();
        assert_eq!(told, MOST);
        assert!(text.contains("paas_app_sources_omitted 5"), "{text}");
        assert!(text.contains(&format!("revision=\"{:012x}\"", MOST - 1)), "the last of the busiest");
        assert!(!text.contains(&format!("revision=\"{MOST:012x}\"")), "the first that is left out");
    }
}
