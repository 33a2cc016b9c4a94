//! What is missing on the tracks of the active rollout, and of those that bring single clusters to the current release.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::drive::Drive;
use super::part::End;
use super::{Coordination, Coordinator, Rollout, RolloutEvent, RolloutPhase};
use crate::name::{ClusterName, TrackKey};
use crate::release::state::TrackState;

/// Decides what the active rollout, the queue behind it, and the clusters that are behind want of the tracks.
#[must_use = "a coordination does nothing until it is stored and carried out"]
pub fn coordinate(
    state: &Coordinator,
    tracks: &BTreeMap<TrackKey, TrackState>,
    now: Timestamp,
) -> Coordination {
    let mut next =
        Coordination { state: state.clone(), commands: Vec::new(), events: Vec::new(), wake_at: None };
    // Each pass may end a rollout and start the one behind it.
    for _ in 0..=state.queue.len() {
        let Some(active) = next.state.active.take() else { break };
        let mut drive = Drive::new(active, tracks, now);
        let ended = drive.run();
        let active = next.take_in(drive);
        next.state.active = Some(active);
        let Some(end) = ended else { break };
        next.conclude(end);
        if !next.state.queue.is_empty() {
            let waiting = next.state.queue.remove(0);
            next.state.start(waiting, &mut next.events);
        }
    }
    let behind: Vec<ClusterName> = next.state.behind.keys().cloned().collect();
    for cluster in behind {
        next.catch_up(cluster, tracks, now);
    }
    next
}

impl Coordination {
    fn take_in(&mut self, drive: Drive<'_>) -> Rollout {
        self.commands.extend(drive.commands);
        self.events.extend(drive.events);
        self.wake_at = self.wake_at.into_iter().chain(drive.wake_at).min();
        drive.rollout
    }

    /// Ends the active rollout. What it leaves undone on a cluster is remembered there.
    fn conclude(&mut self, end: End) {
        let Some(ended) = self.state.end(end.phase, &mut self.events) else { return };
        for (cluster, phase) in end.behind {
            let reason = match &phase {
                RolloutPhase::Aborted(reason) => Some(reason.clone()),
                _ => None,
            };
            self.events.push(RolloutEvent::Behind {
                cluster: cluster.clone(),
                release: ended.release,
                reason,
            });
            let part = ended.on(&cluster, phase);
            self.state.behind.insert(cluster, part);
        }
    }

    /// Carries on what brings one cluster to the current release.
    fn catch_up(&mut self, cluster: ClusterName, tracks: &BTreeMap<TrackKey, TrackState>, now: Timestamp) {
        let Some(rollout) = self.state.behind.remove(&cluster) else { return };
        if rollout.has_ended() {
            self.state.behind.insert(cluster, rollout);
            return;
        }
        let mut drive = Drive::new(rollout, tracks, now).alone();
        let ended = drive.run();
        let rollout = self.take_in(drive);
        let release = rollout.release;
        match ended.map(|end| end.phase) {
            None => {
                self.state.behind.insert(cluster, rollout);
            }
            Some(RolloutPhase::Aborted(reason)) => {
                let phase = RolloutPhase::Aborted(reason.clone());
                self.state.behind.insert(cluster.clone(), Rollout { phase, ..rollout });
                self.events.push(RolloutEvent::Behind { cluster, release, reason: Some(reason) });
            }
            Some(_) => self.events.push(RolloutEvent::CaughtUp { cluster, release }),
        }
    }
}
