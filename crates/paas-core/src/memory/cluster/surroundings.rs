//! Machines and spaces, and what instances use.

use std::collections::BTreeMap;

use super::State;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{EnvRef, TrackKey};
use crate::port::{Drift, Epoch, InstanceId, Node, SetKey, Usage};
use crate::quantity::{Bytes, Cpu};

impl State {
    fn node(&self, name: &str) -> Result<u32> {
        let number = name.strip_prefix("node-").and_then(|number| number.parse().ok());
        let known = number.filter(|number| self.nodes.contains(number));
        known.ok_or_else(|| Error::not_found("node", name))
    }

    pub(in crate::memory) fn list_nodes(&self) -> Vec<Node> {
        let node = |number: &u32| Node {
            name: format!("node-{number}"),
            labels: BTreeMap::new(),
            cpu: Cpu::from_milli(16_000),
            memory: Bytes::from_mebi(64 * 1024),
            most_instances: None,
            ready: true,
            schedulable: !self.cordoned.contains(number),
            problems: Vec::new(),
        };
        self.nodes.iter().map(node).collect()
    }

    pub(in crate::memory) fn cordon(&mut self, name: &str, cordoned: bool) -> Result<()> {
        let node = self.node(name)?;
        if cordoned {
            self.cordoned.insert(node);
        } else if self.cordoned.remove(&node) {
            self.settle_all();
        }
        Ok(())
    }

    /// Lets every instance go from a machine; each is replaced elsewhere.
    pub(in crate::memory) fn drain(&mut self, name: &str) -> Result<Vec<InstanceId>> {
        self.cordon(name, true)?;
        let node = self.node(name)?;
        let on_it: Vec<(SetKey, InstanceId)> = self
            .sets
            .iter()
            .flat_map(|(key, set)| set.instances.iter().map(move |instance| (key, instance)))
            .filter(|(_, instance)| instance.node == node)
            .map(|(key, instance)| (key.clone(), instance.id.clone()))
            .collect();
        for (key, id) in &on_it {
            self.forget(key, id);
        }
        Ok(on_it.into_iter().map(|(_, id)| id).collect())
    }

    pub(in crate::memory) fn usage(&self, track: &TrackKey) -> BTreeMap<InstanceId, Usage> {
        let usage = Usage { cpu: Some(Cpu::from_milli(10)), memory: Bytes::from_mebi(16) };
        let running = self.sets_of(track).flat_map(|(_, set)| &set.instances).filter(|it| it.runs());
        running.map(|instance| (instance.id.clone(), usage)).collect()
    }

    /// Notes that there is a space, as a runtime does that needs one.
    pub(in crate::memory) fn use_space(&mut self, env: &EnvRef) {
        self.spaces.entry(env.clone()).or_default();
    }

    pub(in crate::memory) fn ensure_space(&mut self, epoch: Epoch, env: &EnvRef) -> Result<Vec<Drift>> {
        self.fence("make an environment's space", env, epoch)?;
        Ok(std::mem::take(self.spaces.entry(env.clone()).or_default()))
    }

    pub(in crate::memory) fn remove_space(&mut self, epoch: Epoch, env: &EnvRef) -> Result<()> {
        const OPERATION: &str = "remove an environment's space";
        self.fence(OPERATION, env, epoch)?;
        let inside = |track: &TrackKey| track.component.at.env_ref() == *env;
        if self.volumes.iter().any(|(track, ..)| inside(track)) {
            return Err(Error::new(ErrorKind::Conflict, OPERATION)
                .with_context("environment", env)
                .with_source("it holds volumes"));
        }
        self.spaces.remove(env);
        self.sets.retain(|key, _| !inside(&key.track));
        self.services.retain(|track, _| !inside(track));
        self.routes.retain(|at, _| at.env_ref() != *env);
        Ok(())
    }

    pub(in crate::memory) fn list_spaces(&self) -> Vec<EnvRef> {
        self.spaces.keys().cloned().collect()
    }
}
