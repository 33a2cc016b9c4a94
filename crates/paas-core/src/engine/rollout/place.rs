//! Which clusters an application belongs on: those that its environment has, at the current release, and no others.

use std::collections::{BTreeMap, BTreeSet};

use super::view::RolloutView;
use crate::action::plan_on_cluster;
use crate::engine::{Changes, Services, Stored, TombstoneRecord};
use crate::error::Result;
use crate::model::{Release, ReleaseState, Target};
use crate::name::{ClusterName, ComponentName};
use crate::release::{Rollout, RolloutId};

/// Opens tracks, or takes up those there are, on clusters that do not have the current release: because the environment has
/// just got them, or because they could not be reached when it was committed. It makes no new release.
pub(super) async fn catch_up(services: &Services, view: &mut RolloutView) -> Result<()> {
    let Some(number) = view.current() else { return Ok(()) };
    let behind: Vec<Target> =
        view.targets().iter().filter(|it| view.is_behind(&it.cluster, number)).cloned().collect();
    if behind.is_empty() {
        return Ok(());
    }
    let found = services.collections().get::<Release>(&Release::key_of(view.at(), number)).await?;
    let committed = |release: &Stored<Release>| matches!(release.value.state, ReleaseState::Committed { .. });
    let Some(release) = found.filter(committed) else { return Ok(()) };
    for target in behind {
        let standing: BTreeSet<ComponentName> = view
            .tracks()
            .filter(|state| state.track.cluster == target.cluster && state.stable.is_some())
            .map(|state| state.track.component.component.clone())
            .collect();
        let tracks = plan_on_cluster(services, &release.value, &target, &standing)?;
        let id = RolloutId::new(services.next_id().simple().to_string());
        let rollout = Rollout {
            lockstep: true,
            actor: release.value.created_by.clone(),
            ..Rollout::new(id, number, tracks)
        };
        view.catch_up(target.cluster, rollout);
    }
    view.coordinate();
    Ok(())
}

/// Leaves the tracks of an application that is deleted to tombstones, if all that are left are on clusters which cannot be
/// reached; whether it did.
pub(super) async fn bury(services: &Services, view: &RolloutView, changes: &mut Changes) -> Result<bool> {
    let mut clusters: BTreeMap<ClusterName, TombstoneRecord> = BTreeMap::new();
    let Some(deleting) = view.deleting() else { return Ok(false) };
    for track in view.records() {
        if track.value.state.away.is_none() {
            return Ok(false);
        }
        let key = &track.value.state.track;
        let tombstone = clusters.entry(key.cluster.clone()).or_insert_with(|| TombstoneRecord {
            at: view.at().clone(),
            cluster: key.cluster.clone(),
            since: deleting.at,
            by: deleting.by.clone(),
            components: BTreeSet::new(),
            runs: BTreeSet::new(),
        });
        tombstone.components.insert(key.component.component.clone());
        tombstone.runs.extend(track.value.run.clone());
        changes.remove(track);
    }
    for tombstone in clusters.into_values() {
        merge(services, changes, tombstone).await?;
    }
    Ok(!changes.is_empty())
}

/// Stores a tombstone, together with what an earlier one on the same cluster says.
pub(in crate::engine) async fn merge(
    services: &Services,
    changes: &mut Changes,
    tombstone: TombstoneRecord,
) -> Result<()> {
    let key = TombstoneRecord::key_of(&tombstone.at, &tombstone.cluster);
    let mut stored = services
        .collections()
        .get::<TombstoneRecord>(&key)
        .await?
        .unwrap_or_else(|| Stored::new(tombstone.clone()));
    stored.value.components.extend(tombstone.components);
    stored.value.runs.extend(tombstone.runs);
    changes.update(&stored)
}
