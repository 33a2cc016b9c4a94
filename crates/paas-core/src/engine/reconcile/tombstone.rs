//! Taking away what a deleted application has left on a cluster that could not be reached at the time.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::context::{Context, Key};
use super::routes;
use crate::engine::{Changes, EventKind, EventRecord};
use crate::error::Result;
use crate::name::{AppEnv, ClusterName, TrackKey};
use crate::port::{Scope, SetKey};
use crate::tenancy::Actor;

/// How often it is looked whether what drains is gone.
const AGAIN: Duration = Duration::from_secs(1);

/// Access points first, then traffic, instances and runs, then volumes, then the tombstone.
pub(super) async fn reconcile(context: &Context, at: &AppEnv, cluster: &ClusterName) -> Result<()> {
    let Some(tombstone) = context.cache.tombstone(at, cluster) else { return Ok(()) };
    let ports = context.ports(cluster)?;
    routes::withdraw(context, at, cluster).await?;
    let shown = context.call("list the tracks of a cluster", cluster, ports.runtime.tracks()).await?;
    let recorded = tombstone.value.components.iter();
    let recorded = recorded.map(|component| at.component(component.clone()).on(cluster.clone()));
    let shown = shown.into_iter().filter(|track| track.component.at == *at && track.cluster == *cluster);
    let tracks: BTreeSet<TrackKey> = recorded.chain(shown).collect();
    let mut left = false;
    for track in &tracks {
        let call = ports.router.remove_service(context.epoch, track);
        context.call("remove the traffic of a track", cluster, call).await?;
        context.set_told(track, None);
        let seen = context.call("observe a track", cluster, ports.runtime.observe(track)).await?;
        left |= !seen.sets.is_empty();
        for revision in seen.sets.into_keys() {
            let key = SetKey { track: track.clone(), revision };
            context.call("remove a set", cluster, ports.runtime.remove(context.epoch, &key)).await?;
        }
    }
    for run in &tombstone.value.runs {
        context.call("remove a run", cluster, ports.runtime.remove_run(context.epoch, run)).await?;
        context.forget_run(run);
    }
    let own = Key::Tombstone(at.clone(), cluster.clone());
    if left {
        context.queue.add_at(own, Instant::now() + AGAIN);
        return Ok(());
    }
    if ports.runtime.capabilities().volumes {
        for track in &tracks {
            context.call("purge a track", cluster, ports.runtime.purge(context.epoch, track)).await?;
        }
    }
    // Whoever has the name now has told the router nothing yet.
    context.set_told_routes(cluster, at, None);
    let mut changes = Changes::new();
    changes.remove(tombstone.as_ref());
    let event = EventRecord {
        id: String::new(),
        scope: Scope::App(at.app_ref()),
        kind: EventKind::Deleted,
        at: context.services.now(),
        actor: Actor::SYSTEM.to_owned(),
        message: format!("what {at} had left on {cluster} when it was deleted is gone"),
        release: None,
        component: None,
        cluster: Some(cluster.clone()),
    };
    context.commit(changes, &[event], &own).await
}
