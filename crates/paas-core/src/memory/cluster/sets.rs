//! Sets of equal instances.

use std::time::Duration;

use super::State;
use super::instances::{Instance, Stage};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{RevisionId, Template};
use crate::name::TrackKey;
use crate::port::{
    Epoch, InstanceFailure, InstanceId, InstancePhase, Ordinals, SetKey, SetObservation, SetSpec,
    TrackObservation,
};

/// A set: instances of one template.
#[derive(Debug)]
pub(in crate::memory) struct Set {
    pub(in crate::memory) template: Template,
    pub(in crate::memory) desired: u32,
    pub(super) first: u32,
    /// Taken away: it ends with its last instance.
    removed: bool,
    pub(in crate::memory) instances: Vec<Instance>,
    failure: Option<InstanceFailure>,
}

impl State {
    pub(in crate::memory) fn ensure(&mut self, epoch: Epoch, spec: &SetSpec) -> Result<()> {
        const OPERATION: &str = "make a set";
        self.fence(OPERATION, &spec.key, epoch)?;
        if let Some(set) = self.sets.get_mut(&spec.key) {
            if set.template != spec.template {
                return Err(Error::new(ErrorKind::Conflict, OPERATION)
                    .with_context("set", &spec.key)
                    .with_source("the set exists with another template"));
            }
            if set.removed {
                set.removed = false;
                (set.desired, set.first) = (spec.count, spec.first);
                if spec.count > 0 {
                    self.put_objects(&spec.key, &spec.template);
                }
            }
        } else {
            self.check_hosts(OPERATION, &spec.key, &spec.template)?;
            self.use_space(&spec.key.track.component.at.env_ref());
            let set = Set {
                template: spec.template.clone(),
                desired: spec.count,
                first: spec.first,
                removed: false,
                instances: Vec::new(),
                failure: None,
            };
            self.sets.insert(spec.key.clone(), set);
            if spec.count > 0 {
                self.put_objects(&spec.key, &spec.template);
            }
            self.changed(&spec.key.track);
        }
        self.make_volumes(&spec.key);
        self.settle(&spec.key);
        Ok(())
    }

    pub(in crate::memory) fn scale(&mut self, epoch: Epoch, key: &SetKey, ordinals: Ordinals) -> Result<()> {
        const OPERATION: &str = "scale a set";
        self.fence(OPERATION, key, epoch)?;
        let Some(set) = self.sets.get_mut(key).filter(|set| !set.removed) else {
            return Err(Error::new(ErrorKind::NotFound, OPERATION).with_context("set", key));
        };
        if set.ordinals() != ordinals {
            let raised = (set.desired == 0).then(|| set.template.clone());
            (set.desired, set.first) = (ordinals.count, ordinals.first);
            if let Some(template) = raised {
                self.put_objects(key, &template);
            }
            self.changed(&key.track);
            self.make_volumes(key);
            self.settle(key);
        }
        Ok(())
    }

    pub(in crate::memory) fn remove(&mut self, epoch: Epoch, key: &SetKey) -> Result<()> {
        self.fence("remove a set", key, epoch)?;
        if let Some(set) = self.sets.get_mut(key) {
            set.removed = true;
            set.desired = 0;
            self.prune_objects(key);
            self.settle(key);
        }
        Ok(())
    }

    pub(in crate::memory) fn purge(&mut self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        const OPERATION: &str = "purge a track";
        self.fence(OPERATION, track, epoch)?;
        if self.sets_of(track).next().is_some() {
            return Err(Error::new(ErrorKind::Conflict, OPERATION)
                .with_context("track", track)
                .with_source("it still has a set")
                .with_remedy("Remove its sets and wait until they are gone."));
        }
        self.volumes.retain(|(owner, ..)| owner != track);
        Ok(())
    }

    pub(in crate::memory) fn observe(&self, track: &TrackKey) -> TrackObservation {
        let sets = self.sets_of(track).map(|(key, set)| {
            let observation = SetObservation {
                revision: key.revision.clone(),
                desired: set.desired,
                first: set.first,
                instances: set.observations(),
                failure: set.failure.clone(),
            };
            (key.revision.clone(), observation)
        });
        TrackObservation { sets: sets.collect() }
    }

    pub(in crate::memory) fn tracks(&self) -> Vec<TrackKey> {
        let mut tracks: Vec<TrackKey> = self.sets.keys().map(|key| key.track.clone()).collect();
        tracks.dedup();
        tracks
    }

    /// Makes what is missing and takes out of service what is too much.
    fn settle(&mut self, key: &SetKey) {
        let Some(set) = self.sets.get(key) else { return };
        let mut standing: Vec<(bool, usize)> = set
            .instances
            .iter()
            .enumerate()
            .filter(|(_, instance)| instance.counts())
            .map(|(index, instance)| (instance.is_ready(), index))
            .collect();
        let desired = set.desired as usize;
        if set.is_ordered() {
            self.follow_ordinals(key);
        } else if standing.len() > desired {
            // Those that are not ready first, then the youngest: the order of `instances` is the order of their making.
            standing.sort_by_key(|(ready, index)| (*ready, std::cmp::Reverse(*index)));
            let surplus = standing.len() - desired;
            let ids: Vec<InstanceId> =
                standing[..surplus].iter().map(|(_, index)| set.instances[*index].id.clone()).collect();
            for id in ids {
                self.take_out(key, &id);
            }
        }
        if self.sets.get(key).is_some_and(|set| !set.is_ordered()) {
            for _ in standing.len()..desired {
                if !self.make(key, None) {
                    break;
                }
            }
        }
        if let Some(set) = self.sets.get_mut(key) {
            let standing = set.instances.iter().filter(|instance| instance.counts()).count();
            if standing >= set.desired as usize && set.failure.take().is_some() {
                self.changed(&key.track);
            }
        }
        if self.sets.get(key).is_some_and(|set| set.removed && set.instances.is_empty()) {
            self.sets.remove(key);
            self.changed(&key.track);
        }
    }

    /// Gives every set what room there is now.
    pub(super) fn settle_all(&mut self) {
        let keys: Vec<SetKey> = self.sets.keys().cloned().collect();
        for key in keys {
            self.settle(&key);
        }
    }

    /// Makes one instance, or notes on the set why not.
    pub(super) fn make(&mut self, key: &SetKey, ordinal: Option<u32>) -> bool {
        let used: usize = self.sets.values().map(|set| set.instances.len()).sum();
        let node = self.place();
        let refusal = match (self.capacity, node) {
            (Some(capacity), _) if used >= capacity => Some((
                "quota",
                format!(
                    "the cluster allows {capacity} instances and has {used}; free some, or raise the quota"
                ),
            )),
            (_, None) => Some(("no_capacity", "the cluster has no node; add one".to_owned())),
            _ => None,
        };
        let Some(set) = self.sets.get_mut(key) else { return false };
        if let Some((reason, message)) = refusal {
            let failure =
                Some(InstanceFailure { reason: reason.to_owned(), message, last_lines: Vec::new() });
            if set.failure != failure {
                set.failure = failure;
                self.changed(&key.track);
            }
            return false;
        }
        let digest = set.template.digest.clone();
        let id = self.next_id(&format!("{}-{}", key.track.component.component, key.revision));
        self.made.push(id.clone());
        let mut instance = Instance::new(id.clone(), ordinal, node.unwrap_or_default());
        instance.waits = ordinal.is_some_and(|ordinal| self.is_held(&key.track, ordinal));
        let waits = instance.waits;
        if let Some(set) = self.sets.get_mut(key) {
            set.instances.push(instance);
        }
        if !waits {
            let image = self.images.behavior(&digest);
            self.pull(key, &id, image.as_ref());
        }
        self.changed(&key.track);
        true
    }

    /// Takes an instance out of service, lets it drain, stops it.
    pub(super) fn take_out(&mut self, key: &SetKey, id: &InstanceId) {
        let image = self.image_of(key).unwrap_or_default();
        let Some((instance, template)) = self.instance_mut(key, id) else { return };
        let mut rest = Duration::ZERO;
        if instance.runs() {
            let termination = &template.termination;
            rest = image.drains_for().min(Duration::from_secs(termination.drain_seconds.into()))
                + image.stops_in().min(Duration::from_secs(termination.grace_seconds.into()));
        }
        instance.phase = InstancePhase::Draining;
        instance.ready_since = None;
        instance.life += 1;
        let life = instance.life;
        self.instance_after(key, id, life, rest, Stage::Gone);
        self.changed(&key.track);
    }

    /// An instance is gone: what its set lacks is made, and others may use the room.
    pub(super) fn forget(&mut self, key: &SetKey, id: &InstanceId) {
        if let Some(set) = self.sets.get_mut(key) {
            set.instances.retain(|instance| instance.id != *id);
        }
        self.changed(&key.track);
        self.settle(key);
        self.start_waiting(&key.track);
        if self.capacity.is_some() {
            self.settle_all();
        }
    }

    /// Whether there is such a set that is not being taken away.
    pub(in crate::memory) fn has_set(&self, key: &SetKey) -> bool {
        self.sets.get(key).is_some_and(|set| !set.removed)
    }

    /// The ready instances of a revision, in the order of their making.
    pub(super) fn ready_of(&self, track: &TrackKey, revision: &RevisionId) -> Vec<InstanceId> {
        let key = SetKey { track: track.clone(), revision: revision.clone() };
        let instances = self.sets.get(&key).map(|set| set.instances.as_slice()).unwrap_or_default();
        instances.iter().filter(|instance| instance.is_ready()).map(|instance| instance.id.clone()).collect()
    }
}
