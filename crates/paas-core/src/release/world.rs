//! What was observed: the machine's only knowledge of the backends.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::StepKey;
use super::weights::Weights;
use crate::model::RevisionId;
use crate::port::Ordinals;

/// A point in the order of a track's observations and writes.
///
/// Every mutation of a backend answers one, and every view carries the latest one that it includes. What the numbers
/// are is the engine's affair; that they grow is all that the machine relies on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

/// One view of everything that belongs to a track.
///
/// It holds only what the track owns. A view may be old, but not older than one's own last write
/// ([`TrackState::acted`](super::TrackState::acted)); after a restart, or after a write whose outcome is unknown, the
/// next view must be read from the backends and not from a cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    /// The latest write that this view includes.
    pub observed_at: Token,
    /// The sets of instances that exist; a revision that is not in here has none.
    pub revisions: BTreeMap<RevisionId, RevisionView>,
    /// The track's routes.
    pub routes: RouteView,
    /// The runs to completion that exist, by their key.
    pub runs: BTreeMap<String, RunView>,
    /// Why the latest attempt to raise a count was refused, if it was.
    pub refusal: Option<Refusal>,
    /// What an outside autoscaler, or the scaling policy, demands now.
    pub demanded: Option<u32>,
    /// What was said about the bakes of a step, by [`StepKey`] as text.
    pub verdicts: BTreeMap<String, Verdict>,
}

/// A revision's set of instances, as observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionView {
    /// The count that the backend was told.
    pub desired: u32,
    /// The ordinal of the first instance that the backend was told; 0 where they have none.
    #[serde(default)]
    pub first: u32,
    /// The instances that exist, without those that drain or end.
    pub total: u32,
    /// Since when each ready instance has been ready; one entry for each.
    pub ready_since: Vec<Timestamp>,
    /// The instances that still drain or end.
    pub draining: u32,
    /// Why instances do not become or stay ready, for people.
    pub failing: Vec<String>,
}

impl RevisionView {
    /// Which instances the backend was told to have.
    pub fn ordinals(&self) -> Ordinals {
        Ordinals { first: self.first, count: self.desired }
    }

    /// The instances that are ready.
    pub fn ready(&self) -> u32 {
        u32::try_from(self.ready_since.len()).unwrap_or(u32::MAX)
    }

    /// Whether nothing of the set runs any more.
    pub fn is_empty(&self) -> bool {
        self.total == 0 && self.draining == 0
    }
}

/// The track's routes, as observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// The weights that the router was told; `None` if the routes are not owned by this track.
    pub written: Option<Weights>,
    /// The weights that the data plane has confirmed; `None` if it has confirmed none, or is about to change, in which
    /// case the last confirmed ones may still be in force.
    pub confirmed: Option<Weights>,
    /// What the routes said before this track owned them, in the router's own terms.
    pub snapshot: Option<RouteSnapshot>,
}

/// What routes said before they were owned: restored when the track is taken out of management.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouteSnapshot(pub String);

/// A quota's or an admission's refusal to raise a count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The revision that was to be raised.
    pub revision: RevisionId,
    /// What is missing, for people: `2 cpu of organisation acme`.
    pub missing: String,
}

/// A run to completion, as observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunView {
    /// It has been started and has not ended.
    Running,
    /// It ended with status 0.
    Succeeded,
    /// It ended otherwise.
    Failed(String),
    /// It cannot be found any more, and how it ended is unknown, which is not success.
    Lost,
}

/// What a bake said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not said yet.
    Pending,
    /// It passed.
    Pass,
    /// It failed, and why.
    Fail(String),
    /// It could not be told; a cancelled bake says this too.
    Inconclusive,
}

impl World {
    /// The view of a revision, if its set exists.
    pub fn revision(&self, id: &RevisionId) -> Option<&RevisionView> {
        self.revisions.get(id)
    }

    /// The verdict on a step.
    pub fn verdict(&self, key: &StepKey) -> Option<&Verdict> {
        self.verdicts.get(&key.to_string())
    }

    /// The run of a step.
    pub fn run(&self, key: &StepKey) -> Option<&RunView> {
        self.runs.get(&key.to_string())
    }
}
