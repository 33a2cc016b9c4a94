//! Names of rollouts, and of what happens once in them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{ReleaseNumber, RevisionId};

/// One carrying out of a release over its tracks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(String);

impl RolloutId {
    /// Takes the text as it is; ids come from the injected source of ids.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the rollout that takes the committed tracks of this one back, when another track failed.
    #[must_use]
    pub fn way_back(&self) -> Self {
        Self(format!("{}-back", self.0))
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for RolloutId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// A revision together with the numbered release that brought it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TrackVersion {
    /// The number of the release within its app and environment.
    pub release: ReleaseNumber,
    /// The revision of this track in that release.
    pub revision: RevisionId,
}

impl fmt::Display for TrackVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "release {} ({})", self.release, self.revision)
    }
}

/// Identifies one hook, run or verdict: it fires once per rollout, attempt and step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// The rollout.
    pub rollout: RolloutId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The step's index in the plan, from 0.
    pub step: usize,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.rollout, self.attempt, self.step)
    }
}
