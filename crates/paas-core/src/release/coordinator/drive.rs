//! Carrying one rollout on: which clusters may begin, which may commit, which go back, and whether it has ended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::part::{End, Outcome, Part};
use super::progress::{Dependencies, Progress, failure, is_granted};
use super::{Rollout, RolloutEvent, RolloutPhase, RolloutTrack};
use crate::model::{ClusterOrder, OnClusterFailure};
use crate::name::{ClusterName, TrackKey};
use crate::release::command::{Command, StartRollout};
use crate::release::state::{AbortReason, CommitMode, Hold, TrackState};

/// A rollout with what is known of its tracks, and what is missing on them.
pub(super) struct Drive<'t> {
    pub(super) rollout: Rollout,
    pub(super) commands: Vec<(TrackKey, Command)>,
    pub(super) events: Vec<RolloutEvent>,
    pub(super) wake_at: Option<Timestamp>,
    tracks: &'t BTreeMap<TrackKey, TrackState>,
    now: Timestamp,
    /// Whether it brings a cluster to the current release by itself: the release has been committed, and nobody waits.
    alone: bool,
}

impl<'t> Drive<'t> {
    pub(super) fn new(
        mut rollout: Rollout,
        tracks: &'t BTreeMap<TrackKey, TrackState>,
        now: Timestamp,
    ) -> Self {
        rollout.began.get_or_insert(now);
        let (commands, events) = (Vec::new(), Vec::new());
        Self { rollout, commands, events, wake_at: None, tracks, now, alone: false }
    }

    pub(super) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Carries it on as far as the tracks allow; how it ended, if it has.
    pub(super) fn run(&mut self) -> Option<End> {
        if !matches!(self.rollout.phase, RolloutPhase::RollingBack(_)) {
            let parts = self.parts();
            let failed = parts.iter().find_map(|part| part.failed.clone());
            let turns = failed
                .filter(|_| self.rollout.on_failure == OnClusterFailure::Back && !self.rollout.committed);
            match turns {
                Some(reason) => self.enter(RolloutPhase::RollingBack(reason)),
                None => return self.go_forward(&parts),
            }
        }
        let RolloutPhase::RollingBack(reason) = self.rollout.phase.clone() else { return None };
        self.go_back(&reason)
    }

    fn state(&self, track: &RolloutTrack) -> Option<&'t TrackState> {
        self.tracks.get(&track.track)
    }

    fn progress(&self, track: &RolloutTrack) -> Progress {
        Progress::of(self.state(track), &self.rollout.id, self.rollout.attempt)
    }

    fn is_away(&self, track: &RolloutTrack) -> bool {
        self.state(track).is_some_and(|state| state.away.is_some())
    }

    /// Whether it was told that the commit of this rollout is written.
    fn is_told(&self, track: &RolloutTrack) -> bool {
        matches!(self.progress(track), Progress::Forward | Progress::Ready)
            && self.state(track).is_some_and(is_granted)
    }

    /// A commit that was written and cannot be carried out yet, because nothing can be seen there.
    fn is_owed(&self, track: &RolloutTrack) -> bool {
        self.is_away(track) && self.is_told(track)
    }

    fn command(&mut self, track: &RolloutTrack, command: Command) {
        self.commands.push((track.track.clone(), command));
    }

    fn enter(&mut self, phase: RolloutPhase) {
        self.rollout.phase = phase.clone();
        if !self.alone {
            self.events.push(RolloutEvent::Entered { rollout: self.rollout.id.clone(), phase });
        }
    }

    /// The clusters in their order.
    fn parts(&mut self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for track in &self.rollout.tracks {
            let cluster = &track.track.cluster;
            match parts.iter_mut().find(|part| part.cluster == *cluster) {
                Some(part) => part.tracks.push(track.clone()),
                None => {
                    parts.push(Part { cluster: cluster.clone(), tracks: vec![track.clone()], failed: None });
                }
            }
        }
        for part in &mut parts {
            // Once it has failed there it stays so, whatever its tracks do on their way back.
            part.failed =
                self.rollout.failed_on.get(&part.cluster).cloned().or_else(|| self.failed(&part.tracks));
        }
        parts
    }

    fn failed(&mut self, tracks: &[RolloutTrack]) -> Option<AbortReason> {
        let failed = tracks
            .iter()
            .find(|track| matches!(self.progress(track), Progress::Back | Progress::Aborted))
            .map(|track| failure(track, self.state(track)));
        failed.or_else(|| tracks.iter().find_map(|track| self.out_of_time(track)))
    }

    /// A track that cannot be seen has as long as any other without progress. Its own clock stands still meanwhile.
    fn out_of_time(&mut self, track: &RolloutTrack) -> Option<AbortReason> {
        let state = self.state(track)?;
        let since = state.away?;
        let waits = matches!(self.progress(track), Progress::Forward | Progress::Waits);
        if self.alone || !waits || self.is_told(track) || state.holds.contains(&Hold::UserPause) {
            return None;
        }
        let started = state.rollout.as_ref().map(|rollout| rollout.started_at);
        let began = self.rollout.began.into_iter().chain(started).max().unwrap_or(since);
        let deadline = track.plan.progress_deadline.after(since.max(began));
        if self.now > deadline {
            return Some(AbortReason::Away { cluster: track.track.cluster.clone(), since });
        }
        let past = deadline.saturating_add(jiff::SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX);
        self.wake_at = self.wake_at.into_iter().chain(Some(past)).min();
        None
    }

    fn go_forward(&mut self, parts: &[Part]) -> Option<End> {
        self.give_up_superseded();
        let missing = Dependencies::of(&self.rollout, self.tracks);
        // One after the other, what comes later waits.
        let mut waits = false;
        let mut yields = false;
        for part in parts {
            if let Some(reason) = &part.failed {
                self.rollout.failed_on.insert(part.cluster.clone(), reason.clone());
                self.take_back(&part.tracks, reason);
            } else {
                for track in &part.tracks {
                    match self.progress(track) {
                        Progress::Unaware if !waits => {
                            yields = true;
                            self.start(track, missing.holds(track));
                        }
                        Progress::Unaware => self.give_up_orphan(track),
                        Progress::Forward => self.satisfy(track, &missing),
                        Progress::Waits => yields = true,
                        _ => {}
                    }
                }
            }
            waits |= self.rollout.order == ClusterOrder::OneByOne && !self.has_committed(part);
        }
        if self.rollout.phase == RolloutPhase::Superseding && !yields {
            self.enter(RolloutPhase::Running);
        }
        self.commit(parts);
        match self.rollout.on_failure {
            OnClusterFailure::Keep => self.conclude_each(parts),
            _ => self.conclude_all(parts),
        }
    }

    /// Tracks of the superseded rollout that the new one does not name go back.
    fn give_up_superseded(&mut self) {
        let Some(old) = &self.rollout.superseded else { return };
        for (key, state) in self.tracks {
            let is_old = state.rollout.as_ref().is_some_and(|rollout| rollout.id == *old);
            let named = self.rollout.tracks.iter().any(|track| track.track == *key);
            if is_old && !named && state.phase.is_forward() {
                let reason = AbortReason::Superseded(self.rollout.id.clone());
                self.commands.push((key.clone(), Command::Abort { reason }));
            }
        }
    }

    /// What brought a cluster to an earlier release by itself was given up when this rollout began; a track that it has left
    /// under way goes back while its turn has not come, or never does.
    fn give_up_orphan(&mut self, track: &RolloutTrack) {
        let Some(state) = self.state(track) else { return };
        let back = Progress::of(Some(state), &self.rollout.id.way_back(), self.rollout.attempt);
        // What waits to begin as soon as it is back would begin for nobody.
        let left = (state.phase.is_forward() && !is_granted(state)) || state.next.is_some();
        if left && back == Progress::Unaware {
            let reason = AbortReason::Superseded(self.rollout.id.clone());
            self.command(track, Command::Abort { reason });
        }
    }

    fn start(&mut self, track: &RolloutTrack, holds: BTreeSet<Hold>) {
        let rollout = &self.rollout;
        let commit =
            if rollout.lockstep { CommitMode::Lockstep { granted: false } } else { CommitMode::Independent };
        let start = StartRollout {
            attempt: rollout.attempt,
            commit,
            holds,
            count_on_commit: track.count_on_commit,
            actor: rollout.actor.clone(),
            reason: rollout.reason.clone(),
            ..StartRollout::new(rollout.id.clone(), track.to.clone(), track.plan.clone())
        };
        let command = self.starting(track, start);
        self.command(track, command);
    }

    /// What an earlier rollout has left under way, such as on a cluster that could not be reached, yields first.
    fn starting(&self, track: &RolloutTrack, start: StartRollout) -> Command {
        let busy = self.state(track).is_some_and(|state| !state.phase.is_at_rest());
        if busy || self.rollout.phase == RolloutPhase::Superseding {
            Command::Supersede(start)
        } else {
            Command::Start(start)
        }
    }

    fn satisfy(&mut self, track: &RolloutTrack, missing: &Dependencies) {
        let Some(state) = self.state(track) else { return };
        let still = missing.holds(track);
        for hold in state.holds.difference(&still) {
            if let Hold::Dependency(component) = hold {
                self.command(track, Command::Satisfied { component: component.clone() });
            }
        }
    }

    /// Whether a cluster has the release, so that the next one may begin.
    fn has_committed(&self, part: &Part) -> bool {
        self.rollout.has_committed_on(&part.cluster)
            && part.tracks.iter().all(|track| self.progress(track).is_done() || self.is_owed(track))
    }

    /// In lockstep, a commit is this state's write; each track applies it when it is told.
    fn commit(&mut self, parts: &[Part]) {
        let rollout = &self.rollout;
        let together = rollout.lockstep
            && rollout.order == ClusterOrder::AllAtOnce
            && rollout.on_failure == OnClusterFailure::Back;
        let is_due = |part: &Part| {
            part.failed.is_none()
                && part.tracks.iter().all(|track| match self.progress(track) {
                    Progress::Ready => self.rollout.lockstep,
                    progress => progress.is_done(),
                })
        };
        let due: BTreeSet<ClusterName> =
            parts.iter().filter(|part| is_due(part)).map(|part| part.cluster.clone()).collect();
        if together && !self.rollout.committed && due.len() == parts.len() {
            self.commit_all();
        } else if !together {
            self.rollout.committed_on.extend(due);
        }
        if !self.rollout.lockstep {
            return;
        }
        for part in parts.iter().filter(|part| self.rollout.has_committed_on(&part.cluster)) {
            for track in &part.tracks {
                let waits = matches!(self.progress(track), Progress::Ready | Progress::Forward);
                if waits && !self.is_told(track) {
                    let rollout = self.rollout.id.clone();
                    self.commands.push((track.track.clone(), Command::GrantCommit { rollout }));
                }
            }
        }
    }

    fn commit_all(&mut self) {
        if self.rollout.committed {
            return;
        }
        self.rollout.committed = true;
        if !self.alone {
            let (rollout, release) = (self.rollout.id.clone(), self.rollout.release);
            self.events.push(RolloutEvent::Committed { rollout, release });
        }
    }

    /// The rollout has ended when every cluster has it, except for commits that nothing can be seen of.
    fn conclude_all(&mut self, parts: &[Part]) -> Option<End> {
        let mut behind = BTreeMap::new();
        for part in parts {
            let pending = || part.tracks.iter().filter(|track| !self.progress(track).is_done());
            if pending().any(|track| !self.is_owed(track)) {
                return None;
            }
            // By itself it has nobody to hand over to: it is the one that follows.
            if pending().next().is_some() {
                if self.alone {
                    return None;
                }
                behind.insert(part.cluster.clone(), RolloutPhase::Running);
            }
        }
        self.commit_all();
        Some(End { phase: RolloutPhase::Succeeded, behind })
    }

    /// Where each cluster commits by itself: the rollout has ended when there is nothing more to be had of any, and one that
    /// cannot be seen is waited for only as long as no other has committed.
    fn conclude_each(&mut self, parts: &[Part]) -> Option<End> {
        let mut stopped: Option<AbortReason> = None;
        let mut outcomes = Vec::new();
        for part in parts {
            let outcome = self.outcome(part, stopped.as_ref())?;
            if let Outcome::Back(reason) = &outcome
                && self.rollout.order == ClusterOrder::OneByOne
            {
                stopped.get_or_insert_with(|| reason.clone());
            }
            outcomes.push((part.cluster.clone(), outcome));
        }
        let any_away = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Away));
        let committed = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Committed { .. }));
        let failed = outcomes.iter().find_map(|(_, outcome)| match outcome {
            Outcome::Back(reason) => Some(reason.clone()),
            _ => None,
        });
        if !committed {
            return match failed {
                _ if any_away => None,
                Some(reason) => Some(End::clean(RolloutPhase::Aborted(reason))),
                None => {
                    self.commit_all();
                    Some(End::clean(RolloutPhase::Succeeded))
                }
            };
        }
        self.note_committed(&outcomes);
        self.commit_all_kept();
        let behind = outcomes.into_iter().filter_map(|(cluster, outcome)| {
            let phase = match outcome {
                Outcome::Committed { unseen: true } | Outcome::Away => RolloutPhase::Running,
                Outcome::Back(reason) | Outcome::Spared(reason) => RolloutPhase::Aborted(reason),
                Outcome::Committed { unseen: false } | Outcome::Left => return None,
            };
            Some((cluster, phase))
        });
        Some(End { phase: RolloutPhase::Succeeded, behind: behind.collect() })
    }

    fn outcome(&mut self, part: &Part, stopped: Option<&AbortReason>) -> Option<Outcome> {
        if let Some(reason) = &part.failed {
            return self.is_back(&part.tracks).then(|| Outcome::Back(reason.clone()));
        }
        let progress: Vec<Progress> = part.tracks.iter().map(|track| self.progress(track)).collect();
        if progress.iter().all(|one| *one == Progress::Left) {
            return Some(Outcome::Left);
        }
        if self.has_committed(part) {
            let unseen = progress.iter().any(|one| !one.is_done());
            return Some(Outcome::Committed { unseen });
        }
        let untouched = progress.iter().all(|one| matches!(one, Progress::Unaware | Progress::Left));
        if let Some(reason) = stopped.filter(|_| untouched) {
            return self.is_back(&part.tracks).then(|| Outcome::Spared(reason.clone()));
        }
        let away = part.tracks.iter().any(|track| self.is_away(track));
        (away && self.rollout.order == ClusterOrder::AllAtOnce).then_some(Outcome::Away)
    }

    fn go_back(&mut self, reason: &AbortReason) -> Option<End> {
        let keeps = self.rollout.on_failure == OnClusterFailure::Keep;
        let mut done = true;
        let mut kept = false;
        let mut behind = BTreeMap::new();
        for part in self.parts() {
            if keeps && self.rollout.has_committed_on(&part.cluster) {
                kept = true;
                let has = self.has_committed(&part);
                done &= has;
                if has && part.tracks.iter().any(|track| !self.progress(track).is_done()) {
                    behind.insert(part.cluster, RolloutPhase::Running);
                }
                continue;
            }
            self.take_back(&part.tracks, reason);
            done &= self.is_back(&part.tracks);
            behind.insert(part.cluster, RolloutPhase::Aborted(reason.clone()));
        }
        if !done {
            return None;
        }
        if kept {
            self.commit_all_kept();
            return Some(End { phase: RolloutPhase::Succeeded, behind });
        }
        Some(End::clean(RolloutPhase::Aborted(reason.clone())))
    }

    /// Takes tracks back to where they were, those that have committed too.
    fn take_back(&mut self, tracks: &[RolloutTrack], reason: &AbortReason) {
        for track in tracks {
            match self.progress(track) {
                // What was told of its commit cannot abort: it goes back once it has carried it out.
                Progress::Forward | Progress::Ready | Progress::Waits if !self.is_told(track) => {
                    self.command(track, Command::Abort { reason: reason.clone() });
                }
                Progress::Unaware => self.give_up_orphan(track),
                Progress::Committed => {
                    let changed =
                        self.state(track).and_then(|it| it.rollout.as_ref()).filter(|it| it.from != it.to);
                    if let Some(rollout) = changed {
                        let start = StartRollout {
                            attempt: self.rollout.attempt,
                            actor: self.rollout.actor.clone(),
                            reason: reason.to_string(),
                            ..StartRollout::new(
                                self.rollout.id.way_back(),
                                rollout.from.clone(),
                                track.back.clone(),
                            )
                        };
                        self.command(track, Command::Start(start));
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether tracks are back where they were. What cannot be seen gets there by itself once it can.
    fn is_back(&self, tracks: &[RolloutTrack]) -> bool {
        tracks.iter().all(|track| {
            let Some(state) = self.state(track) else { return true };
            if state.away.is_some() && (state.phase.is_back() || is_granted(state)) {
                return true;
            }
            match self.progress(track) {
                Progress::Aborted | Progress::Left => true,
                Progress::Committed => {
                    state.rollout.as_ref().is_some_and(|rollout| rollout.from == rollout.to)
                }
                Progress::Unaware => {
                    let back = self.rollout.id.way_back();
                    match Progress::of(Some(state), &back, self.rollout.attempt) {
                        // A track that still yields to this rollout's predecessor is on its way back, too.
                        Progress::Unaware => !state.phase.is_back() && !state.phase.is_forward(),
                        Progress::Committed | Progress::Aborted => true,
                        _ => state.away.is_some(),
                    }
                }
                _ => false,
            }
        })
    }

    fn note_committed(&mut self, outcomes: &[(ClusterName, Outcome)]) {
        let committed = outcomes.iter().filter(|(_, it)| matches!(it, Outcome::Committed { .. }));
        self.rollout.committed_on.extend(committed.map(|(cluster, _)| cluster.clone()));
    }

    /// The release is the current one, although not on every cluster.
    fn commit_all_kept(&mut self) {
        if !self.alone {
            let (rollout, release) = (self.rollout.id.clone(), self.rollout.release);
            self.events.push(RolloutEvent::Committed { rollout, release });
        }
    }
}
