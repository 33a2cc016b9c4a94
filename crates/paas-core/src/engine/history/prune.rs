//! Cutting the history.

use std::collections::BTreeSet;

use super::super::{
    AppEnvRecord, Changes, ConfigRecord, RolloutRecord, RunRecord, SecretRecord, Services, Stored,
    TemplateRecord, TrackRecord,
};
use crate::error::Result;
use crate::model::{ConfigEntry, Release, ReleaseNumber, ReleaseState, RevisionId, SecretRef};
use crate::name::{AppEnv, ComponentName};
use crate::port::Expect;

use crate::action::secret_refs;

/// How many documents one cut removes at the most; the next one goes on.
const BATCH: usize = 200;

/// How many of the newest versions of the configuration are kept even if no release uses them.
const CONFIGS_KEPT: u64 = 20;

/// Removes what no kept release needs, in transactions of its own, after a release has ended. It may fail or be cut short at
/// any point: what is left is removed the next time.
///
/// # Errors
/// Those of the store.
pub async fn prune(services: &Services, at: &AppEnv) -> Result<()> {
    let below = at.to_string();
    let collections = services.collections();
    let Some(place) = collections.get::<AppEnvRecord>(&AppEnvRecord::key_of(at)).await? else {
        return Ok(());
    };
    let releases = collections.children::<Release>(below.as_str()).await?;
    let (kept, surplus) = cut(releases, place.value.current, services);
    let mut changes = Changes::new();
    // A new release begins by changing this document, and may use anything that is still here until then.
    changes.expect(Expect::Modified(AppEnvRecord::key_of(at), place.modified));
    for release in &surplus {
        changes.remove(release);
    }

    let mut revisions: BTreeSet<(ComponentName, RevisionId)> = kept
        .iter()
        .flat_map(|it| &it.value.components)
        .map(|(name, component)| (name.clone(), component.revision.clone()))
        .collect();
    if let Some(rollout) = collections.get::<RolloutRecord>(&RolloutRecord::key_of(at)).await? {
        let coordinator = rollout.value.coordinator;
        for track in coordinator.active.iter().chain(&coordinator.queue).flat_map(|rollout| &rollout.tracks) {
            let name = &track.track.component.component;
            revisions.extend(track.to.iter().map(|to| (name.clone(), to.revision.clone())));
        }
    }
    for track in collections.children::<TrackRecord>(below.as_str()).await? {
        let name = track.value.state.track.component.component.clone();
        revisions.extend(track.value.state.revisions.keys().map(|revision| (name.clone(), revision.clone())));
    }
    // A run that waits for its cluster starts what it was made for.
    for run in collections.children::<RunRecord>(below.as_str()).await? {
        if run.value.is_under_way() {
            revisions.insert((run.value.track.component.component, run.value.revision));
        }
    }
    let mut secrets: BTreeSet<SecretRef> = BTreeSet::new();
    for template in collections.children::<TemplateRecord>(below.as_str()).await? {
        let name = template.value.template.component.component.clone();
        if revisions.contains(&(name, template.value.revision.clone())) {
            secrets.extend(secret_refs(&template.value.template).cloned());
        } else if changes.operations() < BATCH {
            changes.remove(&template);
        }
    }

    let configs: BTreeSet<u64> = kept.iter().map(|release| release.value.config).collect();
    for config in collections.children::<ConfigRecord>(below.as_str()).await? {
        let number = config.value.version.number;
        if configs.contains(&number) || number + CONFIGS_KEPT > place.value.config {
            secrets.extend(config.value.version.entries.values().filter_map(|entry| match entry {
                ConfigEntry::Secret(secret) => Some(secret.clone()),
                ConfigEntry::Setting(_) => None,
            }));
        } else if changes.operations() < BATCH {
            changes.remove(&config);
        }
    }

    let all = collections.children::<SecretRecord>(below).await?;
    for secret in &all {
        // Revoked versions stay, so that their values are not set again, and the newest, so that versions go on.
        let newest = !all
            .iter()
            .any(|it| it.value.name == secret.value.name && it.value.version > secret.value.version);
        let keep = newest || secret.value.revoked.is_some() || secrets.contains(&secret.value.reference());
        if !keep && changes.operations() < BATCH {
            changes.remove(secret);
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    services.store().commit(changes.into_txn()).await?;
    Ok(())
}

/// The releases to keep and those to remove.
fn cut(
    releases: Vec<Stored<Release>>,
    current: Option<ReleaseNumber>,
    services: &Services,
) -> (Vec<Stored<Release>>, Vec<Stored<Release>>) {
    let settings = services.settings();
    let (mut committed, mut aborted) = (0, 0);
    let (mut kept, mut surplus) = (Vec::new(), Vec::new());
    for release in releases.into_iter().rev() {
        let keep = match &release.value.state {
            _ if Some(release.value.number) == current => true,
            ReleaseState::Committed { .. } => {
                committed += 1;
                committed <= settings.releases_kept
            }
            ReleaseState::Aborted { .. } => {
                aborted += 1;
                aborted <= settings.aborted_kept
            }
            _ => true,
        };
        if keep { kept.push(release) } else { surplus.push(release) }
    }
    surplus.truncate(BATCH / 2);
    (kept, surplus)
}
