//! Ordered sets: each instance has an ordinal, and waits until no instance of another set has it.

use std::collections::BTreeMap;

use super::{Cluster, Instance, Life, Quality, Set};
use crate::port::Ordinals;

impl Set {
    /// What the set was told.
    pub(in crate::memory::sim) fn ordinals(&self) -> Ordinals {
        Ordinals { first: self.first, count: self.desired }
    }

    /// The ordinals of the instances that are ready and stay.
    pub(in crate::memory::sim) fn ready_ordinals(&self) -> impl Iterator<Item = u32> {
        let ready = self.instances.iter().filter(|instance| matches!(instance.life, Life::Ready(_)));
        ready.map(|instance| instance.ordinal).filter(|ordinal| self.ordinals().contains(*ordinal))
    }
}

impl Cluster {
    pub(in crate::memory::sim) fn ready_ordinals(&self) -> Vec<u32> {
        self.sets.values().flat_map(Set::ready_ordinals).collect()
    }

    /// How many instances run with each ordinal.
    pub(in crate::memory::sim) fn running(&self) -> BTreeMap<u32, usize> {
        let mut running = BTreeMap::new();
        let instances = self.sets.values().flat_map(|set| &set.instances);
        for instance in instances.filter(|instance| !matches!(instance.life, Life::Waiting)) {
            *running.entry(instance.ordinal).or_default() += 1;
        }
        running
    }

    /// Takes out what no set was told any more, makes what one was told, and starts what no longer waits.
    pub(super) fn follow_ordinals(&mut self) {
        let now = self.now;
        for set in self.sets.values_mut() {
            let told = set.ordinals();
            for instance in &mut set.instances {
                if !matches!(instance.life, Life::Draining(_)) && !told.contains(instance.ordinal) {
                    instance.take_out(now);
                }
            }
            set.instances.retain(|instance| !matches!(instance.life, Life::Draining(until) if until <= now));
            for ordinal in told.iter() {
                let mut others = set.instances.iter().filter(|it| !matches!(it.life, Life::Draining(_)));
                if !others.any(|instance| instance.ordinal == ordinal) {
                    self.born += 1;
                    set.instances.push(Instance { born: self.born, ordinal, life: Life::Waiting });
                }
            }
        }
        let mut running = self.running();
        let ids: Vec<_> = self.sets.keys().cloned().collect();
        for id in ids {
            let ready_at = self.ready_at(self.qualities.get(&id).copied().unwrap_or(Quality::Good(20)));
            for instance in self.sets.get_mut(&id).into_iter().flat_map(|set| &mut set.instances) {
                let free = !running.contains_key(&instance.ordinal);
                if free && matches!(instance.life, Life::Waiting) {
                    instance.life = Life::Starting(ready_at);
                    running.insert(instance.ordinal, 1);
                }
            }
        }
    }
}
