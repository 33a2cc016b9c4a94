//! Knowing when nobody uses an instance any more.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::{Gateway, InstanceStatus, lock};
use crate::{Error, ErrorKind, Result, config::InstanceId};

/// An instance that gets nothing new was left by the last of its users, or got nothing new and had no user then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainEvent {
    /// The instance.
    pub instance: InstanceId,
}

impl Gateway {
    /// Waits until nobody uses the instances, for as long as the timeout allows. Returns those that are used still:
    /// none, if all are free. An instance that the config does not name counts by who uses it still.
    ///
    /// # Errors
    /// `Invalid` if one of them may get requests: it would never be free for sure.
    pub async fn wait_drained(
        &self,
        instances: &[InstanceId],
        timeout: Duration,
    ) -> Result<Vec<InstanceStatus>> {
        let deadline = tokio::time::Instant::now() + timeout;
        // Before the first look, so that nothing is missed between the look and the wait.
        let mut events = self.inner.hub.subscribe();
        loop {
            let used = self.used(instances)?;
            if used.is_empty() {
                return Ok(used);
            }
            match tokio::time::timeout_at(deadline, events.recv()).await {
                // What was missed is seen by looking again.
                Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => {}
                Ok(Err(broadcast::error::RecvError::Closed)) | Err(_) => return self.used(instances),
            }
        }
    }

    /// Instances as they become free.
    pub fn drain_events(&self) -> broadcast::Receiver<InstanceId> {
        self.inner.hub.subscribe()
    }

    /// Replaces what is known of the users in the gateway that this one took over from.
    pub(crate) fn set_predecessor(&self, users: &HashMap<InstanceId, (u32, u32)>) {
        let before = std::mem::replace(&mut *lock(&self.inner.predecessor), users.clone());
        for id in before.keys().filter(|id| !users.contains_key(*id)) {
            self.inner.hub.tell(id);
        }
    }

    /// All instances that are used, with requests and connections.
    pub(crate) fn users(&self) -> HashMap<InstanceId, (u32, u32)> {
        let mut users = lock(&self.inner.predecessor).clone();
        let instances = lock(&self.inner.instances);
        for instance in instances.current.values().chain(&instances.leaving) {
            let (requests, connections) = instance.load();
            if requests + connections > 0 {
                let sum = users.entry(instance.id.clone()).or_default();
                *sum = (sum.0 + requests, sum.1 + connections);
            }
        }
        users
    }

    fn used(&self, instances: &[InstanceId]) -> Result<Vec<InstanceStatus>> {
        {
            let known = lock(&self.inner.instances);
            let serving =
                |id: &&InstanceId| known.current.get(*id).is_some_and(|instance| instance.is_accepting());
            if let Some(serving) = instances.iter().find(serving) {
                return Err(Error::new(ErrorKind::Invalid, "wait for an instance to be free")
                    .with("instance", serving)
                    .with_detail("it may get requests: apply a config first in which it is draining"));
            }
        }
        let users = self.users();
        let used = |id: &InstanceId| {
            users.get(id).map(|(requests, connections)| InstanceStatus {
                instance: id.clone(),
                accepting: false,
                requests: *requests,
                connections: *connections,
            })
        };
        Ok(instances.iter().filter_map(used).collect())
    }
}
