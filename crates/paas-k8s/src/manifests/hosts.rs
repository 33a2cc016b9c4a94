//! The hosts that objects lead requests from, and who else has them.

use std::collections::BTreeMap;

use paas_core::model::{Manifest, Template};
use paas_core::port::{HostPath, SetKey};
use paas_core::{AppEnv, Error, ErrorKind, Result, TrackKey};
use serde_json::Value;

use super::apply::kept;
use crate::cluster::Shared;
use crate::mirror::Source;

/// Every host and path of a template, each with the path of the field that names the host. An object that names none leads from
/// none that anybody has.
pub(crate) fn hosts(template: &Template) -> Vec<(String, HostPath)> {
    let mut found = Vec::new();
    for (index, object) in template.manifests.iter().enumerate() {
        let of_object = of(object).into_iter();
        found
            .extend(of_object.map(|(path, host)| (format!("manifests[{index}] {object}.spec.{path}"), host)));
    }
    found
}

fn of(object: &Manifest) -> Vec<(String, HostPath)> {
    let Some(spec) = object.0.get("spec") else { return Vec::new() };
    match (object.group(), object.kind()) {
        ("networking.k8s.io", "Ingress") => of_ingress(spec),
        (crate::gateway_api::GROUP, "HTTPRoute" | "GRPCRoute") => of_route(spec),
        _ => Vec::new(),
    }
}

fn items(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

fn of_ingress(spec: &Value) -> Vec<(String, HostPath)> {
    let mut found = Vec::new();
    for (index, rule) in items(&spec["rules"]) {
        let Some(host) = rule["host"].as_str().filter(|host| !host.is_empty()) else { continue };
        let mut paths: Vec<&str> =
            items(&rule["http"]["paths"]).map(|(_, it)| it["path"].as_str().unwrap_or("/")).collect();
        if paths.is_empty() {
            paths.push("/");
        }
        found.extend(
            paths.into_iter().map(|path| (format!("rules[{index}].host"), HostPath::new(host, path))),
        );
    }
    found
}

fn of_route(spec: &Value) -> Vec<(String, HostPath)> {
    let mut paths = Vec::new();
    for (_, rule) in items(&spec["rules"]) {
        let before = paths.len();
        paths.extend(items(&rule["matches"]).map(|(_, it)| path_of(it)));
        if paths.len() == before {
            paths.push("/".to_owned());
        }
    }
    let mut found = Vec::new();
    for (index, host) in items(&spec["hostnames"]) {
        let Some(host) = host.as_str() else { continue };
        let named = |path: &String| (format!("hostnames[{index}]"), HostPath::new(host, path));
        found.extend(paths.iter().map(named));
    }
    found
}

/// What a match of a route asks of the path: a path, or a service and a method of gRPC.
fn path_of(wanted: &Value) -> String {
    let method = &wanted["method"];
    match (wanted["path"]["value"].as_str(), method["service"].as_str(), method["method"].as_str()) {
        (Some(path), ..) => path.to_owned(),
        (None, Some(service), Some(method)) => format!("/{service}/{method}"),
        (None, Some(service), None) => format!("/{service}"),
        (None, None, _) => "/".to_owned(),
    }
}

impl Shared {
    /// The hosts of every set of manifests, each with the track that has it.
    async fn manifest_hosts(&self, operation: &'static str) -> Result<Vec<(HostPath, TrackKey)>> {
        let sets = self.all_sets_of_manifests(Source::Mirror, operation).await?;
        let installation = self.installation();
        let mut found = Vec::new();
        for set in &sets {
            let track = set.metadata.labels.as_ref().and_then(|labels| installation.track_of(labels));
            if let (Some(track), Some(template)) = (track, kept(set.data.as_ref())) {
                found.extend(hosts(&template).into_iter().map(|(_, host)| (host, track.clone())));
            }
        }
        Ok(found)
    }

    /// The hosts that other applications' manifests have.
    pub(crate) async fn hosts_of_others(
        &self,
        operation: &'static str,
        at: &AppEnv,
    ) -> Result<BTreeMap<HostPath, AppEnv>> {
        let all = self.manifest_hosts(operation).await?;
        let others = all.into_iter().map(|(host, track)| (host, track.component.at));
        Ok(others.filter(|(_, owner)| owner != at).collect())
    }

    /// Refuses a set that brings a host which another application has. What the track has already stays.
    pub(super) async fn check_hosts(
        &self,
        operation: &'static str,
        key: &SetKey,
        template: &Template,
    ) -> Result<()> {
        let wanted = hosts(template);
        if wanted.is_empty() {
            return Ok(());
        }
        let at = &key.track.component.at;
        let own = self.manifest_hosts(operation).await?;
        let is_new = |host: &HostPath| !own.iter().any(|(has, track)| has == host && *track == key.track);
        let wanted: Vec<_> = wanted.into_iter().filter(|(_, host)| is_new(host)).collect();
        let asked: Vec<HostPath> = wanted.iter().map(|(_, host)| host.clone()).collect();
        let holders = self.holders(at, &asked).await?;
        for ((field, host), owner) in wanted.into_iter().zip(holders) {
            if let Some(owner) = owner {
                return Err(Error::new(ErrorKind::Conflict, operation)
                    .with_context("set", key)
                    .with_context("field", field)
                    .with_context("host", host)
                    .with_context("owner", owner)
                    .with_source("another application has this host and path")
                    .with_remedy("Choose another host or path, or remove it from the other application."));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(object: Value) -> Vec<String> {
        let object: Manifest = serde_json::from_value(object).unwrap();
        of(&object).into_iter().map(|(path, host)| format!("{path} {host}")).collect()
    }

    #[test]
    fn hosts_are_found_with_their_paths() {
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "a" },
            "spec": { "rules": [
                { "host": "a.example", "http": { "paths": [{ "path": "/x/" }, { "path": "/" }] } },
                { "host": "b.example" },
                { "http": { "paths": [{ "path": "/" }] } },
            ] },
        });
        assert_eq!(
            told(ingress),
            ["rules[0].host a.example/x", "rules[0].host a.example/", "rules[1].host b.example/"]
        );
        let route = |kind: &str, matches: Value| {
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": { "name": "a" },
                "spec": { "hostnames": ["a.example"], "rules": [{ "matches": matches }] },
            })
        };
        assert_eq!(told(route("HTTPRoute", json!([]))), ["hostnames[0] a.example/"]);
        let path = json!([{ "path": { "type": "PathPrefix", "value": "/api" } }]);
        assert_eq!(told(route("HTTPRoute", path)), ["hostnames[0] a.example/api"]);
        let method = json!([{ "method": { "service": "shop.Cart", "method": "Add" } }]);
        assert_eq!(told(route("GRPCRoute", method)), ["hostnames[0] a.example/shop.Cart/Add"]);
    }
}
