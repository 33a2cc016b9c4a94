//! Ordered sets: each instance has an ordinal, and waits as long as another instance of its track has it.

use super::instances::Instance;
use super::{Set, State};
use crate::model::ComponentKind;
use crate::name::TrackKey;
use crate::port::{InstanceId, InstanceObservation, Ordinals, SetKey};

impl Set {
    pub(super) fn is_ordered(&self) -> bool {
        self.template.kind == ComponentKind::Stateful
    }

    pub(super) fn ordinals(&self) -> Ordinals {
        Ordinals { first: self.first, count: self.desired }
    }

    /// The instances, in the order of their making or of their ordinals.
    pub(super) fn observations(&self) -> Vec<InstanceObservation> {
        let mut seen: Vec<_> = self.instances.iter().map(Instance::observation).collect();
        seen.sort_by_key(|instance| instance.ordinal);
        seen
    }
}

impl State {
    /// The volumes of a set, or those of each of its ordinals.
    pub(super) fn make_volumes(&mut self, key: &SetKey) {
        let Some(set) = self.sets.get(key) else { return };
        let ordinals: Vec<Option<u32>> =
            if set.is_ordered() { set.ordinals().iter().map(Some).collect() } else { vec![None] };
        for volume in &set.template.volumes {
            for ordinal in &ordinals {
                self.volumes.insert((key.track.clone(), volume.name.clone(), *ordinal));
            }
        }
    }

    /// Takes out what the set was not told, and makes what it was told.
    pub(super) fn follow_ordinals(&mut self, key: &SetKey) {
        let Some(set) = self.sets.get(key) else { return };
        let told = set.ordinals();
        let standing = || set.instances.iter().filter(|instance| instance.counts());
        let is_told = |instance: &Instance| instance.ordinal.is_some_and(|ordinal| told.contains(ordinal));
        let surplus: Vec<InstanceId> =
            standing().filter(|instance| !is_told(instance)).map(|instance| instance.id.clone()).collect();
        let missing: Vec<u32> =
            told.iter().filter(|ordinal| standing().all(|it| it.ordinal != Some(*ordinal))).collect();
        for id in surplus {
            self.take_out(key, &id);
        }
        for ordinal in missing {
            if !self.make(key, Some(ordinal)) {
                break;
            }
        }
    }

    /// Whether an instance of the track has this ordinal, draining or not.
    pub(super) fn is_held(&self, track: &TrackKey, ordinal: u32) -> bool {
        let mut instances = self.sets_of(track).flat_map(|(_, set)| &set.instances);
        instances.any(|instance| instance.ordinal == Some(ordinal) && !instance.waits)
    }

    /// Starts the instances whose ordinal nobody else has any more.
    pub(super) fn start_waiting(&mut self, track: &TrackKey) {
        let waiting: Vec<(SetKey, InstanceId, u32)> = self
            .sets_of(track)
            .flat_map(|(key, set)| set.instances.iter().map(move |instance| (key, instance)))
            .filter(|(_, instance)| instance.waits && instance.counts())
            .filter_map(|(key, it)| it.ordinal.map(|ordinal| (key.clone(), it.id.clone(), ordinal)))
            .collect();
        for (key, id, ordinal) in waiting {
            if self.is_held(track, ordinal) {
                continue;
            }
            if let Some((instance, _)) = self.instance_mut(&key, &id) {
                instance.waits = false;
            }
            let image = self.image_of(&key);
            self.pull(&key, &id, image.as_ref());
        }
    }
}
