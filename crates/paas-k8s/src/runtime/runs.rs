//! Runs to completion.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, Preconditions};
use paas_core::port::{Epoch, ExitStatus, InstanceId, InstancePhase, RunObservation, RunSpec};
use paas_core::{Error, ErrorKind, Result};
use serde_json::json;

use super::sets::contended;
use super::{ATTEMPTS, failure, instance};
use crate::build::{check, owner};
use crate::cluster::Shared;
use crate::error::{failed, foreign, is_conflict, is_missing, is_there};
use crate::scheme::{keys, roles, run_label, run_name};

/// A run on the cluster, with its pod if that is there.
#[derive(Debug)]
pub(crate) struct FoundRun {
    pub(crate) job: Job,
    pub(crate) pod: Option<Pod>,
}

/// The run of an id, wherever it is.
pub(crate) async fn find_run(
    shared: &Shared,
    operation: &'static str,
    id: &InstanceId,
) -> Result<Option<FoundRun>> {
    let error = |error| failed(operation, error).with_context("run", id);
    let installation = shared.installation();
    let selector = format!(
        "{},{}={},{}={}",
        installation.selector(),
        installation.key(keys::ROLE),
        roles::RUN,
        installation.key(keys::RUN),
        run_label(id)
    );
    let selector = ListParams::default().labels(&selector);
    let jobs: Api<Job> = shared.everywhere();
    let jobs = jobs.list(&selector).await.map_err(error)?;
    let ours = |job: &Job| {
        installation.annotation(&job.metadata, keys::RUN_ID) == Some(id.0.as_str())
            && job.metadata.deletion_timestamp.is_none()
    };
    let Some(job) = jobs.items.into_iter().find(ours) else { return Ok(None) };
    let pods: Api<Pod> = shared.api(&job.metadata.namespace.clone().unwrap_or_default());
    let mut pods = pods.list(&selector).await.map_err(error)?.items;
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|at| at.0));
    Ok(Some(FoundRun { job, pod: pods.into_iter().next_back() }))
}

impl Shared {
    pub(super) async fn start_run(&self, epoch: Epoch, spec: &RunSpec) -> Result<()> {
        const OPERATION: &str = "start a run";
        check(OPERATION, &self.options, &spec.template, true)?;
        let at = spec.track.component.at.env_ref();
        let error = |error| failed(OPERATION, error).with_context("run", &spec.id);
        for _ in 0..ATTEMPTS {
            let namespace = self.space_for(&at).await?;
            let api: Api<Job> = self.api(&namespace);
            let name = run_name(&spec.id);
            let job = match api.get_opt(&name).await.map_err(error)? {
                Some(found) if !self.installation().owns(&found.metadata) => {
                    return Err(foreign(OPERATION, "Job", &namespace, &name));
                }
                Some(found) if is_suspended(&found) => found,
                Some(_) => return Ok(()),
                None => {
                    let inputs = self.inputs(&spec.track, &spec.template, &spec.env).await?;
                    let objects = self.builder().run(epoch, spec, &inputs);
                    match api.create(&self.posting(), &objects.job).await {
                        Ok(made) if !objects.staged => {
                            drop(made);
                            return Ok(());
                        }
                        Ok(made) => made,
                        Err(refused) if is_there(&refused) => continue,
                        Err(refused) if is_missing(&refused) => {
                            self.forget_space(&at);
                            continue;
                        }
                        Err(refused) => return Err(error(refused)),
                    }
                }
            };
            self.fence(OPERATION, &job.metadata, epoch)?;
            let inputs = self.inputs(&spec.track, &spec.template, &spec.env).await?;
            let objects = self.builder().run(epoch, spec, &inputs);
            let owners = owner(&job);
            if let Some(config_map) = objects.config_map {
                self.make(OPERATION, config_map, Some(&owners)).await?;
            }
            if let Some(secret) = objects.secret {
                self.make(OPERATION, secret, Some(&owners)).await?;
            }
            let patch = json!({
                "metadata": { "resourceVersion": job.metadata.resource_version },
                "spec": { "suspend": false },
            });
            match api.patch(&name, &self.merging(), &Patch::Merge(&patch)).await {
                Ok(_) => return Ok(()),
                Err(refused) if is_conflict(&refused) || is_missing(&refused) => {}
                Err(refused) => return Err(error(refused)),
            }
        }
        Err(contended(OPERATION).with_context("run", &spec.id))
    }

    pub(super) async fn observe_run(&self, id: &InstanceId) -> Result<Option<RunObservation>> {
        let found = find_run(self, "observe a run", id).await?;
        // One whose making was cut off is not there yet: whoever starts it again goes on with it.
        Ok(found.filter(|found| !is_suspended(&found.job)).map(|found| observe(&found)))
    }

    pub(super) async fn remove_run(&self, epoch: Epoch, id: &InstanceId) -> Result<()> {
        const OPERATION: &str = "remove a run";
        for _ in 0..ATTEMPTS {
            let Some(found) = find_run(self, OPERATION, id).await? else { return Ok(()) };
            let meta = found.job.metadata;
            self.fence(OPERATION, &meta, epoch)?;
            let api: Api<Job> = self.api(&meta.namespace.unwrap_or_default());
            let looked_at = Preconditions { resource_version: meta.resource_version, uid: meta.uid };
            let parameters = DeleteParams::background().preconditions(looked_at);
            match api.delete(&meta.name.unwrap_or_default(), &parameters).await {
                Ok(_) => return Ok(()),
                Err(refused) if is_missing(&refused) => return Ok(()),
                Err(refused) if is_conflict(&refused) => {}
                Err(refused) => return Err(failed(OPERATION, refused).with_context("run", id)),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, OPERATION).with_context("run", id))
    }
}

fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)
}

pub(crate) fn observe(found: &FoundRun) -> RunObservation {
    let conditions = found.job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let condition =
        |kind: &str| conditions.and_then(|all| all.iter().find(|it| it.type_ == kind && it.status == "True"));
    if let Some(pod) = &found.pod {
        let container = instance::container(pod);
        let seen = instance::observe(pod);
        let end = container.and_then(|it| it.state.as_ref()?.terminated.as_ref());
        if let Some(end) = end {
            let failure = failure::of_pod(pod, container);
            return RunObservation {
                phase: InstancePhase::Exited,
                exit: Some(instance::exit(end)),
                failure: failure.filter(|it| it.reason != "crash_loop"),
            };
        }
        if seen.phase == InstancePhase::Exited {
            // It ended with its node or was evicted: what its process did is unknown.
            return lost(seen.failure.map_or_else(
                || "its pod ended and nobody knows how its process did".to_owned(),
                |failure| failure.message,
            ));
        }
        let phase = match seen.phase {
            InstancePhase::Starting | InstancePhase::Unready => InstancePhase::Ready,
            other => other,
        };
        return RunObservation { phase, exit: None, failure: seen.failure };
    }
    if let Some(complete) = condition("Complete") {
        let at = complete.last_transition_time.as_ref().map(|at| at.0).unwrap_or_default();
        let exit = ExitStatus { code: Some(0), signal: None, out_of_memory: false, at };
        return RunObservation { phase: InstancePhase::Exited, exit: Some(exit), failure: None };
    }
    if let Some(failed) = condition("Failed") {
        let message = failed.message.clone().unwrap_or_default();
        return lost(format!("its pod vanished: {message}"));
    }
    RunObservation { phase: InstancePhase::Pending, exit: None, failure: None }
}

fn lost(message: String) -> RunObservation {
    RunObservation {
        phase: InstancePhase::Exited,
        exit: None,
        failure: Some(failure::failure("lost", message)),
    }
}
