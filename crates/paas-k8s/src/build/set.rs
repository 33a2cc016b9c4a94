//! A set of equal instances: a deployment and what belongs to it.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, Secret, Service,
    VolumeResourceRequirements,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use paas_core::TrackKey;
use paas_core::model::{ComponentKind, VolumeMount};
use paas_core::port::{Epoch, SetSpec};

use super::pod::{Purpose, volume_in_pod};
use super::{Builder, Inputs, config, matching, metadata, record, service, space};
use crate::scheme::{keys, roles, set_name, volume_name};

/// Everything that a set is made of. The others are owned by the deployment and go with it; volumes stay.
#[derive(Debug, Clone)]
pub(crate) struct SetObjects {
    pub(crate) deployment: Deployment,
    pub(crate) service: Option<Service>,
    pub(crate) config_map: Option<ConfigMap>,
    pub(crate) secret: Option<Secret>,
    pub(crate) budget: PodDisruptionBudget,
    pub(crate) policy: Option<NetworkPolicy>,
    pub(crate) claims: Vec<PersistentVolumeClaim>,
}

impl Builder<'_> {
    /// The objects of a set, in one making of it.
    pub(crate) fn set(&self, epoch: Epoch, spec: &SetSpec, incarnation: &str, inputs: &Inputs) -> SetObjects {
        let installation = self.installation();
        let track = &spec.key.track;
        let namespace = installation.namespace(&track.component.at.env_ref());
        let name = set_name(&spec.key);
        // Immutable objects of another making may still be there, so each making has its own.
        let object = format!("{name}-{incarnation}");
        let labels = |role: &str| self.labels(installation.set_labels(&spec.key), &spec.labels, role);

        let mut annotations = self.remarks(&spec.labels);
        annotations.extend([self.epoch(epoch), (self.key(keys::INCARNATION), incarnation.to_owned())]);
        let template = serde_json::to_string(&record(&spec.template)).unwrap_or_default();
        annotations.insert(self.key(keys::TEMPLATE), template);
        annotations.insert(self.key(keys::PREPARING), spec.count.to_string());
        if spec.template.kind == ComponentKind::Stateful {
            annotations.insert(self.key(keys::ORDINALS), super::ordinals(spec.ordinals()));
        }
        let pod_annotations = BTreeMap::from([(self.key(keys::INCARNATION), incarnation.to_owned())]);
        let pod = PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels(roles::INSTANCE)),
                annotations: Some(pod_annotations),
                ..ObjectMeta::default()
            }),
            spec: Some(self.pod(track, &spec.template, &BTreeMap::new(), inputs, &object, Purpose::Instance)),
        };
        let deployment = Deployment {
            metadata: ObjectMeta {
                annotations: Some(annotations),
                ..metadata(&namespace, &name, labels(roles::SET))
            },
            spec: Some(DeploymentSpec {
                // Instances come when everything else is there: a making that was cut off shows, and is gone on with.
                replicas: Some(0),
                selector: matching(installation.set_selector(&spec.key)),
                // The platform's own strategies replace instances; a set's template never changes.
                revision_history_limit: Some(0),
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_surge: Some(IntOrString::Int(1)),
                        max_unavailable: Some(IntOrString::Int(0)),
                    }),
                }),
                template: pod,
                ..DeploymentSpec::default()
            }),
            status: None,
        };
        let serves = !spec.template.ports.is_empty();
        let policy = self.options.space.isolate.then(|| {
            let meta = metadata(&namespace, &name, labels(roles::SET));
            space::component_policy(self, meta, &spec.key, &spec.template)
        });
        SetObjects {
            deployment,
            service: serves.then(|| Service {
                metadata: metadata(&namespace, &name, labels(roles::SET)),
                spec: Some(service::spec(&spec.template.ports, installation.set_selector(&spec.key))),
                status: None,
            }),
            config_map: config::config_map(metadata(&namespace, &object, labels(roles::SET)), &spec.template),
            secret: config::secret(
                metadata(&namespace, &object, labels(roles::SET)),
                &spec.template,
                &BTreeMap::new(),
                inputs,
            ),
            budget: PodDisruptionBudget {
                metadata: metadata(&namespace, &name, labels(roles::SET)),
                spec: Some(PodDisruptionBudgetSpec {
                    max_unavailable: Some(IntOrString::Int(1)),
                    selector: Some(matching(installation.set_selector(&spec.key))),
                    // An instance that does not serve must not keep its node from being drained.
                    unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                    ..PodDisruptionBudgetSpec::default()
                }),
                status: None,
            },
            policy,
            claims: self.claims(spec),
        }
    }

    /// The claims of the volumes that all instances share; those of a stateful component have each their own.
    fn claims(&self, spec: &SetSpec) -> Vec<PersistentVolumeClaim> {
        if spec.template.kind == ComponentKind::Stateful {
            return Vec::new();
        }
        let shared = self.options.volumes.as_ref().is_some_and(|options| options.shared);
        let name = |mount: &VolumeMount| volume_name(&spec.key.track.component, mount.name.as_str());
        self.claims_of(&spec.key.track, &spec.template.volumes, name, shared)
    }

    /// The templates of the claims that each ordinal has for itself, which name the volumes of the pod that they stand for.
    pub(super) fn ordered_claims(
        &self,
        track: &TrackKey,
        volumes: &[VolumeMount],
    ) -> Vec<PersistentVolumeClaim> {
        let claims = self.claims_of(track, volumes, volume_in_pod, false);
        let local = |mut claim: PersistentVolumeClaim| {
            claim.metadata.namespace = None;
            claim
        };
        claims.into_iter().map(local).collect()
    }

    fn claims_of(
        &self,
        track: &TrackKey,
        volumes: &[VolumeMount],
        name: impl Fn(&VolumeMount) -> String,
        shared: bool,
    ) -> Vec<PersistentVolumeClaim> {
        let Some(options) = &self.options.volumes else { return Vec::new() };
        let installation = self.installation();
        let namespace = installation.namespace(&track.component.at.env_ref());
        let claim = |mount: &VolumeMount| {
            let labels = self.labels(installation.track_labels(track), &BTreeMap::new(), roles::VOLUME);
            let access = if shared { "ReadWriteMany" } else { "ReadWriteOnce" };
            let size = BTreeMap::from([("storage".to_owned(), Quantity(options.size.to_string()))]);
            PersistentVolumeClaim {
                metadata: metadata(&namespace, &name(mount), labels),
                spec: Some(PersistentVolumeClaimSpec {
                    access_modes: Some(vec![access.to_owned()]),
                    storage_class_name: options.storage_class.clone(),
                    resources: Some(VolumeResourceRequirements { requests: Some(size), limits: None }),
                    ..PersistentVolumeClaimSpec::default()
                }),
                status: None,
            }
        };
        volumes.iter().map(claim).collect()
    }
}
