//! What the coordinator's events mean for the releases' records.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::engine::history;
use crate::engine::{AppEnvRecord, Changes, EventKind, EventRecord, Services, Stored};
use crate::error::Result;
use crate::model::{AppSpec, Release, ReleaseNumber, ReleaseState};
use crate::name::{AppEnv, ClusterName};
use crate::port::Scope;
use crate::release::{AbortReason, Coordinator, Rollout, RolloutEvent, RolloutId, RolloutPhase};
use crate::tenancy::Actor;

fn all(coordinator: &Coordinator) -> impl Iterator<Item = &Rollout> {
    coordinator.active.iter().chain(&coordinator.queue).chain(&coordinator.last)
}

/// Writes what the events mean. Releases that are not stored yet are being made in the same transaction, by whoever
/// submitted them.
pub(super) async fn store(
    services: &Services,
    changes: &mut Changes,
    place: Stored<AppEnvRecord>,
    before: &Coordinator,
    after: &Coordinator,
    events: &[RolloutEvent],
    now: Timestamp,
) -> Result<Vec<EventRecord>> {
    let mut effects = Effects {
        services,
        at: place.value.at.clone(),
        place,
        releases: BTreeMap::new(),
        told: Vec::new(),
        now,
    };
    let releases: BTreeMap<&RolloutId, ReleaseNumber> =
        all(before).chain(all(after)).map(|rollout| (&rollout.id, rollout.release)).collect();
    let mut place_changed = false;
    for event in events {
        match event {
            RolloutEvent::Committed { release, .. } => {
                place_changed |= effects.committed(changes, *release).await?;
            }
            RolloutEvent::Behind { cluster, release, reason } => effects.tell_of(
                cluster,
                EventKind::ReleaseHeld,
                *release,
                match reason {
                    Some(reason) => format!("release {release} is not on {cluster}: {reason}"),
                    None => format!("release {release} follows on {cluster} when it can be reached"),
                },
            ),
            RolloutEvent::CatchingUp { cluster, release } => effects.tell_of(
                cluster,
                EventKind::ReleaseProgressed,
                *release,
                format!("release {release}, the current one, begins on {cluster}"),
            ),
            RolloutEvent::CaughtUp { cluster, release } => effects.tell_of(
                cluster,
                EventKind::ReleaseProgressed,
                *release,
                format!("release {release}, the current one, is on {cluster}"),
            ),
            RolloutEvent::Entered { rollout, phase } => {
                let Some(number) = releases.get(rollout) else { continue };
                match phase {
                    RolloutPhase::Aborted(reason) => {
                        let reason = superseded_by(reason, &releases).unwrap_or_else(|| reason.to_string());
                        place_changed |= effects.aborted(*number, &reason).await?;
                    }
                    RolloutPhase::RollingBack(reason) => effects.going_back(*number, &reason.to_string()),
                    RolloutPhase::Running | RolloutPhase::Superseding => {
                        place_changed |= effects.running(*number).await?;
                    }
                    _ => {}
                }
            }
        }
    }
    // What waited and is gone, and nothing was told of it, was superseded together with what it waited for.
    let told = events.iter().filter_map(|event| match event {
        RolloutEvent::Entered { rollout, .. } => Some(rollout),
        _ => None,
    });
    let known: BTreeSet<&RolloutId> = all(after).map(|rollout| &rollout.id).chain(told).collect();
    for dropped in before.queue.iter().filter(|rollout| !known.contains(&rollout.id)) {
        let by = after.active.iter().chain(&after.queue).map(|rollout| rollout.release).max();
        let reason = by.map_or_else(|| "superseded".to_owned(), |by| format!("superseded by release {by}"));
        place_changed |= effects.aborted(dropped.release, &reason).await?;
    }
    for release in effects.releases.values() {
        changes.update(release)?;
    }
    if place_changed {
        changes.update(&effects.place)?;
    }
    Ok(effects.told)
}

fn superseded_by(reason: &AbortReason, releases: &BTreeMap<&RolloutId, ReleaseNumber>) -> Option<String> {
    let AbortReason::Superseded(by) = reason else { return None };
    releases.get(by).map(|by| format!("superseded by release {by}"))
}

struct Effects<'a> {
    services: &'a Services,
    at: AppEnv,
    place: Stored<AppEnvRecord>,
    releases: BTreeMap<ReleaseNumber, Stored<Release>>,
    told: Vec<EventRecord>,
    now: Timestamp,
}

impl Effects<'_> {
    /// A stored release, to be changed.
    async fn release(&mut self, number: ReleaseNumber) -> Result<Option<&mut Stored<Release>>> {
        if !self.releases.contains_key(&number) {
            let key = Release::key_of(&self.at, number);
            let Some(found) = self.services.collections().get::<Release>(&key).await? else {
                return Ok(None);
            };
            self.releases.insert(number, found);
        }
        Ok(self.releases.get_mut(&number))
    }

    async fn committed(&mut self, changes: &mut Changes, number: ReleaseNumber) -> Result<bool> {
        let before = match self.place.value.current {
            Some(before) if before != number => {
                let key = Release::key_of(&self.at, before);
                self.services.collections().get::<Release>(&key).await?.map(|release| release.value)
            }
            _ => None,
        };
        let (services, at, now) = (self.services, self.at.clone(), self.now);
        let Some(release) = self.release(number).await? else { return Ok(false) };
        release.value.state = ReleaseState::Committed { at: now };
        let release = release.value.clone();
        history::take_effect(services, changes, &at, before.as_ref(), &release).await?;
        self.place.value.current = Some(number);
        self.tell(EventKind::ReleaseCommitted, number, format!("release {number} is the current one"));
        Ok(true)
    }

    /// Answers whether the application's own record changed: what counts as declared is the current release again.
    async fn aborted(&mut self, number: ReleaseNumber, reason: &str) -> Result<bool> {
        let now = self.now;
        let Some(release) = self.release(number).await? else { return Ok(false) };
        release.value.state = ReleaseState::Aborted { at: now, reason: reason.to_owned() };
        self.tell(EventKind::ReleaseAborted, number, format!("release {number} was aborted: {reason}"));
        let Some(current) = self.place.value.current.filter(|_| number.0 == self.place.value.last) else {
            return Ok(false);
        };
        let key = Release::key_of(&self.at, current);
        let current = self.services.collections().get::<Release>(&key).await?;
        Ok(current.is_some_and(|current| self.declare(current.value.version.spec)))
    }

    fn declare(&mut self, spec: AppSpec) -> bool {
        let changed = self.place.value.spec.as_ref() != Some(&spec);
        self.place.value.spec = Some(spec);
        changed
    }

    fn going_back(&mut self, number: ReleaseNumber, reason: &str) {
        self.tell(EventKind::ReleaseProgressed, number, format!("release {number} goes back: {reason}"));
    }

    async fn running(&mut self, number: ReleaseNumber) -> Result<bool> {
        let Some(release) = self.release(number).await? else { return Ok(false) };
        if release.value.state == ReleaseState::Running {
            return Ok(false);
        }
        let again = matches!(release.value.state, ReleaseState::Aborted { .. });
        release.value.state = ReleaseState::Running;
        let spec = release.value.version.spec.clone();
        let message = if again {
            format!("release {number} is tried again")
        } else {
            format!("release {number} began")
        };
        self.tell(EventKind::ReleaseStarted, number, message);
        Ok(number.0 == self.place.value.last && self.declare(spec))
    }

    fn tell_of(&mut self, cluster: &ClusterName, kind: EventKind, number: ReleaseNumber, message: String) {
        self.tell(kind, number, message);
        if let Some(event) = self.told.last_mut() {
            event.cluster = Some(cluster.clone());
        }
    }

    fn tell(&mut self, kind: EventKind, number: ReleaseNumber, message: String) {
        self.told.push(EventRecord {
            id: String::new(),
            scope: Scope::AppEnv(self.at.clone()),
            kind,
            at: self.now,
            actor: Actor::SYSTEM.to_owned(),
            message,
            release: Some(number),
            component: None,
            cluster: None,
        });
    }
}
