//! What a test makes happen to a fake cluster.

use std::time::Duration;

use paas_core::memory::{Ending, Images};
use serde_json::Value;

use super::kubelet::uid_of;
use super::{FakeCluster, State, kinds};

impl FakeCluster {
    /// The images that it pulls.
    pub fn images(&self) -> &Images {
        &self.inner.images
    }

    /// Takes the Gateway API away, as on a cluster without its definitions, or brings it back.
    pub fn set_gateway_api(&self, there: bool) {
        self.inner.with(|state| state.settings.has_gateway_api = there);
    }

    /// How long gateways take to see a change of a route.
    pub fn set_gateway_lag(&self, lag: Duration) {
        self.inner.with(|state| state.settings.gateway_lag = lag);
    }

    /// How long controllers take to see a change of anything.
    pub fn set_controller_lag(&self, lag: Duration) {
        self.inner.with(|state| state.settings.controller_lag = lag);
    }

    /// Allows so many pods in all; what goes beyond is refused as by a quota. `None` ends the bound.
    pub fn set_room(&self, pods: Option<usize>) {
        self.inner.with(|state| state.settings.pods = pods);
        self.inner.work.notify_one();
    }

    /// Cordons the only node, or opens it again.
    pub fn set_schedulable(&self, schedulable: bool) {
        self.inner.with(|state| state.settings.has_node = schedulable);
        self.inner.work.notify_one();
    }

    /// Ends the process of a pod. Returns whether the pod exists.
    pub fn end_pod(&self, name: &str, ending: Ending) -> bool {
        self.inner.with(|state| state.pod_named(name).map(|pod| state.end(pod, ending)).is_some())
    }

    /// Lets a pod fail its readiness probe, or pass it again. Returns whether the pod exists.
    pub fn set_pod_ready(&self, name: &str, ready: bool) -> bool {
        self.inner.with(|state| state.pod_named(name).map(|pod| state.set_ready(pod, ready)).is_some())
    }

    /// Lets a pod print a line. Returns whether the pod exists and runs.
    pub fn print(&self, name: &str, text: &str) -> bool {
        let printed = self.inner.with(|state| {
            let Some(pod) = state.pod_named(name) else { return false };
            let uid = uid_of(&pod).to_owned();
            state.print(&uid, text);
            state.printed.contains_key(&uid)
        });
        // Followers wait for new versions.
        self.inner.newest.send_modify(|_| {});
        printed
    }

    /// How many commands run inside a pod.
    pub fn commands_in(&self, name: &str) -> usize {
        self.inner.with(|state| {
            let Some(pod) = state.pod_named(name) else { return 0 };
            state.commands.iter().filter(|command| command.uid == uid_of(&pod)).count()
        })
    }

    /// How many requests have read objects, watches aside.
    pub fn reads(&self) -> u64 {
        self.inner.with(|state| state.reads)
    }

    /// How many requests have changed something, or tried to.
    pub fn writes(&self) -> u64 {
        self.inner.with(|state| state.writes)
    }
}

impl State {
    fn pod_named(&self, name: &str) -> Option<Value> {
        self.objects.of(kinds::POD).find(|(key, _)| key.name == name).map(|(_, pod)| pod.clone())
    }
}
