//! What is missing on the tracks of the active rollout.

use std::collections::{BTreeMap, BTreeSet};

use super::{Coordination, Coordinator, OnTrackFailure, Rollout, RolloutEvent, RolloutPhase, RolloutTrack};
use crate::name::{ComponentName, TrackKey};
use crate::release::command::{Command, StartRollout};
use crate::release::id::RolloutId;
use crate::release::phase::Phase;
use crate::release::state::{AbortReason, CommitMode, Hold, TrackState};

/// How far a track is with a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It knows nothing of it.
    Unaware,
    /// It yields what it does for an older rollout first.
    Waits,
    /// It is under way.
    Forward,
    /// Only the commit of all is missing.
    Ready,
    /// It has committed.
    Committed,
    /// It is on its way back.
    Back,
    /// It is back.
    Aborted,
    /// It has left, or is leaving, management.
    Left,
}

fn progress(state: Option<&TrackState>, id: &RolloutId, attempt: u32) -> Progress {
    let Some(state) = state else { return Progress::Unaware };
    if state.phase.is_leaving() {
        return Progress::Left;
    }
    if state.next.as_ref().is_some_and(|next| next.rollout == *id && next.attempt == attempt) {
        return Progress::Waits;
    }
    let Some(rollout) =
        state.rollout.as_ref().filter(|rollout| rollout.id == *id && rollout.attempt == attempt)
    else {
        return Progress::Unaware;
    };
    match state.phase {
        _ if rollout.committed => Progress::Committed,
        Phase::Aborted => Progress::Aborted,
        phase if phase.is_back() => Progress::Back,
        _ if state.is_ready_to_commit() => Progress::Ready,
        _ => Progress::Forward,
    }
}

/// Decides what the active rollout, and the queue behind it, want of the tracks.
#[must_use = "a coordination does nothing until it is stored and carried out"]
pub fn coordinate(state: &Coordinator, tracks: &BTreeMap<TrackKey, TrackState>) -> Coordination {
    let mut next = Coordination { state: state.clone(), commands: Vec::new(), events: Vec::new() };
    // Each pass may end a rollout and start the one behind it.
    for _ in 0..=state.queue.len() {
        let Some(active) = next.state.active.clone() else { break };
        let ended = match &active.phase {
            RolloutPhase::RollingBack(reason) => next.go_back(&active, reason, tracks),
            _ => next.go_forward(&active, tracks),
        };
        let Some(phase) = ended else { break };
        let _ = next.state.end(phase, &mut next.events);
        if !next.state.queue.is_empty() {
            let waiting = next.state.queue.remove(0);
            next.state.start(waiting, &mut next.events);
        }
    }
    next
}

impl Coordination {
    fn command(&mut self, track: &TrackKey, command: Command) {
        self.commands.push((track.clone(), command));
    }

    fn set_active(&mut self, change: impl FnOnce(&mut Rollout)) {
        if let Some(active) = &mut self.state.active {
            change(active);
        }
    }

    /// Answers the phase in which the rollout ended, if it has.
    fn go_forward(
        &mut self,
        active: &Rollout,
        tracks: &BTreeMap<TrackKey, TrackState>,
    ) -> Option<RolloutPhase> {
        let of = |track: &RolloutTrack| progress(tracks.get(&track.track), &active.id, active.attempt);
        let failed =
            active.tracks.iter().find(|track| matches!(of(track), Progress::Back | Progress::Aborted));
        if let Some(failed) = failed
            && active.on_failure == OnTrackFailure::AbortAll
            && !active.committed
        {
            let phase = RolloutPhase::RollingBack(failure(failed, tracks));
            self.events.push(RolloutEvent::Entered { rollout: active.id.clone(), phase: phase.clone() });
            self.set_active(|rollout| rollout.phase = phase);
            let turned = self.state.active.clone()?;
            let RolloutPhase::RollingBack(reason) = &turned.phase else { return None };
            return self.go_back(&turned, reason, tracks);
        }
        self.give_up_superseded(active, tracks);
        let missing = Dependencies::of(active, tracks);
        for track in &active.tracks {
            match of(track) {
                Progress::Unaware => {
                    let start = start_of(active, track, missing.for_track(track));
                    let supersedes = active.phase == RolloutPhase::Superseding;
                    let command = if supersedes { Command::Supersede(start) } else { Command::Start(start) };
                    self.command(&track.track, command);
                }
                Progress::Forward => self.satisfy(track, &missing, tracks),
                _ => {}
            }
        }
        self.commit_together(active, tracks);
        self.conclude(active, tracks)
    }

    /// Tracks of the superseded rollout that the new one does not name go back.
    fn give_up_superseded(&mut self, active: &Rollout, tracks: &BTreeMap<TrackKey, TrackState>) {
        let Some(old) = &active.superseded else { return };
        for (key, state) in tracks {
            let is_old = state.rollout.as_ref().is_some_and(|rollout| rollout.id == *old);
            let named = active.tracks.iter().any(|track| track.track == *key);
            if is_old && !named && state.phase.is_forward() {
                let reason = AbortReason::Superseded(active.id.clone());
                self.command(key, Command::Abort { reason });
            }
        }
    }

    fn satisfy(
        &mut self,
        track: &RolloutTrack,
        missing: &Dependencies,
        tracks: &BTreeMap<TrackKey, TrackState>,
    ) {
        let Some(state) = tracks.get(&track.track) else { return };
        let still = missing.for_track(track);
        for hold in state.holds.difference(&still) {
            if let Hold::Dependency(component) = hold {
                self.command(&track.track, Command::Satisfied { component: component.clone() });
            }
        }
    }

    /// In lockstep, the one commit is this state's write; each track applies it when it is told.
    fn commit_together(&mut self, active: &Rollout, tracks: &BTreeMap<TrackKey, TrackState>) {
        if !active.lockstep {
            return;
        }
        let of = |track: &RolloutTrack| progress(tracks.get(&track.track), &active.id, active.attempt);
        let all = active
            .tracks
            .iter()
            .all(|track| matches!(of(track), Progress::Ready | Progress::Committed | Progress::Left));
        if !active.committed {
            if !all {
                return;
            }
            self.set_active(|rollout| rollout.committed = true);
            self.events.push(RolloutEvent::Committed { rollout: active.id.clone(), release: active.release });
        }
        for track in &active.tracks {
            let told = tracks.get(&track.track).and_then(|state| state.rollout.as_ref());
            let told = told.is_some_and(|rollout| rollout.commit == CommitMode::Lockstep { granted: true });
            if matches!(of(track), Progress::Ready | Progress::Forward) && !told {
                self.command(&track.track, Command::GrantCommit { rollout: active.id.clone() });
            }
        }
    }

    fn conclude(
        &mut self,
        active: &Rollout,
        tracks: &BTreeMap<TrackKey, TrackState>,
    ) -> Option<RolloutPhase> {
        let all: Vec<Progress> = active
            .tracks
            .iter()
            .map(|track| progress(tracks.get(&track.track), &active.id, active.attempt))
            .collect();
        if active.phase == RolloutPhase::Superseding
            && !all.iter().any(|one| matches!(one, Progress::Unaware | Progress::Waits))
        {
            self.set_active(|rollout| rollout.phase = RolloutPhase::Running);
            let phase = RolloutPhase::Running;
            self.events.push(RolloutEvent::Entered { rollout: active.id.clone(), phase });
        }
        if !all.iter().all(|one| matches!(one, Progress::Committed | Progress::Aborted | Progress::Left)) {
            return None;
        }
        let failed = active
            .tracks
            .iter()
            .zip(&all)
            .find(|(_, one)| **one == Progress::Aborted)
            .map(|(track, _)| failure(track, tracks));
        if let Some(reason) = failed {
            return Some(RolloutPhase::Aborted(reason));
        }
        if !self.state.active.as_ref().is_some_and(|rollout| rollout.committed) {
            self.set_active(|rollout| rollout.committed = true);
            self.events.push(RolloutEvent::Committed { rollout: active.id.clone(), release: active.release });
        }
        Some(RolloutPhase::Succeeded)
    }

    fn go_back(
        &mut self,
        active: &Rollout,
        reason: &AbortReason,
        tracks: &BTreeMap<TrackKey, TrackState>,
    ) -> Option<RolloutPhase> {
        let back = active.id.way_back();
        let mut all_back = true;
        for track in &active.tracks {
            let state = tracks.get(&track.track);
            match progress(state, &active.id, active.attempt) {
                Progress::Forward | Progress::Ready | Progress::Waits => {
                    all_back = false;
                    self.command(&track.track, Command::Abort { reason: reason.clone() });
                }
                Progress::Back => all_back = false,
                Progress::Committed => {
                    let changed =
                        state.and_then(|state| state.rollout.as_ref()).filter(|it| it.from != it.to);
                    if let Some(rollout) = changed {
                        all_back = false;
                        let start = StartRollout {
                            attempt: active.attempt,
                            actor: active.actor.clone(),
                            reason: reason.to_string(),
                            ..StartRollout::new(back.clone(), rollout.from.clone(), track.back.clone())
                        };
                        self.command(&track.track, Command::Start(start));
                    }
                }
                Progress::Unaware => {
                    let way = progress(state, &back, active.attempt);
                    all_back &= matches!(way, Progress::Unaware | Progress::Committed | Progress::Aborted);
                }
                Progress::Aborted | Progress::Left => {}
            }
        }
        // A track that still yields to this rollout's predecessor is on its way back, too.
        let quiet = active
            .tracks
            .iter()
            .all(|track| tracks.get(&track.track).is_none_or(|state| !state.phase.is_back()));
        (all_back && quiet).then(|| RolloutPhase::Aborted(reason.clone()))
    }
}

/// Why a rollout goes back: a user's own words, or which track failed and why.
fn failure(track: &RolloutTrack, tracks: &BTreeMap<TrackKey, TrackState>) -> AbortReason {
    let own =
        tracks.get(&track.track).and_then(|state| state.rollout.as_ref()).and_then(|it| it.aborted.clone());
    match own {
        Some(reason @ (AbortReason::User(_) | AbortReason::Returned)) => reason,
        other => AbortReason::Track {
            track: track.track.clone(),
            why: other.map_or_else(|| "it went back".to_owned(), |reason| reason.to_string()),
        },
    }
}

fn start_of(active: &Rollout, track: &RolloutTrack, holds: BTreeSet<Hold>) -> StartRollout {
    StartRollout {
        attempt: active.attempt,
        commit: if active.lockstep {
            CommitMode::Lockstep { granted: false }
        } else {
            CommitMode::Independent
        },
        holds,
        count_on_commit: track.count_on_commit,
        actor: active.actor.clone(),
        reason: active.reason.clone(),
        ..StartRollout::new(active.id.clone(), track.to.clone(), track.plan.clone())
    }
}

/// The components of a rollout that are not there yet.
struct Dependencies {
    missing: BTreeSet<ComponentName>,
}

impl Dependencies {
    fn of(active: &Rollout, tracks: &BTreeMap<TrackKey, TrackState>) -> Self {
        let missing = active
            .tracks
            .iter()
            .filter(|track| {
                let progress = progress(tracks.get(&track.track), &active.id, active.attempt);
                !matches!(progress, Progress::Committed | Progress::Ready | Progress::Left)
            })
            .map(|track| track.track.component.component.clone())
            .collect();
        Self { missing }
    }

    fn for_track(&self, track: &RolloutTrack) -> BTreeSet<Hold> {
        let own = &track.track.component.component;
        track
            .depends_on
            .iter()
            .filter(|component| *component != own && self.missing.contains(*component))
            .map(|component| Hold::Dependency(component.clone()))
            .collect()
    }
}
