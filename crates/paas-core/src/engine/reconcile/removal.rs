//! The end of an application in an environment: access points first, then instances, then volumes, then documents.

use super::cache::AppDocuments;
use super::context::Context;
use super::routes;
use super::world::run_id;
use crate::engine::remove_documents;
use crate::error::Result;
use crate::name::AppEnv;
use crate::release::{Mode, Phase, TrackState};

/// One step towards the end. Until every track is gone, whatever goes wakes this again; the documents are the last to go,
/// so that a removal that is cut short is taken up again.
pub(super) async fn remove(context: &Context, at: &AppEnv, documents: &AppDocuments) -> Result<()> {
    routes::withdraw(context, at).await?;
    // Each track takes itself down: it sees that the application is being deleted.
    let standing: Vec<&TrackState> = documents
        .tracks
        .values()
        .map(|track| &track.value.state)
        .filter(|state| state.phase != Phase::Detached)
        .collect();
    if !standing.is_empty() {
        tracing::debug!(%at, tracks = standing.len(), "waiting for tracks to be gone");
        return Ok(());
    }
    for run in documents.runs.values() {
        let ports = context.ports(&run.value.track.cluster)?;
        let call = ports.runtime.remove_run(context.epoch, &run.value.id);
        context.call("remove a run", &run.value.track.cluster, call).await?;
        context.forget_run(&run.value.id);
    }
    for track in documents.tracks.values() {
        let state = &track.value.state;
        let ports = context.ports(&state.track.cluster)?;
        if let Some(rollout) = state.rollout.as_ref().filter(|rollout| rollout.plan.mode == Mode::Run) {
            for key in (0..rollout.plan.steps.len()).filter_map(|step| state.step_key(step)) {
                let id = run_id(&state.track, &key);
                let call = ports.runtime.remove_run(context.epoch, &id);
                context.call("remove a run", &state.track.cluster, call).await?;
                context.forget_run(&id);
            }
        }
        if ports.runtime.capabilities().volumes {
            let call = ports.runtime.purge(context.epoch, &state.track);
            context.call("purge a track", &state.track.cluster, call).await?;
        }
    }
    remove_documents(&context.services, at, Some(context.guard())).await?;
    context.forget(at);
    Ok(())
}
