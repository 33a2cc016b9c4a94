//! Stateful components: one stateful set for all the sets of a track, and the service by which its instances find each other.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Service, ServiceSpec};
use paas_core::TrackKey;
use paas_core::model::VolumeMount;
use paas_core::port::Ordinals;

use super::{Builder, matching, metadata};
use crate::scheme::{component_name, keys, peers_name, roles};

/// Ordinals as the text of an annotation.
pub(crate) fn ordinals(told: Ordinals) -> String {
    format!("{}+{}", told.first, told.count)
}

/// The stateful set of a track. Its instances do not wait for each other: which of them there are, and in which order they
/// are exchanged, the engine says.
pub(crate) fn stateful_set(
    builder: &Builder<'_>,
    track: &TrackKey,
    volumes: &[VolumeMount],
    template: PodTemplateSpec,
    (replicas, partition): (i32, i32),
) -> StatefulSet {
    let installation = builder.installation();
    let namespace = installation.namespace(&track.component.at.env_ref());
    let labels = builder.labels(installation.track_labels(track), &BTreeMap::new(), roles::ORDERED);
    // The cluster's controller writes the labels of the selector on claims, whose role is another one.
    let mut selector = installation.component_selector(&track.component);
    selector.remove(&installation.key(keys::ROLE));
    let keep = Some("Retain".to_owned());
    StatefulSet {
        metadata: metadata(&namespace, &component_name(&track.component), labels),
        spec: Some(StatefulSetSpec {
            replicas: Some(replicas),
            selector: matching(selector),
            service_name: Some(peers_name(&track.component)),
            pod_management_policy: Some("Parallel".to_owned()),
            revision_history_limit: Some(3),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateStatefulSetStrategy {
                    partition: Some(partition),
                    ..RollingUpdateStatefulSetStrategy::default()
                }),
            }),
            // Data outlives instances; it goes with the component.
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: keep.clone(),
                when_scaled: keep,
            }),
            volume_claim_templates: Some(builder.ordered_claims(track, volumes)),
            template,
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

/// A service without an address: it gives every instance of a stateful component a name, ready or not.
pub(crate) fn peers_service(builder: &Builder<'_>, track: &TrackKey) -> Service {
    let installation = builder.installation();
    let namespace = installation.namespace(&track.component.at.env_ref());
    let labels = builder.labels(installation.track_labels(track), &BTreeMap::new(), roles::ORDERED);
    Service {
        metadata: metadata(&namespace, &peers_name(&track.component), labels),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(installation.component_selector(&track.component)),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
