//! The runtime of a simulated cluster.

use std::sync::Arc;

use async_trait::async_trait;

use super::cluster::Inner;
use crate::error::Result;
use crate::model::{ResolvedValue, Template};
use crate::name::TrackKey;
use crate::port::{
    BoxStream, Epoch, HostPath, InstanceId, Ordinals, RunObservation, RunSpec, Runtime, RuntimeCapabilities,
    RuntimeEvent, SetKey, SetSpec, TrackObservation,
};

/// The runtime of a [`SimulatedCluster`](super::SimulatedCluster).
#[derive(Debug, Clone)]
pub struct SimulatedRuntime(pub(super) Arc<Inner>);

#[async_trait]
impl Runtime for SimulatedRuntime {
    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities {
            fenced: true,
            cpu_limits: true,
            memory_limits: true,
            storage_limits: true,
            volumes: true,
            runs: true,
            interactive_runs: true,
            survives_server: true,
            manifests: true,
            ordered_sets: true,
        }
    }

    fn hosts(&self, template: &Template) -> Vec<(String, HostPath)> {
        super::cluster::hosts(&template.manifests)
    }

    async fn ensure(&self, epoch: Epoch, spec: &SetSpec) -> Result<()> {
        if !self.0.with(|state| state.has_set(&spec.key)) {
            self.0.reveal(&spec.key.track.component.at, values(&spec.template)).await?;
        }
        self.0.with(|state| state.ensure(epoch, spec))
    }

    async fn scale(&self, epoch: Epoch, key: &SetKey, ordinals: Ordinals) -> Result<()> {
        self.0.with(|state| state.scale(epoch, key, ordinals))
    }

    async fn remove(&self, epoch: Epoch, key: &SetKey) -> Result<()> {
        self.0.with(|state| state.remove(epoch, key))
    }

    async fn observe(&self, track: &TrackKey) -> Result<TrackObservation> {
        Ok(self.0.with(|state| state.observe(track)))
    }

    async fn tracks(&self) -> Result<Vec<TrackKey>> {
        Ok(self.0.with(|state| state.tracks()))
    }

    async fn purge(&self, epoch: Epoch, track: &TrackKey) -> Result<()> {
        self.0.with(|state| state.purge(epoch, track))
    }

    async fn start_run(&self, epoch: Epoch, spec: &RunSpec) -> Result<()> {
        let values = values(&spec.template).chain(spec.env.values());
        self.0.reveal(&spec.track.component.at, values).await?;
        self.0.with(|state| state.start_run(epoch, spec))
    }

    async fn observe_run(&self, id: &InstanceId) -> Result<Option<RunObservation>> {
        Ok(self.0.with(|state| state.observe_run(id)))
    }

    async fn remove_run(&self, epoch: Epoch, id: &InstanceId) -> Result<()> {
        self.0.with(|state| state.remove_run(epoch, id))
    }

    async fn watch(&self) -> Result<BoxStream<RuntimeEvent>> {
        Ok(self.0.watch_runtime())
    }
}

/// What instances of a template are given.
fn values(template: &Template) -> impl Iterator<Item = &ResolvedValue> {
    template.env.values().chain(template.files.iter().map(|file| &file.content))
}
