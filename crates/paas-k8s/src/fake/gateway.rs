//! The gateway's controller: it accepts routes, and says so.

use serde_json::{Value, json};

use super::objects::Key;
use super::{State, kinds};

const CONTROLLER: &str = "example.org/fake-gateway";

impl State {
    /// Says of every route whether it is accepted and its references are found.
    pub(super) fn accept_routes(&mut self) {
        let routes: Vec<(Key, Value)> = self
            .objects
            .of(kinds::HTTP_ROUTE)
            .chain(self.objects.of(kinds::TCP_ROUTE))
            .map(|(key, route)| (key.clone(), route.clone()))
            .collect();
        for (key, mut route) in routes {
            let found = backends(&route).all(|name| {
                let service = Key::new(kinds::SERVICE, key.namespace.as_deref(), name);
                self.objects.get(&service).is_some()
            });
            let parents: Vec<Value> = route["spec"]["parentRefs"].as_array().cloned().unwrap_or_default();
            let seen: Vec<Value> = parents
                .iter()
                .map(|parent| {
                    let gateway = Key::new(
                        kinds::GATEWAY,
                        parent["namespace"].as_str().or(key.namespace.as_deref()),
                        parent["name"].as_str().unwrap_or_default(),
                    );
                    let listener = &parent["sectionName"];
                    let listeners = self.objects.get(&gateway).map(|it| &it["spec"]["listeners"]);
                    let accepted = listeners.is_some_and(|listeners| {
                        listener.is_null()
                            || listeners
                                .as_array()
                                .is_some_and(|all| all.iter().any(|it| it["name"] == *listener))
                    });
                    json!({
                        "parentRef": parent,
                        "controllerName": CONTROLLER,
                        "conditions": [
                            self.route_condition(&route, "Accepted", accepted, "NoMatchingParent"),
                            self.route_condition(&route, "ResolvedRefs", found, "BackendNotFound"),
                        ],
                    })
                })
                .collect();
            route["status"] = json!({ "parents": seen });
            let _ = self.replace(&key, route);
        }
    }

    fn route_condition(&self, route: &Value, kind: &str, holds: bool, otherwise: &str) -> Value {
        let status = if holds { "True" } else { "False" };
        let before = route["status"]["parents"][0]["conditions"].as_array();
        let before =
            before.and_then(|all| all.iter().find(|it| it["type"] == kind && it["status"] == status));
        let at = before.map_or_else(|| self.time(), |it| it["lastTransitionTime"].clone());
        json!({ "type": kind, "status": status, "reason": if holds { kind } else { otherwise }, "message": "",
            "observedGeneration": route["metadata"]["generation"], "lastTransitionTime": at })
    }
}

fn backends(route: &Value) -> impl Iterator<Item = &str> {
    let rules = route["spec"]["rules"].as_array().into_iter().flatten();
    let references = rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten());
    references.filter_map(|reference| reference["name"].as_str())
}
