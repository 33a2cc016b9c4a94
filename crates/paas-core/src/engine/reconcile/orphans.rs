//! What runs although nobody declares it.

use super::context::Context;
use crate::error::{Error, Result};
use crate::name::{ClusterName, TrackKey};
use crate::port::{ClusterPorts, SetKey};

/// Removes the sets of tracks that no document knows, such as after the store was restored from an older copy. Their
/// volumes stay: data is removed only when somebody asked for it.
///
/// A track's document is stored before anything of it is made and removed after everything of it is gone, so none of its own
/// is ever found here. A backend lists only what belongs to this installation, and rejects the low epoch of a store
/// that is not the one its instances were made from.
pub(super) async fn sweep(context: &Context, cluster: &ClusterName) -> Result<()> {
    // A cluster that was removed meanwhile has nothing to sweep.
    let Some(ports) = context.services.clusters().get(cluster).cloned() else { return Ok(()) };
    let mut failure: Option<Error> = None;
    for track in context.call("list the tracks of a cluster", cluster, ports.runtime.tracks()).await? {
        let known = context.cache.has_track(&track)
            || context.cache.tombstone(&track.component.at, cluster).is_some();
        if track.cluster == *cluster
            && !known
            && let Err(error) = remove(context, &ports, &track).await
        {
            failure = Some(error.with_context("orphan", &track));
        }
    }
    failure.map_or(Ok(()), Err)
}

async fn remove(context: &Context, ports: &ClusterPorts, track: &TrackKey) -> Result<()> {
    let cluster = &track.cluster;
    // The document may have been stored since the cluster was asked.
    let key = crate::engine::TrackRecord::key_of(track);
    if context.services.store().get(&key).await?.is_some() {
        return Ok(());
    }
    tracing::warn!(%track, "nobody declares this track: its instances are removed");
    let call = ports.router.remove_service(context.epoch, track);
    context.call("remove the traffic of a track", cluster, call).await?;
    let seen = context.call("observe a track", cluster, ports.runtime.observe(track)).await?;
    for revision in seen.sets.into_keys() {
        let key = SetKey { track: track.clone(), revision };
        context.call("remove a set", cluster, ports.runtime.remove(context.epoch, &key)).await?;
    }
    Ok(())
}
