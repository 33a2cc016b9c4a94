//! The rollouts of an application in an environment with its tracks, as read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::effect;
use crate::engine::{
    AppEnvRecord, Changes, Deleting, EventRecord, RolloutRecord, ScaleRecord, Services, Stored, TrackRecord,
};
use crate::error::Result;
use crate::model::{Environment, OnRunning, ReleaseNumber, Target};
use crate::name::{AppEnv, ClusterName, ComponentName, TrackKey};
use crate::release::{
    AbortReason, Command, Coordinator, Detach, Refused, Rollout, RolloutEvent, RolloutPhase, RolloutRefused,
    TrackState, coordinate,
};

/// The rollouts of an application in an environment with its tracks, as read, to be changed in one transaction.
#[derive(Debug, Clone)]
pub struct RolloutView {
    pub(super) place: Stored<AppEnvRecord>,
    rollout: Stored<RolloutRecord>,
    tracks: BTreeMap<TrackKey, Stored<TrackRecord>>,
    env: Option<Stored<Environment>>,
    targets: Vec<Target>,
    counts: BTreeMap<ComponentName, u32>,
    before: Coordinator,
    former_before: BTreeMap<ClusterName, BTreeSet<ComponentName>>,
    states_before: BTreeMap<TrackKey, TrackState>,
    events: Vec<RolloutEvent>,
    wake_at: Option<Timestamp>,
    now: Timestamp,
}

impl RolloutView {
    /// Reads everything; nothing if the application has not been configured or deployed in the environment.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn load(services: &Services, at: &AppEnv) -> Result<Option<Self>> {
        let place = services.collections().get::<AppEnvRecord>(&AppEnvRecord::key_of(at)).await?;
        match place {
            Some(place) => Self::of(services, place).await.map(Some),
            None => Ok(None),
        }
    }

    /// Reads what belongs to `place`.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn of(services: &Services, place: Stored<AppEnvRecord>) -> Result<Self> {
        let at = place.value.at.clone();
        let collections = services.collections();
        let rollout =
            collections.get::<RolloutRecord>(&RolloutRecord::key_of(&at)).await?.unwrap_or_else(|| {
                Stored::new(RolloutRecord { at: at.clone(), coordinator: Coordinator::default() })
            });
        let env = collections.get::<Environment>(&Environment::key_of(&at.env_ref())).await?;
        let scales = collections.children::<ScaleRecord>(at.to_string()).await?;
        let tracks: BTreeMap<TrackKey, Stored<TrackRecord>> = collections
            .children::<TrackRecord>(at.to_string())
            .await?
            .into_iter()
            .map(|track| (track.value.state.track.clone(), track))
            .collect();
        Ok(Self {
            before: rollout.value.coordinator.clone(),
            former_before: place.value.former.clone(),
            states_before: tracks.iter().map(|(key, it)| (key.clone(), it.value.state.clone())).collect(),
            place,
            rollout,
            tracks,
            targets: env.as_ref().map(|env| env.value.targets.clone()).unwrap_or_default(),
            env,
            counts: scales.into_iter().map(|it| (it.value.component.component, it.value.count)).collect(),
            events: Vec::new(),
            wake_at: None,
            now: services.now(),
        })
    }

    /// The application in its environment.
    pub fn at(&self) -> &AppEnv {
        &self.place.value.at
    }

    /// The coordinator's state.
    pub fn coordinator(&self) -> &Coordinator {
        &self.rollout.value.coordinator
    }

    /// The rollout under way.
    pub fn active(&self) -> Option<&Rollout> {
        self.coordinator().active.as_ref()
    }

    /// The tracks' states.
    pub fn tracks(&self) -> impl Iterator<Item = &TrackState> {
        self.tracks.values().map(|track| &track.value.state)
    }

    /// Whether the application is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.place.value.deleting.is_some()
    }

    /// By whom and when its deletion was asked for.
    pub(super) fn deleting(&self) -> Option<&Deleting> {
        self.place.value.deleting.as_ref()
    }

    /// The current release.
    pub(super) fn current(&self) -> Option<ReleaseNumber> {
        self.place.value.current
    }

    /// The clusters of the environment.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The tracks' documents.
    pub(super) fn records(&self) -> impl Iterator<Item = &Stored<TrackRecord>> {
        self.tracks.values()
    }

    /// When to coordinate again although nothing has changed.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.wake_at
    }

    fn states(&self) -> BTreeMap<TrackKey, TrackState> {
        self.tracks.iter().map(|(key, it)| (key.clone(), it.value.state.clone())).collect()
    }

    /// Whether everything is as it was read.
    pub(super) fn is_unchanged(&self) -> bool {
        let same = |(key, track): (&TrackKey, &Stored<TrackRecord>)| {
            self.states_before.get(key) == Some(&track.value.state)
        };
        *self.coordinator() == self.before && self.events.is_empty() && self.tracks.iter().all(same)
    }

    /// Whether a cluster has something else than the current release, and nothing concerns itself with that.
    pub(super) fn is_behind(&self, cluster: &ClusterName, current: ReleaseNumber) -> bool {
        self.coordinator().is_behind(cluster, current, &self.states())
    }

    /// Brings a cluster to the current release by itself.
    pub(super) fn catch_up(&mut self, cluster: ClusterName, rollout: Rollout) {
        let (state, events) = self.coordinator().catch_up(cluster, rollout);
        self.take(state, events);
    }

    /// Takes the tracks away from clusters that the environment does not have any more; rollouts go on without them.
    pub fn follow_targets(&mut self) {
        if self.targets.is_empty() {
            return;
        }
        let targets = self.targets.clone();
        let gone = |cluster: &ClusterName| !targets.iter().any(|target| target.cluster == *cluster);
        for track in self.tracks.values_mut().filter(|track| gone(&track.value.state.track.cluster)) {
            let TrackKey { component, cluster } = &track.value.state.track;
            self.place.value.former.entry(cluster.clone()).or_default().insert(component.component.clone());
            apply(&mut track.value.state, &[Command::Detach { mode: Detach::Delete }], self.now);
        }
        let (state, events) = self.coordinator().without_clusters(gone);
        if state != *self.coordinator() {
            self.take(state, events);
        }
    }

    /// Says how many instances of a component there shall be, for tracks that do not exist yet.
    pub fn declare(&mut self, component: ComponentName, count: u32) {
        self.counts.insert(component, count);
    }

    /// Takes a rollout in, as the environment's policy says.
    ///
    /// # Errors
    /// [`RolloutRefused`] by the policy [`OnRunning::Reject`].
    pub fn submit(&mut self, rollout: Rollout, policy: OnRunning) -> Result<(), RolloutRefused> {
        let (state, events) = self.coordinator().submit(rollout, policy)?;
        self.take(state, events);
        Ok(())
    }

    /// Gives the active rollout up.
    ///
    /// # Errors
    /// [`RolloutRefused`] once it is committed.
    pub fn abort(&mut self, reason: AbortReason) -> Result<(), RolloutRefused> {
        let (state, events) = self.coordinator().abort(reason)?;
        self.take(state, events);
        Ok(())
    }

    /// Tries the last rollout again.
    ///
    /// # Errors
    /// [`RolloutRefused`] if it was not aborted, or another one is under way.
    pub fn retry(&mut self) -> Result<(), RolloutRefused> {
        let (state, events) = self.coordinator().retry()?;
        self.take(state, events);
        Ok(())
    }

    /// Applies a command to every track that `which` selects.
    ///
    /// # Errors
    /// The first refusal.
    pub fn command(&mut self, command: &Command, which: impl Fn(&TrackState) -> bool) -> Result<(), Refused> {
        for track in self.tracks.values_mut().filter(|track| which(&track.value.state)) {
            track.value.state = track.value.state.apply(command, self.now)?.0;
        }
        Ok(())
    }

    /// Makes the tracks of the environment's clusters have the declared numbers of instances, and rollouts keep a number
    /// that was declared after they began.
    pub fn scale(&mut self, component: &ComponentName, count: u32) {
        self.counts.insert(component.clone(), count);
        let targets = self.targets.clone();
        let on = |track: &TrackKey| within(&targets, track, count);
        for track in self.tracks.values_mut() {
            let state = &mut track.value.state;
            let wanted = on(&state.track);
            if state.track.component.component == *component
                && let Some(rollout) = state.rollout.as_mut().filter(|rollout| !rollout.committed)
            {
                rollout.count_on_commit = rollout.count_on_commit.map(|_| wanted);
            }
        }
        let coordinator = &mut self.rollout.value.coordinator;
        for rollout in coordinator.active.iter_mut().chain(&mut coordinator.queue) {
            for track in rollout.tracks.iter_mut().filter(|it| it.track.component.component == *component) {
                track.count_on_commit = track.count_on_commit.map(|_| on(&track.track));
            }
        }
        self.follow_scale();
    }

    /// Makes every track have the declared number of instances, and be offline or not as declared.
    pub fn follow_scale(&mut self) {
        for track in self.tracks.values_mut() {
            let component = &track.value.state.track.component.component;
            let mut commands = Vec::new();
            if let Some(count) = self.counts.get(component) {
                commands
                    .push(Command::Scale { count: within(&self.targets, &track.value.state.track, *count) });
            }
            let offline = self.place.value.offline.contains(component);
            commands.push(if offline { Command::Offline } else { Command::Online });
            apply(&mut track.value.state, &commands, self.now);
        }
    }

    /// Takes every track out of management, leaving nothing behind.
    pub fn detach(&mut self) {
        for track in self.tracks.values_mut() {
            apply(&mut track.value.state, &[Command::Detach { mode: Detach::Delete }], self.now);
        }
    }

    /// Lets the coordinator decide, and applies its commands to the tracks.
    pub fn coordinate(&mut self) {
        // Each round may make the next one possible; the number of rounds is bounded by the phases of a rollout, and what
        // is left is done the next time.
        for _ in 0..8 {
            let states = self.states();
            let decided = coordinate(self.coordinator(), &states, self.now);
            self.wake_at = decided.wake_at;
            let quiet = decided.state == *self.coordinator() && decided.commands.is_empty();
            let mut applied = false;
            for (key, command) in decided.commands {
                let now = self.now;
                let state = self.track(&key);
                match state.apply(&command, now) {
                    Ok((next, _)) => {
                        applied |= next != *state;
                        *state = next;
                    }
                    Err(refused) => {
                        tracing::debug!(track = %key, ?command, %refused, "a track refused a command for now");
                    }
                }
            }
            let changed = decided.state != *self.coordinator();
            self.take(decided.state, decided.events);
            if quiet || !(applied || changed) {
                return;
            }
        }
    }

    /// The state of a track, made if there is none.
    fn track(&mut self, key: &TrackKey) -> &mut TrackState {
        let component = &key.component.component;
        let count = self.counts.get(component).map_or(1, |count| within(&self.targets, key, *count));
        let offline = self.place.value.offline.contains(component);
        let now = self.now;
        let stored = self.tracks.entry(key.clone()).or_insert_with(|| {
            let mut state = TrackState::new(key.clone(), count);
            if offline {
                apply(&mut state, &[Command::Offline], now);
            }
            Stored::new(TrackRecord::new(state))
        });
        &mut stored.value.state
    }

    fn take(&mut self, state: Coordinator, events: Vec<RolloutEvent>) {
        self.rollout.value.coordinator = state;
        self.events.extend(events);
    }

    /// Whether a rollout ended since the view was read.
    pub fn has_ended_any(&self) -> bool {
        self.events.iter().any(|event| {
            let terminal =
                |phase: &RolloutPhase| matches!(phase, RolloutPhase::Succeeded | RolloutPhase::Aborted(_));
            matches!(event, RolloutEvent::Entered { phase, .. } if terminal(phase))
        })
    }

    /// Prepares what changed: the coordinator, the tracks, and what both mean for the releases' records. Everything that was
    /// decided upon must still be so. The answer is the events to store with it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn store(self, services: &Services, changes: &mut Changes) -> Result<Vec<EventRecord>> {
        let mut any = self.rollout.value.coordinator != self.before;
        if any || !self.events.is_empty() {
            changes.update(&self.rollout)?;
        }
        for (key, track) in &self.tracks {
            if self.states_before.get(key) != Some(&track.value.state) {
                changes.update(track)?;
                any = true;
            }
        }
        if !any {
            return Ok(Vec::new());
        }
        if self.place.value.former != self.former_before {
            changes.update(&self.place)?;
        }
        changes.expect(self.rollout.unchanged());
        changes.expect(self.place.unchanged());
        if let Some(env) = &self.env {
            changes.expect(env.unchanged());
        }
        for track in self.tracks.values().filter(|track| track.exists()) {
            changes.expect(track.unchanged());
        }
        let after = self.rollout.value.coordinator.clone();
        effect::store(services, changes, self.place, &self.before, &after, &self.events, self.now).await
    }
}

/// The number of instances on a track's cluster, within the bounds that the environment sets there.
fn within(targets: &[Target], track: &TrackKey, count: u32) -> u32 {
    let scale = ScaleRecord { component: track.component.clone(), count, version: 0 };
    targets.iter().find(|target| target.cluster == track.cluster).map_or(count, |target| scale.on(target))
}

/// Applies commands that a track refuses only while it is on its way out, when they do not matter any more.
fn apply(state: &mut TrackState, commands: &[Command], now: Timestamp) {
    for command in commands {
        if let Ok((next, _)) = state.apply(command, now) {
            *state = next;
        }
    }
}
