//! Instances as pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, EnvVar, EnvVarSource, HostAlias, LocalObjectReference, ObjectFieldSelector,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, SeccompProfile, TopologySpreadConstraint,
    Volume, VolumeMount,
};
use paas_core::model::{ProbeCheck, ResolvedValue, RestartPolicy, Template};
use paas_core::{ComponentKey, Error, ErrorKind, Fault, Result, TrackKey};

use super::{Builder, Inputs, config, container, matching, probe};
use crate::options::{KubernetesOptions, SecurityLevel};
use crate::scheme::volume_name;

/// The name of a volume among those of its pod.
pub(super) fn volume_in_pod(mount: &paas_core::model::VolumeMount) -> String {
    format!("volume-{}", mount.name)
}

/// The group that may read files and volumes, whichever user an instance runs as.
const FILE_GROUP: i64 = 2000;
const TEMPORARY: &str = "tmp";

/// What a pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Instance,
    Run,
}

impl Builder<'_> {
    /// The pod of a template. `object` names the config map and the secret.
    pub(super) fn pod(
        &self,
        track: &TrackKey,
        template: &Template,
        more_env: &BTreeMap<String, ResolvedValue>,
        inputs: &Inputs,
        object: &str,
        purpose: Purpose,
    ) -> PodSpec {
        let component = &template.component;
        let mut container = self.container(template);
        let mut env = platform_env(track);
        let mut declared = template.env.clone();
        declared.extend(more_env.clone());
        env.retain(|variable| !declared.contains_key(&variable.name));
        env.extend(config::env(&declared, object));
        container.env = Some(env);

        let (mut volumes, mut mounts) = config::files(template, object);
        for mount in &template.volumes {
            let claim = PersistentVolumeClaimVolumeSource {
                claim_name: volume_name(component, mount.name.as_str()),
                read_only: Some(mount.read_only),
            };
            let name = volume_in_pod(mount);
            volumes.push(Volume {
                name: name.clone(),
                persistent_volume_claim: Some(claim),
                ..Volume::default()
            });
            mounts.push(VolumeMount {
                name,
                mount_path: mount.path.clone(),
                read_only: Some(mount.read_only),
                ..VolumeMount::default()
            });
        }
        if template.security.read_only_root {
            let empty = Some(EmptyDirVolumeSource::default());
            volumes.push(Volume { name: TEMPORARY.to_owned(), empty_dir: empty, ..Volume::default() });
            mounts.push(VolumeMount {
                name: TEMPORARY.to_owned(),
                mount_path: "/tmp".to_owned(),
                ..VolumeMount::default()
            });
        }
        container.volume_mounts = Some(mounts);
        let grace = i64::from(template.termination.grace_seconds);
        let grace = if purpose == Purpose::Instance {
            let probes = probe::probes(template);
            container.startup_probe = probes.startup;
            container.readiness_probe = probes.readiness;
            container.liveness_probe = probes.liveness;
            container.lifecycle = self.lifecycle(template);
            grace + i64::from(template.termination.drain_seconds).max(self.settle_seconds(template))
        } else {
            grace
        };
        PodSpec {
            containers: vec![container],
            volumes: Some(volumes),
            restart_policy: Some(if purpose == Purpose::Instance { "Always" } else { "Never" }.to_owned()),
            // A grace of 0 would kill without a signal.
            termination_grace_period_seconds: Some(grace.max(1)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            host_aliases: Some(aliases(inputs)),
            image_pull_secrets: Some(
                self.options
                    .image_pull_secrets
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect(),
            ),
            security_context: Some(self.pod_security(template)),
            topology_spread_constraints: (purpose == Purpose::Instance).then(|| self.spread(component)),
            ..PodSpec::default()
        }
    }

    fn pod_security(&self, template: &Template) -> PodSecurityContext {
        let (_, group) = container::user(template).unwrap_or_default();
        let shares_files = !template.files.is_empty() || !template.volumes.is_empty();
        PodSecurityContext {
            run_as_non_root: Some(self.options.security == SecurityLevel::Restricted),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            fs_group: shares_files.then(|| group.unwrap_or(FILE_GROUP)),
            fs_group_change_policy: shares_files.then(|| "OnRootMismatch".to_owned()),
            ..PodSecurityContext::default()
        }
    }

    /// Instances of a component keep apart where they can, and run together where they must.
    fn spread(&self, component: &ComponentKey) -> Vec<TopologySpreadConstraint> {
        let constraint = |topology: &str| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: topology.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(matching(self.installation().component_selector(component))),
            ..TopologySpreadConstraint::default()
        };
        vec![constraint("topology.kubernetes.io/zone"), constraint("kubernetes.io/hostname")]
    }
}

/// Components are called under their names: each is an alias of its service's address.
fn aliases(inputs: &Inputs) -> Vec<HostAlias> {
    let alias = |(name, address): (&paas_core::ComponentName, &String)| HostAlias {
        ip: address.clone(),
        hostnames: Some(vec![name.to_string()]),
    };
    inputs.hosts.iter().map(alias).collect()
}

/// What the platform tells every instance, unless it declares the variable itself.
fn platform_env(track: &TrackKey) -> Vec<EnvVar> {
    let plain = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..EnvVar::default()
    };
    let at = &track.component.at;
    vec![
        plain("PAAS_ORG", at.org.as_str()),
        plain("PAAS_ENV", at.env.as_str()),
        plain("PAAS_APP", at.app.as_str()),
        plain("PAAS_COMPONENT", track.component.component.as_str()),
        EnvVar {
            name: "PAAS_INSTANCE".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.name".to_owned(),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        },
    ]
}

/// Refuses what cannot be done on Kubernetes, all of it at once.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with every fault.
pub(crate) fn check(
    operation: &'static str,
    options: &KubernetesOptions,
    template: &Template,
    is_run: bool,
) -> Result<()> {
    let faults = faults(options, template, is_run);
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, operation)
        .with_context("component", &template.component)
        .with_faults(faults))
}

/// What cannot be done on Kubernetes, each with its path in the template.
pub(crate) fn faults(options: &KubernetesOptions, template: &Template, is_run: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |path: &str, message: String| faults.push(Fault::new(path, message));
    if template.image.starts_with("oci:") || template.image.starts_with("oci-archive:") {
        let message = format!("image {:?} is a file here; push it to a registry", template.image);
        fault("image", message);
    }
    if !template.volumes.is_empty() && options.volumes.is_none() {
        fault("volumes", "this cluster has no volumes; configure a storage class".to_owned());
    }
    if let Some(user) = &template.security.user
        && container::user(template).is_none()
    {
        fault("security.user", format!("user {user:?} is a name; write it as a number"));
    }
    if template.resources.pids.is_some() {
        let message = "Kubernetes bounds processes by node and not by instance; leave it out".to_owned();
        fault("resources.pids", message);
    }
    if !is_run && template.restart != RestartPolicy::Always {
        let message =
            "instances of a set are always restarted on Kubernetes; use always, or a job".to_owned();
        fault("restart", message);
    }
    let probes = [
        ("probes.startup", &template.probes.startup),
        ("probes.readiness", &template.probes.readiness),
        ("probes.liveness", &template.probes.liveness),
    ];
    for (path, probe) in probes {
        let Some(probe) = probe else { continue };
        let port = match &probe.check {
            ProbeCheck::Http { port, .. } | ProbeCheck::Tcp { port } => port,
            ProbeCheck::Command(_) => continue,
            _ => {
                fault(path, "this kind of check is not known here".to_owned());
                continue;
            }
        };
        let found = port
            .as_ref()
            .map_or(!template.ports.is_empty(), |name| template.ports.iter().any(|port| port.name == *name));
        if !found {
            fault(path, "it asks a port that the component does not have".to_owned());
        }
    }
    faults
}
