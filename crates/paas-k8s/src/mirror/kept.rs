//! What is kept of objects: what somebody observes. Whoever writes has the whole from the API server.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, PodTemplateSpec};
use kube::ResourceExt as _;

use crate::scheme::{Installation, keys, roles};

/// Without its template.
pub(super) fn deployment(it: &mut Deployment) {
    if let Some(spec) = &mut it.spec {
        spec.template = PodTemplateSpec::default();
    }
}

/// Without its template, whose metadata says whose it is.
pub(super) fn stateful_set(it: &mut StatefulSet) {
    if let Some(spec) = &mut it.spec {
        spec.template.spec = None;
    }
}

/// With the names of its containers, for which of them is meant, and the probes that it waits for.
pub(super) fn pod(it: &mut Pod) {
    if let Some(spec) = &mut it.spec {
        let kept = std::mem::take(&mut spec.containers).into_iter().map(|it| Container {
            name: it.name,
            startup_probe: it.startup_probe,
            readiness_probe: it.readiness_probe,
            ..Container::default()
        });
        *spec = PodSpec { containers: kept.collect(), ..PodSpec::default() };
    }
}

/// Of an object of manifests only that it is there.
pub(super) fn config_map(it: &mut ConfigMap, installation: &Installation) {
    let role: Option<String> = installation.read(it.labels(), keys::ROLE);
    if role.as_deref() == Some(roles::MANIFEST) {
        it.data = None;
        it.binary_data = None;
    }
}

#[cfg(test)]
mod tests {
    use paas_core::port::InstanceObservation;
    use serde_json::json;

    use super::*;
    use crate::mirror::slim;
    use crate::runtime::instance::observe;

    #[test]
    fn a_pod_is_observed_from_what_is_kept_of_it_as_from_the_whole() {
        let installation = Installation::new("test", "paas.example").expect("it is an installation");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "web-1", "managedFields": [{ "manager": "kubelet" }] },
            "spec": {
                "nodeName": "node-1", "volumes": [{ "name": "data", "emptyDir": {} }],
                "containers": [{ "name": "main", "image": "example/web:1", "args": ["web"],
                                 "env": [{ "name": "PORT", "value": "8080" }],
                                 "readinessProbe": { "httpGet": { "path": "/readyz", "port": 8080 } } }],
            },
            "status": { "phase": "Running", "containerStatuses": [{
                "name": "main", "image": "example/web:1", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }] },
        }))
        .expect("it is a pod");
        let kept = slim(pod.clone(), &installation);
        let observed: [InstanceObservation; 2] = [observe(&pod), observe(&kept)];
        assert!(observed[0].failure.is_some(), "its probe does not succeed");
        assert_eq!(observed[0], observed[1]);
        let container = &kept.spec.as_ref().expect("a specification").containers[0];
        assert!(container.env.is_none() && kept.metadata.managed_fields.is_none());
    }
}
