//! Composing a status.

use std::collections::{BTreeMap, BTreeSet};

use super::clusters::Clusters;
use super::schedules;
use super::words::{behind, conditions, explain, told_of};
use super::{
    AppState, AppStatus, ClusterStatus, ComponentStatus, InstanceStatus, RolloutStatus, RouteStatus,
    TrackStatus, VersionStatus,
};
use crate::action::ReleaseSummary;
use crate::engine::{
    AppEnvRecord, AppRecord, Outage, RolloutRecord, RoutesRecord, ScaleRecord, ScheduleStatus, Services,
    Stored, TrackRecord,
};
use crate::error::{Error, Result};
use crate::model::{
    AppSpec, Component, ComponentKind, Environment, Release, ReleaseNumber, ReleaseState, RevisionId,
};
use crate::name::{AppEnv, ClusterName, ComponentName, TrackKey};
use crate::port::{InstancePhase, SetObservation};
use crate::release::{Coordinator, Hold, Phase, Rollout, RolloutPhase, TrackState};

impl Services {
    /// How an application is in an environment.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such application or environment, and those of
    /// the store. A cluster that cannot be asked is part of the answer.
    pub async fn status(&self, at: &AppEnv) -> Result<AppStatus> {
        let revision = self.store().revision().await?;
        let env = self.collections().get::<Environment>(&Environment::key_of(&at.env_ref())).await?;
        let env = env.ok_or_else(|| Error::not_found("environment", at.env_ref()))?.value;
        let Some(place) = self.collections().get::<AppEnvRecord>(&AppEnvRecord::key_of(at)).await? else {
            let app = self.collections().get::<AppRecord>(&AppRecord::key_of(&at.app_ref())).await?;
            app.ok_or_else(|| Error::not_found("application", at.app_ref()))?;
            return Ok(empty(AppEnvRecord::new(at.clone()), revision));
        };
        let documents = Documents::load(self, env, place).await?;
        let targets = documents.env.targets.iter().map(|target| &target.cluster);
        let clusters = Clusters::observe(self, at, documents.track_keys(), targets).await?;
        Ok(documents.compose(self, &clusters, revision))
    }
}

fn empty(place: AppEnvRecord, revision: crate::port::Revision) -> AppStatus {
    AppStatus {
        at: place.at,
        state: AppState::NotDeployed,
        reasons: vec!["it has no release yet".to_owned()],
        current: None,
        rollout: None,
        components: Vec::new(),
        clusters: Vec::new(),
        routes: Vec::new(),
        config: place.config,
        revision,
    }
}

/// What the store has.
struct Documents {
    env: Environment,
    place: AppEnvRecord,
    current: Option<Release>,
    newest: Option<Release>,
    /// The release whose rollout is told of.
    told: Option<Release>,
    rollouts: Coordinator,
    scales: BTreeMap<ComponentName, ScaleRecord>,
    tracks: BTreeMap<TrackKey, TrackState>,
    routes: Vec<crate::model::RouteSpec>,
    schedules: BTreeMap<ComponentName, ScheduleStatus>,
}

impl Documents {
    async fn load(services: &Services, env: Environment, place: Stored<AppEnvRecord>) -> Result<Self> {
        let collections = services.collections();
        let place = place.value;
        let at = place.at.clone();
        let release = async |number: Option<ReleaseNumber>| -> Result<Option<Release>> {
            let Some(number) = number else { return Ok(None) };
            let found = collections.get::<Release>(&Release::key_of(&at, number)).await?;
            Ok(found.map(|release| release.value))
        };
        let current = release(place.current).await?;
        let rollouts = collections.get::<RolloutRecord>(&RolloutRecord::key_of(&at)).await?;
        let rollouts = rollouts.map(|it| it.value.coordinator).unwrap_or_default();
        let shown = rollouts.active.as_ref().or(rollouts.last.as_ref());
        let newest = release(shown.map(|rollout| rollout.release)).await?;
        let told = match told(&rollouts).map(|rollout| rollout.release) {
            Some(number) if newest.as_ref().is_none_or(|newest| newest.number != number) => {
                release(Some(number)).await?
            }
            _ => newest.clone(),
        };
        let scales = collections.children::<ScaleRecord>(at.to_string()).await?;
        let tracks = collections.children::<TrackRecord>(at.to_string()).await?;
        let routes = collections.get::<RoutesRecord>(&RoutesRecord::key_of(&at)).await?;
        let schedules = schedules::load(services, &place).await?;
        Ok(Self {
            env,
            current,
            newest,
            told,
            rollouts,
            scales: scales.into_iter().map(|it| (it.value.component.component.clone(), it.value)).collect(),
            tracks: tracks.into_iter().map(|it| (it.value.state.track.clone(), it.value.state)).collect(),
            routes: routes.map(|it| it.value.routes).unwrap_or_default(),
            schedules,
            place,
        })
    }

    /// The components that there are or shall be: those of the release under way, or else of the current one, and any
    /// that still has a track.
    fn components(&self) -> Vec<(ComponentName, ComponentKind)> {
        let under_way = self.rollouts.active.is_some();
        let specs =
            [self.newest.as_ref().filter(|_| under_way || self.current.is_none()), self.current.as_ref()];
        let mut seen = BTreeSet::new();
        let mut components = Vec::new();
        for spec in specs.into_iter().flatten().map(|release| &release.version.spec) {
            let declared = |component: &Component| (component.name.clone(), component.kind);
            components
                .extend(spec.components.iter().map(declared).filter(|(name, _)| seen.insert(name.clone())));
        }
        for (key, state) in &self.tracks {
            let name = &key.component.component;
            if !state.revisions.is_empty() && seen.insert(name.clone()) {
                components.push((name.clone(), ComponentKind::Service));
            }
        }
        components
    }

    fn track_keys(&self) -> Vec<TrackKey> {
        let components = self.components();
        let mut keys: BTreeSet<TrackKey> = self.tracks.keys().cloned().collect();
        for (name, _) in components {
            let key = self.place.at.component(name);
            keys.extend(self.env.targets.iter().map(|target| key.on(target.cluster.clone())));
        }
        keys.into_iter().collect()
    }

    /// The newest release that has this revision of a component, as far as it is at hand.
    fn release_of(
        &self,
        state: Option<&TrackState>,
        component: &ComponentName,
        revision: &RevisionId,
    ) -> Option<ReleaseNumber> {
        let rollout = state.and_then(|state| state.rollout.as_ref());
        let stable = state.and_then(|state| state.stable.as_ref());
        let versions =
            stable.into_iter().chain(rollout.into_iter().flat_map(|it| it.to.iter().chain(it.from.iter())));
        let known =
            versions.filter(|version| version.revision == *revision).map(|version| version.release).next();
        known.or_else(|| {
            let releases = self.newest.iter().chain(&self.current);
            releases
                .filter(|release| {
                    release.components.get(component).is_some_and(|it| it.revision == *revision)
                })
                .map(|release| release.number)
                .next()
        })
    }

    fn compose(self, services: &Services, clusters: &Clusters, revision: crate::port::Revision) -> AppStatus {
        let components: Vec<ComponentStatus> =
            self.components().into_iter().map(|(name, kind)| self.component(clusters, name, kind)).collect();
        let rollout = self.rollout_status();
        let mut reasons = Vec::new();
        let clusters_status = self.clusters(services, clusters, &components);
        let state = self.judge(&components, rollout.as_ref(), &mut reasons);
        reasons.extend(clusters_status.iter().flat_map(told_of));
        reasons.extend(conditions(services, &self.place.at));
        let routes = self.routes.iter().map(|route| RouteStatus {
            route: route.clone(),
            addresses: clusters.addresses(services, &route.name),
        });
        AppStatus {
            at: self.place.at.clone(),
            state,
            reasons,
            routes: routes.collect(),
            current: self.current.as_ref().map(|release| ReleaseSummary::of(release, self.place.current)),
            rollout,
            components,
            clusters: clusters_status,
            config: self.place.config,
            revision,
        }
    }

    /// Each cluster's part, those included that the application is leaving.
    fn clusters(
        &self,
        services: &Services,
        seen: &Clusters,
        components: &[ComponentStatus],
    ) -> Vec<ClusterStatus> {
        let mut names: Vec<&ClusterName> = self.env.targets.iter().map(|target| &target.cluster).collect();
        let targets = names.len();
        for cluster in self.tracks.keys().map(|track| &track.cluster) {
            if !names.contains(&cluster) {
                names.push(cluster);
            }
        }
        let of = |(index, cluster): (usize, &ClusterName)| {
            let here = || self.tracks.values().filter(|state| state.track.cluster == *cluster);
            let since = here().filter_map(|state| state.away).min();
            let away = services.outages().of(cluster, services.now());
            let stale = |component: &&ComponentStatus| {
                component.tracks.iter().any(|it| it.cluster == *cluster && it.unreachable.is_some())
            };
            ClusterStatus {
                cluster: cluster.clone(),
                region: seen.region(cluster),
                release: here().filter_map(|state| state.stable.as_ref()).map(|it| it.release).min(),
                // What is stored knows longer than what was noted since the server's start.
                away: away.map(|away| Outage { since: since.unwrap_or(away.since).min(away.since), ..away }),
                stale: components.iter().filter(stale).map(|component| component.name.clone()).collect(),
                behind: self.rollouts.behind.get(cluster).map(behind),
                leaving: index >= targets,
            }
        };
        names.into_iter().enumerate().map(of).collect()
    }

    fn rollout_status(&self) -> Option<RolloutStatus> {
        let rollout = told(&self.rollouts)?;
        let (state, reason) = match &rollout.phase {
            RolloutPhase::Queued | RolloutPhase::Running | RolloutPhase::Superseding => ("running", None),
            RolloutPhase::RollingBack(reason) => ("aborting", Some(reason)),
            RolloutPhase::Aborted(reason) => ("aborted", Some(reason)),
            RolloutPhase::Succeeded => return None,
        };
        // What is committed is the current release, and nothing more is to be said of it.
        if rollout.committed && state == "running" {
            return None;
        }
        let release = self.told.as_ref()?;
        // An attempt that was aborted before the current release was made is history.
        if state == "aborted" && self.place.current.is_some_and(|current| current > rollout.release) {
            return None;
        }
        let reason = match &release.state {
            ReleaseState::Aborted { reason, .. } => Some(reason.clone()),
            _ => reason.map(ToString::to_string),
        };
        let queue = self.rollouts.queue.iter().map(|queued| queued.release);
        Some(RolloutStatus {
            release: rollout.release,
            from: self.place.current,
            state: state.to_owned(),
            reason,
            paused: self.tracks.values().any(|track| track.holds.contains(&Hold::UserPause)),
            attempt: rollout.attempt,
            actor: rollout.actor.clone(),
            started_at: release.created_at,
            queue: queue.filter(|release| *release != rollout.release).collect(),
        })
    }

    fn component(&self, clusters: &Clusters, name: ComponentName, kind: ComponentKind) -> ComponentStatus {
        let offline = self.place.offline.contains(&name);
        let scale = self.scales.get(&name);
        let key = self.place.at.component(name.clone());
        let mut tracks = Vec::new();
        let mut desired = 0;
        let declared = !kind.runs_to_completion() && !offline && self.is_declared(&name);
        for target in &self.env.targets {
            let track = key.on(target.cluster.clone());
            if declared {
                desired += scale.map_or(0, |scale| scale.on(target));
            }
            tracks.push(self.track(clusters, &track));
        }
        let ready = tracks.iter().flat_map(|track| &track.versions).map(|version| version.ready).sum();
        ComponentStatus {
            schedule: self.schedules.get(&name).cloned(),
            name,
            kind,
            count: scale.map_or(0, |scale| scale.count),
            offline,
            desired,
            ready,
            tracks,
        }
    }

    /// Whether the component belongs to the newest declaration that is or becomes current.
    fn is_declared(&self, name: &ComponentName) -> bool {
        let has = |spec: &AppSpec| spec.components.iter().any(|component| component.name == *name);
        let under_way = self.rollouts.active.as_ref().is_some_and(Rollout::can_abort);
        let newest = self.newest.as_ref().filter(|_| under_way);
        newest.or(self.current.as_ref()).is_some_and(|release| has(&release.version.spec))
    }

    fn track(&self, clusters: &Clusters, key: &TrackKey) -> TrackStatus {
        let state = self.tracks.get(key);
        let name = &key.component.component;
        let seen = clusters.track(key);
        let mut versions: BTreeMap<RevisionId, VersionStatus> = BTreeMap::new();
        let version = |revision: &RevisionId| VersionStatus {
            revision: revision.clone(),
            release: self.release_of(state, name, revision),
            desired: 0,
            total: 0,
            ready: 0,
            weight: None,
        };
        let mut instances = Vec::new();
        let mut unreachable = None;
        match seen {
            Some(Ok((observation, service))) => {
                for (revision, set) in &observation.sets {
                    let entry = versions.entry(revision.clone()).or_insert_with(|| version(revision));
                    entry.desired = set.desired;
                    entry.total = count(set, |_| true);
                    entry.ready = count(set, |phase| phase == InstancePhase::Ready);
                    instances.extend(self.instances(state, name, set));
                }
                for (revision, weight) in service.iter().flat_map(|it| &it.weights) {
                    let entry = versions.entry(revision.clone()).or_insert_with(|| version(revision));
                    entry.weight = Some(*weight);
                }
            }
            Some(Err(error)) => unreachable = Some(error.clone()),
            None => unreachable = Some(format!("cluster {} is not open", key.cluster)),
        }
        instances.sort_by_key(|instance| instance.ordinal);
        let step = state.and_then(|state| match (state.phase, &state.rollout) {
            (Phase::Step { index, .. }, Some(rollout)) => Some((index + 1, rollout.plan.steps.len())),
            _ => None,
        });
        let mut holds: Vec<String> =
            state.into_iter().flat_map(|state| &state.holds).map(ToString::to_string).collect();
        holds.extend(state.and_then(|state| awaited(state, &versions, &instances)));
        let away = state.and_then(|state| state.away);
        holds.extend(away.map(|since| format!("waits for cluster {}, away since {since}", key.cluster)));
        TrackStatus {
            cluster: key.cluster.clone(),
            phase: state.map_or_else(|| "Idle".to_owned(), |state| state.phase.to_string()),
            step,
            holds,
            deadline: state.and_then(|state| state.clock.deadline),
            versions: versions.into_values().collect(),
            instances,
            unreachable,
        }
    }

    fn instances<'a>(
        &'a self,
        state: Option<&'a TrackState>,
        name: &'a ComponentName,
        set: &'a SetObservation,
    ) -> impl Iterator<Item = InstanceStatus> + 'a {
        let release = self.release_of(state, name, &set.revision);
        set.instances.iter().map(move |instance| InstanceStatus {
            id: instance.id.clone(),
            revision: set.revision.clone(),
            release,
            phase: instance.phase,
            ready_since: instance.ready_since,
            started_at: instance.started_at,
            restarts: instance.restarts,
            last_exit: instance.last_exit.clone(),
            failure: instance.failure.clone(),
            ordinal: instance.ordinal,
            pull: instance.pull,
        })
    }

    fn judge(
        &self,
        components: &[ComponentStatus],
        rollout: Option<&RolloutStatus>,
        reasons: &mut Vec<String>,
    ) -> AppState {
        if let Some(deleting) = &self.place.deleting {
            reasons.push(format!("{} deletes it", deleting.by));
            return AppState::Deleting;
        }
        if self.place.last == 0 {
            reasons.push("it has no release yet".to_owned());
            return AppState::NotDeployed;
        }
        explain(components, rollout, reasons);
        let tracks = || components.iter().flat_map(|component| &component.tracks);
        if rollout.is_some_and(|rollout| rollout.state == "running" || rollout.state == "aborting") {
            return AppState::Releasing;
        }
        // As long as one cluster can be seen, it says how the application is; what is not seen is not ready.
        if tracks().next().is_some() && tracks().all(|track| track.unreachable.is_some()) {
            return AppState::Unknown;
        }
        let services: Vec<&ComponentStatus> =
            components.iter().filter(|component| component.kind != ComponentKind::Job).collect();
        if self.current.is_none() {
            return AppState::Failing;
        }
        if !services.is_empty() && services.iter().all(|component| component.offline) {
            return AppState::Stopped;
        }
        if services.iter().any(|component| component.desired > 0 && component.ready == 0) {
            return AppState::Failing;
        }
        if services.iter().any(|component| component.ready < component.desired) {
            return AppState::Degraded;
        }
        AppState::Running
    }
}

/// The rollout that a status tells of. What is committed only clears up, and the next one begins when it has.
fn told(rollouts: &Coordinator) -> Option<&Rollout> {
    let active = rollouts.active.as_ref();
    let next = rollouts.queue.first().filter(|_| active.is_some_and(|active| active.committed));
    next.or(active).or(rollouts.last.as_ref())
}

/// What a release waits for that instances of its version are not well.
fn awaited(
    state: &TrackState,
    versions: &BTreeMap<RevisionId, VersionStatus>,
    instances: &[InstanceStatus],
) -> Option<String> {
    let target = state.rollout.as_ref()?.target().filter(|_| state.phase.is_forward())?;
    let version = versions.get(target)?;
    let unwell = instances.iter().any(|instance| instance.revision == *target && instance.failure.is_some());
    let VersionStatus { ready, desired, .. } = version;
    (unwell && ready < desired)
        .then(|| format!("waits until the new instances are ready: {ready} of {desired} are"))
}

fn count(set: &SetObservation, wanted: impl Fn(InstancePhase) -> bool) -> u32 {
    let alive = |phase| phase != InstancePhase::Draining;
    let count = set.instances.iter().filter(|it| alive(it.phase) && wanted(it.phase)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
