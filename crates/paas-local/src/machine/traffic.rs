//! What the gateway counted, in the platform's terms.

use std::collections::BTreeMap;

use async_trait::async_trait;
use paas_core::model::RevisionId;
use paas_core::port::{Latency, Responses, Traffic, TrafficCount, TrafficFigures, TrafficSource};
use paas_core::{AppEnv, ComponentKey, Result};
use paas_gateway::{Snapshot, Source};

use super::LocalMachine;
use super::error::gateway as failed;
use super::gateway::{RouterState, tcp_port};

#[async_trait]
impl Traffic for LocalMachine {
    async fn counted(&self) -> Result<Vec<TrafficCount>> {
        let gateway = &self.shared.gateway;
        let told = gateway.control().statistics().await;
        let told = told.map_err(|error| failed("read what the gateway counted", error))?;
        Ok(counts(&told.entries, &gateway.router()))
    }
}

/// What was counted of components. What came by an address that is none of their access points any more is left out.
fn counts(entries: &[Snapshot], router: &RouterState) -> Vec<TrafficCount> {
    let mut counted: BTreeMap<(TrafficSource, ComponentKey, Option<RevisionId>), TrafficFigures> =
        BTreeMap::new();
    for entry in entries {
        let component = entry.service.as_ref().and_then(|service| service.as_str().parse().ok());
        let Some(component) = component else { continue };
        let Some(source) = source(&entry.source, &component, router) else { continue };
        let figures = figures(entry);
        if !figures.is_empty() {
            let revision = entry.revision.as_ref().and_then(|revision| revision.as_str().parse().ok());
            counted.entry((source, component, revision)).or_default().add(&figures);
        }
    }
    let count =
        |((source, component, revision), figures)| TrafficCount { source, component, revision, figures };
    counted.into_iter().map(count).collect()
}

fn source(source: &Source, component: &ComponentKey, router: &RouterState) -> Option<TrafficSource> {
    match source {
        Source::Route(id) => {
            let (at, name) = id.as_str().rsplit_once('/')?;
            let at: AppEnv = at.parse().ok()?;
            (at == component.at).then_some(TrafficSource::Route { name: name.parse().ok()? })
        }
        Source::Listener(id) => {
            let port = tcp_port(id)?;
            let entry = router.routes.get(&component.at.to_string())?;
            let leads = |route: &&paas_core::port::RouteBinding| {
                route.tcp_port == Some(port) && route.track.component == *component
            };
            let route = entry.routes.iter().find(leads)?;
            Some(TrafficSource::Route { name: route.name.clone() })
        }
        Source::Component(id) => Some(TrafficSource::Component { component: id.as_str().parse().ok()? }),
        _ => None,
    }
}

fn figures(entry: &Snapshot) -> TrafficFigures {
    let [informational, successful, redirection, client_error, server_error] = entry.requests;
    TrafficFigures {
        responses: Responses { informational, successful, redirection, client_error, server_error },
        router_errors: entry.gateway_errors,
        abandoned: entry.abandoned,
        retries: entry.retries,
        latency: Latency {
            bounds_us: entry.latency.bounds_us.clone(),
            counts: entry.latency.counts.clone(),
            sum_us: entry.latency.sum_us,
        },
        bytes_in: entry.bytes_in,
        bytes_out: entry.bytes_out,
        connections: entry.connections_total,
    }
}

#[cfg(test)]
mod tests {
    use paas_core::port::{Epoch, RouteBinding};

    use super::super::gateway::RoutesEntry;
    use super::*;

    fn entry(source: Source, service: &str, revision: Option<&str>, successful: u64) -> Snapshot {
        let entry = serde_json::json!({
            "source": source, "service": service, "revision": revision,
            "requests": [0, successful, 0, 0, 1], "abandoned": 0, "gateway_errors": 0, "retries": 0,
            "latency": { "bounds_us": [10], "counts": [successful, 1], "sum_us": 5 },
            "bytes_in": 0, "bytes_out": 0, "in_flight": 0, "connections": 0, "connections_total": 0,
        });
        serde_json::from_value(entry).unwrap()
    }

    fn router() -> RouterState {
        let at: AppEnv = "shop/prod/a".parse().unwrap();
        let component = at.component("web".parse().unwrap());
        let port = serde_json::json!({ "name": "http", "number": 80 });
        let route = RouteBinding {
            name: "raw".parse().unwrap(),
            host: None,
            path: "/".to_owned(),
            tcp_port: Some(7000),
            track: component.on(paas_core::ClusterName::local()),
            port: serde_json::from_value(port).unwrap(),
        };
        let entry = RoutesEntry { at: at.clone(), routes: vec![route], epoch: Epoch(1) };
        RouterState { services: BTreeMap::new(), routes: BTreeMap::from([(at.to_string(), entry)]) }
    }

    #[test]
    fn what_was_counted_is_told_by_access_points_and_components() {
        let entries = [
            entry(Source::Route("shop/prod/a/main".into()), "shop/prod/a/web", Some("r1"), 2),
            entry(Source::Listener("tcp-7000".into()), "shop/prod/a/web", Some("r1"), 3),
            entry(Source::Component("shop/prod/a/web".into()), "shop/prod/a/api", None, 4),
        ];
        let counts = counts(&entries, &router());
        let told: Vec<_> = counts
            .iter()
            .map(|count| {
                let source = match &count.source {
                    TrafficSource::Route { name } => name.to_string(),
                    TrafficSource::Component { component } => component.to_string(),
                    other => panic!("{other:?}"),
                };
                let revision = count.revision.as_ref().map(ToString::to_string);
                (source, count.component.to_string(), revision, count.figures.responses.successful)
            })
            .collect();
        let web = "shop/prod/a/web".to_owned();
        assert_eq!(
            told,
            [
                ("main".to_owned(), web.clone(), Some("r1".to_owned()), 2),
                ("raw".to_owned(), web.clone(), Some("r1".to_owned()), 3),
                (web, "shop/prod/a/api".to_owned(), None, 4),
            ]
        );
    }

    #[test]
    fn what_came_by_a_port_that_leads_elsewhere_now_is_left_out() {
        let entries = [
            entry(Source::Listener("tcp-7001".into()), "shop/prod/a/web", Some("r1"), 1),
            entry(Source::Listener("tcp-7000".into()), "shop/prod/b/web", Some("r1"), 1),
            entry(Source::Listener("http".into()), "shop/prod/a/web", None, 1),
        ];
        assert_eq!(counts(&entries, &router()), Vec::new());
    }
}
