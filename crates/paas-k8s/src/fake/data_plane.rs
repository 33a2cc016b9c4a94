//! Requests through the gateway: routes by host and path, shares by weight, ready pods behind services.

use std::collections::BTreeMap;

use serde_json::Value;

use super::controllers::{is_ready, selected};
use super::objects::Key;
use super::{FakeCluster, State, kinds};

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// A pod answered.
    Served {
        /// Its name.
        pod: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// The gateway answered itself.
    Refused(u16),
}

impl FakeCluster {
    /// Sends a request through the gateway, as the routes that it has accepted say.
    pub fn request(&self, host: &str, path: &str) -> Reply {
        self.inner.with(|state| state.request(host, path))
    }

    /// Opens a connection to a TCP port of the gateway.
    pub fn connect(&self, port: u16) -> Reply {
        self.inner.with(|state| state.connect(port))
    }
}

/// How well a route fits: an exact host before a wildcard, a longer host before a shorter, then a longer path.
type Rank = (bool, usize, usize);

impl State {
    fn request(&mut self, host: &str, path: &str) -> Reply {
        let mut best: Option<(Rank, String, Value)> = None;
        for (key, route) in self.objects.of(kinds::HTTP_ROUTE) {
            if !is_accepted(route) {
                continue;
            }
            let hosts = route["spec"]["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let Some((exact, length)) = hosts.filter_map(|it| fits_host(it, host)).max() else { continue };
            for rule in route["spec"]["rules"].as_array().into_iter().flatten() {
                let prefix = rule["matches"][0]["path"]["value"].as_str().unwrap_or("/");
                if !fits_path(prefix, path) {
                    continue;
                }
                let rank = (exact, length, prefix.len());
                if best.as_ref().is_none_or(|(found, _, _)| rank > *found) {
                    best = Some((rank, key.namespace.clone().unwrap_or_default(), rule.clone()));
                }
            }
        }
        match best {
            None => Reply::Refused(404),
            Some((_, namespace, rule)) => self.serve(&namespace, &rule),
        }
    }

    fn connect(&mut self, port: u16) -> Reply {
        let found = self.objects.of(kinds::TCP_ROUTE).find_map(|(key, route)| {
            let parent = &route["spec"]["parentRefs"][0];
            let gateway = Key::new(kinds::GATEWAY, parent["namespace"].as_str(), parent["name"].as_str()?);
            let listeners = self.objects.get(&gateway)?["spec"]["listeners"].as_array()?;
            let listener = listeners.iter().find(|it| it["name"] == parent["sectionName"])?;
            let ours = listener["port"].as_u64() == Some(port.into()) && is_accepted(route);
            ours.then(|| (key.namespace.clone().unwrap_or_default(), route["spec"]["rules"][0].clone()))
        });
        match found {
            None => Reply::Refused(0),
            Some((namespace, rule)) => self.serve(&namespace, &rule),
        }
    }

    /// Chooses a backend so that the shares are exact over time, then a ready pod of it.
    fn serve(&mut self, namespace: &str, rule: &Value) -> Reply {
        let references = rule["backendRefs"].as_array().cloned().unwrap_or_default();
        let weights: Vec<(String, u64)> = references
            .iter()
            .map(|it| {
                (it["name"].as_str().unwrap_or_default().to_owned(), it["weight"].as_u64().unwrap_or(1))
            })
            .filter(|(_, weight)| *weight > 0)
            .collect();
        let choice = format!("{namespace}/{weights:?}");
        let sent = self.sent.entry(choice).or_default();
        // The one that has had least of its share.
        let next = weights.iter().min_by(|a, b| {
            let had = |(name, weight): &(String, u64)| (sent.get(name).copied().unwrap_or_default(), *weight);
            let ((sent_a, weight_a), (sent_b, weight_b)) = (had(a), had(b));
            ((sent_a + 1) * weight_b).cmp(&((sent_b + 1) * weight_a))
        });
        let Some((service, _)) = next else { return Reply::Refused(500) };
        *sent.entry(service.clone()).or_default() += 1;
        let turn = sent.values().sum::<u64>();
        let Some(found) = self.objects.get(&Key::new(kinds::SERVICE, Some(namespace), service)) else {
            return Reply::Refused(500);
        };
        let selector = found["spec"]["selector"].clone();
        let pods: Vec<&Value> = self
            .objects
            .of(kinds::POD)
            .filter(|(key, pod)| {
                key.namespace.as_deref() == Some(namespace) && selected(&selector, pod) && is_ready(pod)
            })
            .map(|(_, pod)| pod)
            .collect();
        if pods.is_empty() {
            return Reply::Refused(503);
        }
        let pod = pods[usize::try_from(turn).unwrap_or_default() % pods.len()];
        let labels = pod["metadata"]["labels"].as_object().into_iter().flatten();
        Reply::Served {
            pod: pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            labels: labels
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
        }
    }
}

fn is_accepted(route: &Value) -> bool {
    let conditions = route["status"]["parents"][0]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|it| it["type"] == "Accepted" && it["status"] == "True")
}

fn fits_host(declared: &str, host: &str) -> Option<(bool, usize)> {
    match declared.strip_prefix('*') {
        None => (declared == host).then_some((true, declared.len())),
        Some(suffix) => {
            (host.ends_with(suffix) && host.len() > suffix.len()).then_some((false, suffix.len()))
        }
    }
}

fn fits_path(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
