//! Forgetting what was known of a cluster that was removed although it could not be reached.

use super::context::{Context, Key};
use crate::engine::{Changes, ForgottenRecord, RunRecord, TombstoneRecord, TrackRecord};
use crate::error::Result;
use crate::name::ClusterName;
use crate::port::ListOptions;

/// How many documents go in one transaction.
const BATCH: usize = 100;

/// Removes the documents of tracks, runs and tombstones there, then the mark that says so. No environment has the cluster, so
/// nothing new comes.
pub(super) async fn reconcile(context: &Context, cluster: &ClusterName) -> Result<()> {
    let collections = context.services.collections();
    let Some(mark) = collections.get::<ForgottenRecord>(&ForgottenRecord::key_of(cluster)).await? else {
        return Ok(());
    };
    let own = Key::Forget(cluster.clone());
    let mut changes = Changes::new();
    for track in collections.all::<TrackRecord>(ListOptions::default()).await? {
        if track.value.state.track.cluster == *cluster && changes.operations() < BATCH {
            changes.remove(&track);
        }
    }
    for run in collections.all::<RunRecord>(ListOptions::default()).await? {
        if run.value.track.cluster == *cluster && changes.operations() < BATCH {
            changes.remove(&run);
        }
    }
    for tombstone in collections.children::<TombstoneRecord>(cluster.as_str()).await? {
        if changes.operations() < BATCH {
            changes.remove(&tombstone);
        }
    }
    if changes.is_empty() {
        changes.remove(&mark);
    } else {
        context.queue.add(own.clone());
    }
    context.commit(changes, &[], &own).await
}
