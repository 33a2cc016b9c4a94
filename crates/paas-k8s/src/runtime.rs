//! The cluster as a [`Runtime`]: a deployment for each set, a job for each run.
//!
//! A set never changes but for its number, so it is made by POST, which cannot take over what somebody else made, and
//! changed by a merge patch of the number with the version that was looked at as precondition. Its epoch is an annotation:
//! whoever writes has read it in the version that the precondition names, so a lower one cannot slip in.

pub(crate) mod failure;
mod inputs;
pub(crate) mod instance;
mod objects;
mod observe;
mod ordered;
mod runs;
mod sets;

use async_trait::async_trait;
use paas_core::model::{ComponentKind, Template};
use paas_core::port::{
    BoxStream, Epoch, HostPath, InstanceId, Ordinals, RunObservation, RunSpec, Runtime, RuntimeCapabilities,
    RuntimeEvent, SetKey, SetSpec, TrackObservation,
};
use paas_core::{ErrorKind, Fault, Result, TrackKey};

use crate::cluster::KubernetesCluster;
use crate::mirror::Source;

pub(crate) use observe::instances_of;
pub(crate) use runs::{FoundRun, find_run, observe as observe_found};
pub(crate) use sets::contended;

/// How often a change is tried again after somebody else changed the object in between.
pub(crate) const ATTEMPTS: usize = 8;

#[async_trait]
impl Runtime for KubernetesCluster {
    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities {
            fenced: true,
            cpu_limits: true,
            memory_limits: true,
            storage_limits: true,
            volumes: self.shared.options.volumes.is_some(),
            runs: true,
            interactive_runs: true,
            survives_server: true,
            manifests: true,
            ordered_sets: true,
        }
    }

    fn refusals(&self, template: &Template) -> Vec<Fault> {
        let options = &self.shared.options;
        if !template.manifests.is_empty() {
            return crate::manifests::refusals(options, template);
        }
        crate::build::faults(options, template, template.kind.runs_to_completion())
    }

    fn hosts(&self, template: &Template) -> Vec<(String, HostPath)> {
        crate::manifests::hosts(template)
    }

    async fn ensure(&self, epoch: Epoch, spec: &SetSpec) -> Result<()> {
        if spec.template.kind == ComponentKind::Stateful {
            Box::pin(self.shared.ensure_set(epoch, spec)).await?;
            Box::pin(self.shared.follow_ordinals("make a set", &spec.key.track)).await
        } else if spec.template.manifests.is_empty() {
            Box::pin(self.shared.ensure_set(epoch, spec)).await
        } else {
            Box::pin(self.shared.ensure_manifests(epoch, spec)).await
        }
    }

    async fn scale(&self, epoch: Epoch, key: &SetKey, ordinals: Ordinals) -> Result<()> {
        let count = ordinals.count;
        match Box::pin(self.shared.scale_set(epoch, key, ordinals)).await {
            // A set of manifests is no deployment.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Box::pin(self.shared.scale_manifests(epoch, key, count)).await
            }
            answer => answer,
        }
    }

    async fn remove(&self, epoch: Epoch, key: &SetKey) -> Result<()> {
        if self.shared.remove_set(epoch, key).await? {
            Box::pin(self.shared.follow_ordinals("remove a set", &key.track)).await?;
        }
        Box::pin(self.shared.remove_manifests(epoch, key)).await
    }

    async fn observe(&self, track: &TrackKey) -> Result<TrackObservation> {
        self.shared.observe_track(Source::Mirror, track).await
    }

    async fn tracks(&self) -> Result<Vec<TrackKey>> {
        self.shared.list_tracks().await
    }

    async fn purge(&self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        self.shared.purge_track(epoch, track).await
    }

    async fn start_run(&self, epoch: Epoch, spec: &RunSpec) -> Result<()> {
        Box::pin(self.shared.start_run(epoch, spec)).await
    }

    async fn observe_run(&self, id: &InstanceId) -> Result<Option<RunObservation>> {
        self.shared.observe_run(id).await
    }

    async fn remove_run(&self, epoch: Epoch, id: &InstanceId) -> Result<()> {
        self.shared.remove_run(epoch, id).await
    }

    async fn watch(&self) -> Result<BoxStream<RuntimeEvent>> {
        Ok(self.shared.events.runtime())
    }
}
