//! What a test makes happen to a simulated cluster.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{ClusterSnapshot, Ending, SimulatedCluster};
use crate::name::EnvRef;
use crate::port::{Drift, InstanceId, LogStream, SecretSource, SetKey};

impl SimulatedCluster {
    /// Allows so many instances in all; what goes beyond is refused and named on the set. `None` ends the bound.
    pub fn set_capacity(&self, capacity: Option<usize>) {
        self.inner.with(|state| {
            state.capacity = capacity;
            state.settle_all();
        });
    }

    /// Lets every change of traffic take so long to be in force.
    pub fn set_router_lag(&self, lag: Duration) {
        self.inner.with(|state| state.router_lag = lag);
    }

    /// Lets its runtime ask here for the values of secrets when it makes sets and starts runs, as real ones do: what cannot be
    /// revealed is not made. Without it none are asked for.
    pub fn set_secrets(&self, secrets: Arc<dyn SecretSource>) {
        *self.inner.secrets.lock().unwrap_or_else(PoisonError::into_inner) = Some(secrets);
    }

    /// Adds a node and returns its number. A new cluster has the node 0.
    pub fn add_node(&self) -> u32 {
        self.inner.with(|state| {
            let node = state.next_node;
            state.next_node += 1;
            state.nodes.insert(node);
            state.settle_all();
            node
        })
    }

    /// Loses a node with everything on it: its instances vanish and are replaced elsewhere, its runs are lost.
    pub fn lose_node(&self, node: u32) {
        self.inner.with(|state| {
            state.nodes.remove(&node);
            state.lose_runs(node);
            let lost: Vec<(SetKey, InstanceId)> = state
                .sets
                .iter()
                .flat_map(|(key, set)| set.instances.iter().map(move |instance| (key, instance)))
                .filter(|(_, instance)| instance.node == node)
                .map(|(key, instance)| (key.clone(), instance.id.clone()))
                .collect();
            for (key, id) in lost {
                state.forget(&key, &id);
            }
        });
    }

    /// Changes something of an environment's space, as somebody else may: it is found and restored.
    pub fn damage_space(&self, env: &EnvRef, drift: Drift) {
        self.inner.with(|state| state.spaces.entry(env.clone()).or_default().push(drift));
    }

    /// Ends the process of an instance. Returns whether it had one.
    pub fn end_instance(&self, id: &InstanceId, ending: Ending) -> bool {
        self.on_instance(id, |state, key| {
            state.end(key, id, ending);
        })
    }

    /// Lets a ready instance fail its readiness probe, or an unready one pass it. Returns whether it exists.
    pub fn set_instance_ready(&self, id: &InstanceId, ready: bool) -> bool {
        self.on_instance(id, |state, key| state.set_ready(key, id, ready))
    }

    /// Lets an instance print a line. Returns whether it exists.
    pub fn print(&self, id: &InstanceId, text: &str) -> bool {
        self.on_instance(id, |state, key| state.print(key, id, LogStream::Stdout, text))
    }

    /// How many commands run inside an instance.
    pub fn commands_in(&self, id: &InstanceId) -> usize {
        self.inner.with(|state| state.commands.get(id).copied().unwrap_or_default())
    }

    /// Every instance ever made, in order.
    pub fn instances_made(&self) -> Vec<InstanceId> {
        self.inner.with(|state| state.made.clone())
    }

    /// What it holds.
    pub fn snapshot(&self) -> ClusterSnapshot {
        self.inner.with(|state| state.snapshot())
    }

    fn on_instance(&self, id: &InstanceId, change: impl FnOnce(&mut super::State, &SetKey)) -> bool {
        self.inner.with(|state| {
            let Some(key) = state.find_instance(id).map(|(key, _)| key.clone()) else { return false };
            change(state, &key);
            true
        })
    }
}
