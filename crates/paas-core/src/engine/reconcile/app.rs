//! One application in one environment: its rollouts over the tracks, and its end. It works on the store only; what concerns a
//! cluster is done under keys of that cluster, so that one which does not answer delays no other.

use std::collections::{BTreeMap, BTreeSet};

use super::context::{Context, Key};
use super::routes;
use crate::engine::rollout::{advance_until, merge_tombstone};
use crate::engine::{Advanced, Changes, ClusterRecord, TombstoneRecord, remove_documents};
use crate::error::Result;
use crate::name::{AppEnv, ClusterName};

pub(super) async fn reconcile(context: &Context, at: &AppEnv) -> Result<()> {
    // What the tracks store may let the rollout go on, and what the rollout stores wakes the tracks, through the feed.
    let (advanced, wake_at) = advance_until(&context.services, at, Some(context.guard())).await?;
    if let Some(time) = wake_at {
        context.wake_at(Key::App(at.clone()), time);
    }
    let Some(documents) = context.cache.app(at) else { return Ok(()) };
    match advanced {
        Advanced::Changed | Advanced::Unchanged => {
            for cluster in routes::clusters(&documents) {
                context.queue.add(Key::Routes(at.clone(), cluster));
            }
            Ok(())
        }
        Advanced::Removable => {
            if !leave_rest(context, at).await? {
                return Ok(());
            }
            remove_documents(&context.services, at, Some(context.guard())).await?;
            context.forget(at);
            Ok(())
        }
        Advanced::Gone => Ok(()),
    }
}

/// One-off commands end with their application, each under its own key; those on a cluster that cannot be reached are left to
/// a tombstone, and so are the volumes on clusters that the environment had earlier. Whether nothing else is left.
async fn leave_rest(context: &Context, at: &AppEnv) -> Result<bool> {
    let Some(documents) = context.cache.app(at) else { return Ok(true) };
    let Some(deleting) = documents.place.as_ref().and_then(|place| place.value.deleting.clone()) else {
        return Ok(true);
    };
    let mut left: BTreeMap<ClusterName, TombstoneRecord> = BTreeMap::new();
    let mut changes = Changes::new();
    let empty = |cluster: &ClusterName| TombstoneRecord {
        at: at.clone(),
        cluster: cluster.clone(),
        since: deleting.at,
        by: deleting.by.clone(),
        components: BTreeSet::new(),
        runs: BTreeSet::new(),
    };
    for (cluster, components) in documents.place.iter().flat_map(|place| &place.value.former) {
        // One that was removed has been forgotten with all that was on it.
        let record = context.services.store().get(&ClusterRecord::key_of(cluster)).await?;
        if record.is_some() || context.services.is_built_in(cluster) {
            left.insert(
                cluster.clone(),
                TombstoneRecord { components: components.clone(), ..empty(cluster) },
            );
        }
    }
    for run in documents.runs.values() {
        let cluster = &run.value.track.cluster;
        if context.services.outages().of(cluster, context.services.now()).is_none() {
            context.queue.add(Key::Run(at.clone(), cluster.clone(), run.value.id.clone()));
            return Ok(false);
        }
        let tombstone = left.entry(cluster.clone()).or_insert_with(|| empty(cluster));
        tombstone.runs.insert(run.value.id.clone());
        changes.remove(run.as_ref());
    }
    for tombstone in left.into_values() {
        merge_tombstone(&context.services, &mut changes, tombstone).await?;
    }
    context.commit(changes, &[], &Key::App(at.clone())).await?;
    Ok(true)
}
