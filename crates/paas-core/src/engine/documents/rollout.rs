//! How a release is carried out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::below;
use crate::engine::Record;
use crate::model::{ReleaseNumber, RevisionId};
use crate::name::{AppEnv, ComponentName, TrackKey};
use crate::port::DocumentKey;
use crate::release::{RolloutId, StartRollout, TrackState};

/// What concerns a rollout as a whole: the one that is under way, or the last one.
///
/// Actions write what is asked for: which release, how each track starts, whether to pause, to abort, to try again. The
/// coordinator's reconciler carries it to the tracks and writes [`RolloutRecord::state`]. Whoever changes the record
/// expects it unchanged since it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// The application in its environment.
    pub at: AppEnv,
    /// The rollout's id.
    pub id: RolloutId,
    /// The release that is carried out.
    pub release: ReleaseNumber,
    /// The release that was current when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseNumber>,
    /// How each track starts. Tracks that have a rollout of another id under way are superseded.
    pub tracks: Vec<TrackStart>,
    /// From 1; trying again raises it.
    pub attempt: u32,
    /// Whether a user asked it not to advance.
    #[serde(default)]
    pub paused: bool,
    /// How often a user asked it to go on, which also ends a pause of the plan.
    #[serde(default)]
    pub resumed: u32,
    /// That a user asked to abort it, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<AbortRequest>,
    /// Who asked for it.
    pub actor: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How far it is; written by the coordinator, but for a new rollout and a new attempt.
    pub state: RolloutState,
    /// Releases that begin when this one has ended, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<QueuedRollout>,
}

/// How a track starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackStart {
    /// The track.
    pub track: TrackKey,
    /// What is applied to its state, as a start or as a supersession.
    pub start: StartRollout,
    /// The components of this rollout that must be ready before it begins; its holds name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<ComponentName>,
}

/// A release that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedRollout {
    /// The rollout's id.
    pub id: RolloutId,
    /// The release.
    pub release: ReleaseNumber,
    /// How each track starts.
    pub tracks: Vec<TrackStart>,
    /// Who asked for it.
    pub actor: String,
}

/// That a user asked to abort a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortRequest {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RolloutState {
    /// Its tracks are under way.
    Running,
    /// Its tracks are on their way back.
    Aborting {
        /// Why.
        reason: String,
    },
    /// Every track has committed.
    Committed {
        /// When.
        at: Timestamp,
    },
    /// Every track is back.
    Aborted {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

impl RolloutState {
    /// Whether the rollout has ended.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Committed { .. } | Self::Aborted { .. })
    }
}

impl RolloutRecord {
    /// The key of an application's rollout in an environment.
    pub fn key_of(at: &AppEnv) -> DocumentKey {
        below(Self::KIND, at, "current")
    }

    /// A rollout that begins now.
    pub fn new(at: AppEnv, queued: QueuedRollout, from: Option<ReleaseNumber>, now: Timestamp) -> Self {
        let QueuedRollout { id, release, tracks, actor } = queued;
        Self {
            at,
            id,
            release,
            from,
            tracks,
            attempt: 1,
            paused: false,
            resumed: 0,
            abort: None,
            actor,
            started_at: now,
            state: RolloutState::Running,
            queue: Vec::new(),
        }
    }

    /// The revisions that it brings.
    pub fn revisions(&self) -> impl Iterator<Item = (&TrackKey, &RevisionId)> {
        self.tracks.iter().filter_map(|it| it.start.to.as_ref().map(|to| (&it.track, &to.revision)))
    }
}

impl Record for RolloutRecord {
    const KIND: &'static str = "rollout";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.at)
    }
}

/// A component on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackRecord {
    /// All that the release machine keeps of it.
    pub state: TrackState,
}

impl TrackRecord {
    /// The key of a track.
    pub fn key_of(track: &TrackKey) -> DocumentKey {
        let name = format!("{}@{}", track.component.component, track.cluster);
        below(Self::KIND, &track.component.at, name)
    }
}

impl Record for TrackRecord {
    const KIND: &'static str = "track";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.state.track)
    }
}
