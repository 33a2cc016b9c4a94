//! Objects of manifests: taken over by the set that was raised last, removed with the set that still has them.

use std::collections::BTreeMap;

use super::super::Image;
use super::sets::Set;
use super::{SimulatedCluster, State};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Manifest, RevisionId, Template};
use crate::name::{AppEnv, TrackKey};
use crate::port::{HostPath, RouteBinding, SetKey};

/// The objects of a track, each with the revision that has it.
pub(super) type Objects = BTreeMap<String, RevisionId>;

impl SimulatedCluster {
    /// The objects of a track, such as `Deployment/web`, each with the revision that has it.
    pub fn objects(&self, track: &TrackKey) -> BTreeMap<String, RevisionId> {
        self.inner.with(|state| state.objects.get(track).cloned().unwrap_or_default())
    }
}

/// The hosts of ingresses, each with the path of its field. Paths below a host are not simulated.
pub(in crate::memory) fn hosts(manifests: &[Manifest]) -> Vec<(String, HostPath)> {
    let mut found = Vec::new();
    for (index, object) in manifests.iter().enumerate().filter(|(_, object)| object.kind() == "Ingress") {
        let rules = object.0.get("spec").and_then(|spec| spec["rules"].as_array());
        for (rule, value) in rules.into_iter().flatten().enumerate() {
            if let Some(host) = value["host"].as_str() {
                let path = format!("manifests[{index}] {object}.spec.rules[{rule}].host");
                found.push((path, HostPath::new(host, "/")));
            }
        }
    }
    found
}

impl State {
    /// Which other application has a host and path.
    pub(in crate::memory) fn holder(&self, at: &AppEnv, wanted: &HostPath) -> Option<&AppEnv> {
        let has = |route: &RouteBinding| {
            route.host.as_ref().is_some_and(|host| HostPath::new(host, &route.path) == *wanted)
        };
        let routes = self.routes.iter().filter(|(_, routes)| routes.iter().any(has)).map(|(owner, _)| owner);
        let brings = |set: &Set| hosts(&set.template.manifests).iter().any(|(_, host)| host == wanted);
        let sets = self.sets.iter().filter(|(_, set)| brings(set)).map(|(key, _)| &key.track.component.at);
        routes.chain(sets).find(|owner| *owner != at)
    }

    /// Refuses manifests that bring a host that another application has.
    pub(super) fn check_hosts(
        &self,
        operation: &'static str,
        key: &SetKey,
        template: &Template,
    ) -> Result<()> {
        let at = &key.track.component.at;
        for (path, host) in hosts(&template.manifests) {
            if let Some(owner) = self.holder(at, &host) {
                return Err(Error::new(ErrorKind::Conflict, operation)
                    .with_context("set", key)
                    .with_context("field", path)
                    .with_context("host", &host)
                    .with_context("taken by", owner)
                    .with_source("another application has the same host and path"));
            }
        }
        Ok(())
    }

    /// Gives the objects of a template to its set.
    pub(super) fn put_objects(&mut self, key: &SetKey, template: &Template) {
        let objects = self.objects.entry(key.track.clone()).or_default();
        objects.extend(template.manifests.iter().map(|object| (object.to_string(), key.revision.clone())));
    }

    /// Removes what no other set took over.
    pub(super) fn prune_objects(&mut self, key: &SetKey) {
        if let Some(objects) = self.objects.get_mut(&key.track) {
            objects.retain(|_, revision| *revision != key.revision);
        }
    }

    /// How manifests behave: as the first image that they name, and as a plain one if they name none.
    pub(super) fn behavior_of(&self, manifests: &[Manifest]) -> Option<Image> {
        let image = |object: &Manifest| {
            let named = object.0.get("spec")?.pointer("/template/spec/containers/0/image")?;
            named.as_str().map(str::to_owned)
        };
        match manifests.iter().find_map(image) {
            Some(image) => self.images.named(&image),
            None => Some(Image::default()),
        }
    }
}
