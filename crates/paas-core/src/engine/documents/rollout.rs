//! How releases are carried out.

use serde::{Deserialize, Serialize};

use super::below;
use crate::engine::Record;
use crate::name::{AppEnv, TrackKey};
use crate::port::{DocumentKey, InstanceId};
use crate::release::{Coordinator, TrackState};

/// The rollouts of an application in an environment: the one under way, those that wait, and the last one.
///
/// Actions change it through [`RolloutView`](crate::engine::RolloutView), in one transaction with the tracks; the
/// reconcilers carry it on with [`advance`](crate::engine::advance).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// The application in its environment.
    pub at: AppEnv,
    /// What concerns a rollout as a whole.
    pub coordinator: Coordinator,
}

impl RolloutRecord {
    /// The key of an application's rollouts in an environment.
    pub fn key_of(at: &AppEnv) -> DocumentKey {
        below(Self::KIND, at, "current")
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
    /// The failure of its instances that was told last, by its stable word; told again only when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// The run to completion that was started last; it is kept, with its output, until the next one takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<InstanceId>,
}

impl TrackRecord {
    /// A track that has nothing yet.
    pub fn new(state: TrackState) -> Self {
        Self { state, failing: None, run: None }
    }

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
