//! Objects of manifests: taken over by the set that was raised last, removed with the set that still has them.

use std::collections::BTreeMap;

use super::super::Image;
use super::{SimulatedCluster, State};
use crate::model::{Manifest, RevisionId, Template};
use crate::name::TrackKey;
use crate::port::SetKey;

/// The objects of a track, each with the revision that has it.
pub(super) type Objects = BTreeMap<String, RevisionId>;

impl SimulatedCluster {
    /// The objects of a track, such as `Deployment/web`, each with the revision that has it.
    pub fn objects(&self, track: &TrackKey) -> BTreeMap<String, RevisionId> {
        self.inner.with(|state| state.objects.get(track).cloned().unwrap_or_default())
    }
}

impl State {
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
