//! A run to completion: a job with one pod that is never made again.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use paas_core::port::{Epoch, RunInput, RunSpec};

use super::pod::Purpose;
use super::{Builder, Inputs, config, container, metadata, needs_objects};
use crate::scheme::{keys, roles, run_label, run_name};

/// Everything that a run is made of. The others are owned by the job.
#[derive(Debug, Clone)]
pub(crate) struct RunObjects {
    pub(crate) job: Job,
    pub(crate) config_map: Option<ConfigMap>,
    pub(crate) secret: Option<Secret>,
    /// Whether the job begins suspended, because its pod could not start without the other objects.
    pub(crate) staged: bool,
}

impl Builder<'_> {
    /// The objects of a run.
    pub(crate) fn run(&self, epoch: Epoch, spec: &RunSpec, inputs: &Inputs) -> RunObjects {
        let installation = self.installation();
        let namespace = installation.namespace(&spec.track.component.at.env_ref());
        let name = run_name(&spec.id);
        let mut labels = self.labels(installation.track_labels(&spec.track), &spec.labels, roles::RUN);
        labels.insert(self.key(keys::RUN), run_label(&spec.id));
        let mut annotations = self.remarks(&spec.labels);
        annotations.extend([self.epoch(epoch), (self.key(keys::RUN_ID), spec.id.to_string())]);
        let staged = needs_objects(&spec.template, &spec.env);

        let mut pod = self.pod(&spec.track, &spec.template, &spec.env, inputs, &name, Purpose::Run);
        if let (Some(command), Some(container)) = (&spec.command, pod.containers.first_mut()) {
            container.command = Some(container::literal(command));
            container.args = None;
        }
        if let Some(container) = pod.containers.first_mut().filter(|_| spec.input.is_interactive()) {
            container.stdin = Some(true);
            // It ends with the one that is attached.
            container.stdin_once = Some(true);
            container.tty = Some(spec.input == RunInput::Terminal);
        }
        let run_id = std::collections::BTreeMap::from([(self.key(keys::RUN_ID), spec.id.to_string())]);
        let job = Job {
            metadata: ObjectMeta {
                annotations: Some(annotations),
                ..metadata(&namespace, &name, labels.clone())
            },
            spec: Some(JobSpec {
                parallelism: Some(1),
                completions: Some(1),
                // At most once: a pod that failed, or vanished with its node, is never made again.
                backoff_limit: Some(0),
                pod_replacement_policy: Some("Failed".to_owned()),
                suspend: Some(staged),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels.clone()),
                        annotations: Some(run_id),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(pod),
                },
                ..JobSpec::default()
            }),
            status: None,
        };
        RunObjects {
            job,
            config_map: config::config_map(metadata(&namespace, &name, labels.clone()), &spec.template),
            secret: config::secret(metadata(&namespace, &name, labels), &spec.template, &spec.env, inputs),
            staged,
        }
    }
}

/// What the input of a run is, as its job says.
pub(crate) fn input_of(job: &Job) -> RunInput {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    match pod.and_then(|pod| pod.containers.first()) {
        Some(container) if container.tty == Some(true) => RunInput::Terminal,
        Some(container) if container.stdin == Some(true) => RunInput::Stream,
        _ => RunInput::None,
    }
}
