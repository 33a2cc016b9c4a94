//! One application in one environment: its rollouts over the tracks, its access points, its end.

use super::context::Context;
use super::routes;
use crate::engine::{Advanced, advance, remove_documents};
use crate::error::Result;
use crate::name::AppEnv;

pub(super) async fn reconcile(context: &Context, at: &AppEnv) -> Result<()> {
    // What the tracks store may let the rollout go on, and what the rollout stores wakes the tracks, through the feed.
    let advanced = advance(&context.services, at, Some(context.guard())).await?;
    let Some(documents) = context.cache.app(at) else { return Ok(()) };
    match advanced {
        Advanced::Changed | Advanced::Unchanged if documents.is_deleting() => {
            routes::withdraw(context, at).await
        }
        Advanced::Changed | Advanced::Unchanged => routes::apply(context, at, &documents).await,
        Advanced::Removable => {
            routes::withdraw(context, at).await?;
            remove_runs(context, at).await?;
            remove_documents(&context.services, at, Some(context.guard())).await?;
            context.forget(at);
            Ok(())
        }
        Advanced::Gone => Ok(()),
    }
}

/// One-off commands end with their application.
async fn remove_runs(context: &Context, at: &AppEnv) -> Result<()> {
    let Some(documents) = context.cache.app(at) else { return Ok(()) };
    for run in documents.runs.values() {
        let ports = context.ports(&run.value.track.cluster)?;
        let call = ports.runtime.remove_run(context.epoch, &run.value.id);
        context.call("remove a run", &run.value.track.cluster, call).await?;
        context.forget_run(&run.value.id);
    }
    Ok(())
}
