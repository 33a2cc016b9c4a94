//! What the cluster itself says about a track: its events, for people who look for a cause.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use paas_core::{Result, TrackKey};

use crate::cluster::KubernetesCluster;
use crate::error::failed;
use crate::runtime::instances_of;
use crate::scheme::component_name;

/// Something that the cluster noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterEvent {
    /// When it happened last.
    pub at: Timestamp,
    /// How often it happened.
    pub count: u32,
    /// Whether it is a warning.
    pub warning: bool,
    /// The object, as `Kind/name`.
    pub object: String,
    /// The cluster's word for it.
    pub reason: String,
    /// What happened.
    pub message: String,
}

impl KubernetesCluster {
    /// The events of a track's objects that the cluster still keeps (an hour, as a rule), the oldest first.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn events(&self, track: &TrackKey) -> Result<Vec<ClusterEvent>> {
        const OPERATION: &str = "read the events of a track";
        let shared = &self.shared;
        let pods = instances_of(shared, OPERATION, track).await?;
        let names: Vec<String> = pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        let prefix = component_name(&track.component);
        // Deployments and replica sets begin with the component's name, without its hash.
        let prefix = prefix.rsplit_once('-').map_or(prefix.as_str(), |(name, _)| name).to_owned();
        let api: Api<Event> = shared.api(&shared.namespace(&track.component.at.env_ref()));
        let found = api.list(&ListParams::default()).await;
        let found = found.map_err(|error| failed(OPERATION, error).with_context("track", track))?;
        let about = |event: &Event| {
            let object = &event.involved_object;
            let (kind, name) = (object.kind.as_deref(), object.name.clone().unwrap_or_default());
            match kind {
                Some("Pod") => names.contains(&name),
                Some("Deployment" | "ReplicaSet" | "StatefulSet") => name.starts_with(&format!("{prefix}-")),
                _ => false,
            }
        };
        let mut events: Vec<ClusterEvent> =
            found.items.iter().filter(|event| about(event)).map(told).collect();
        events.sort_by_key(|event| event.at);
        Ok(events)
    }
}

fn told(event: &Event) -> ClusterEvent {
    let object = &event.involved_object;
    let at = event.last_timestamp.as_ref().map(|at| at.0).or(event.event_time.as_ref().map(|at| at.0));
    ClusterEvent {
        at: at.or(event.metadata.creation_timestamp.as_ref().map(|at| at.0)).unwrap_or_default(),
        count: event.count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        warning: event.type_.as_deref() == Some("Warning"),
        object: format!(
            "{}/{}",
            object.kind.as_deref().unwrap_or_default(),
            object.name.as_deref().unwrap_or_default()
        ),
        reason: event.reason.clone().unwrap_or_default(),
        message: event.message.clone().unwrap_or_default(),
    }
}
