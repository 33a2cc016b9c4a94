//! What the end of a rollout means for the records: it is written in the transaction that ends it.
//!
//! A commit makes the release current, records the numbers of instances, and puts access points in force. Then the
//! history is cut: the current release and ten committed ones before it are kept whole, aborted attempts displace none
//! of them and are bounded themselves, and templates, configurations and secrets that no kept release uses are removed.

mod prune;

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    AppEnvRecord, Changes, EventKind, EventRecord, RolloutRecord, RolloutState, RoutesRecord, ScaleRecord,
    Services, Stored,
};
use crate::action::merged_routes;
use crate::error::{Error, Result};
use crate::model::{ComponentKind, Release, ReleaseNumber, ReleaseState};
use crate::name::AppEnv;
use crate::port::Scope;
use crate::tenancy::Actor;

pub use prune::prune;

/// The end of a rollout whose tracks have all committed.
#[derive(Debug)]
pub struct Committed<'a> {
    /// The rollout, as read.
    pub rollout: &'a Stored<RolloutRecord>,
    /// When.
    pub now: Timestamp,
}

/// The end of a rollout whose tracks are all back.
#[derive(Debug)]
pub struct Aborted<'a> {
    /// The rollout, as read.
    pub rollout: &'a Stored<RolloutRecord>,
    /// Why.
    pub reason: String,
    /// When.
    pub now: Timestamp,
}

impl Committed<'_> {
    /// Prepares what ends the rollout: the release is the current one, the numbers of instances that it recorded are in
    /// force (a rollback brings its own), its access points are in force, and the next release in the queue begins.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn prepare(&self, services: &Services, changes: &mut Changes) -> Result<Vec<EventRecord>> {
        let at = &self.rollout.value.at;
        let number = self.rollout.value.release;
        let mut place = place(services, at).await?;
        let mut release = release(services, at, number).await?;
        let before = match place.value.current {
            Some(before) if before != number => {
                services.collections().get::<Release>(&Release::key_of(at, before)).await?
            }
            _ => None,
        };
        self.counts(services, changes, &mut release).await?;
        self.routes(services, changes, before.as_ref().map(|it| &it.value), &release.value).await?;
        release.value.state = ReleaseState::Committed { at: self.now };
        changes.update(&release)?;
        place.value.current = Some(number);
        changes.update(&place)?;
        let mut events = vec![event(
            at,
            self.now,
            EventKind::ReleaseCommitted,
            number,
            format!("release {number} is the current one"),
        )];
        let mut rollout = self.rollout.clone();
        rollout.value.state = RolloutState::Committed { at: self.now };
        next(services, changes, rollout, Some(number), self.now, &mut events).await?;
        Ok(events)
    }

    /// The live numbers become those that the release recorded. They differ only for a rollback, which brings the
    /// recorded ones back.
    async fn counts(
        &self,
        services: &Services,
        changes: &mut Changes,
        release: &mut Stored<Release>,
    ) -> Result<()> {
        let at = &self.rollout.value.at;
        let jobs: BTreeSet<_> = release
            .value
            .version
            .spec
            .components
            .iter()
            .filter(|component| component.kind == ComponentKind::Job)
            .map(|component| &component.name)
            .collect();
        for (name, component) in &release.value.components {
            if jobs.contains(name) {
                continue;
            }
            let key = ScaleRecord::key_of(&at.component(name.clone()));
            let stored = services.collections().get::<ScaleRecord>(&key).await?;
            let mut scale = stored.unwrap_or_else(|| {
                Stored::new(ScaleRecord { component: at.component(name.clone()), count: 0, version: 0 })
            });
            if scale.value.count != component.instances {
                scale.value.count = component.instances;
                scale.value.version += 1;
                changes.update(&scale)?;
            }
        }
        Ok(())
    }

    async fn routes(
        &self,
        services: &Services,
        changes: &mut Changes,
        before: Option<&Release>,
        release: &Release,
    ) -> Result<()> {
        let at = &self.rollout.value.at;
        let key = RoutesRecord::key_of(at);
        let mut routes =
            services.collections().get::<RoutesRecord>(&key).await?.unwrap_or_else(|| {
                Stored::new(RoutesRecord { at: at.clone(), version: 0, routes: Vec::new() })
            });
        // The first release's access points have been in force since it began.
        let Some(before) = before else { return Ok(()) };
        let merged = merged_routes(&routes.value.routes, Some(&before.version.spec), &release.version.spec);
        if merged != routes.value.routes {
            routes.value.routes = merged;
            routes.value.version += 1;
            changes.update(&routes)?;
        }
        Ok(())
    }
}

impl Aborted<'_> {
    /// Prepares what ends the rollout: the release is aborted, the current one stays, and the next release in the queue
    /// begins.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn prepare(&self, services: &Services, changes: &mut Changes) -> Result<Vec<EventRecord>> {
        let at = &self.rollout.value.at;
        let number = self.rollout.value.release;
        let place = place(services, at).await?;
        let mut release = release(services, at, number).await?;
        let state = ReleaseState::Aborted { at: self.now, reason: self.reason.clone() };
        release.value.state = state;
        changes.update(&release)?;
        let message = format!("release {number} was aborted: {}", self.reason);
        let mut events = vec![event(at, self.now, EventKind::ReleaseAborted, number, message)];
        let mut rollout = self.rollout.clone();
        rollout.value.state = RolloutState::Aborted { at: self.now, reason: self.reason.clone() };
        next(services, changes, rollout, place.value.current, self.now, &mut events).await?;
        Ok(events)
    }
}

/// Stores the ended rollout, or the next one in the queue in its place.
async fn next(
    services: &Services,
    changes: &mut Changes,
    mut rollout: Stored<RolloutRecord>,
    current: Option<ReleaseNumber>,
    now: Timestamp,
    events: &mut Vec<EventRecord>,
) -> Result<()> {
    if !rollout.value.queue.is_empty() {
        let mut queue = std::mem::take(&mut rollout.value.queue);
        let first = queue.remove(0);
        let at = rollout.value.at.clone();
        let mut waiting = release(services, &at, first.release).await?;
        waiting.value.state = ReleaseState::Running;
        changes.update(&waiting)?;
        let message = format!("release {} began", first.release);
        events.push(event(&at, now, EventKind::ReleaseStarted, first.release, message));
        rollout.value = RolloutRecord { queue, ..RolloutRecord::new(at, first, current, now) };
    }
    changes.update(&rollout)
}

fn event(
    at: &AppEnv,
    now: Timestamp,
    kind: EventKind,
    number: ReleaseNumber,
    message: String,
) -> EventRecord {
    EventRecord {
        id: String::new(),
        scope: Scope::AppEnv(at.clone()),
        kind,
        at: now,
        actor: Actor::SYSTEM.to_owned(),
        message,
        release: Some(number),
        component: None,
        cluster: None,
    }
}

async fn place(services: &Services, at: &AppEnv) -> Result<Stored<AppEnvRecord>> {
    let found = services.collections().get::<AppEnvRecord>(&AppEnvRecord::key_of(at)).await?;
    found.ok_or_else(|| Error::not_found("application", at))
}

async fn release(services: &Services, at: &AppEnv, number: ReleaseNumber) -> Result<Stored<Release>> {
    let found = services.collections().get::<Release>(&Release::key_of(at, number)).await?;
    found.ok_or_else(|| Error::not_found("release", number).with_context("application", at))
}
