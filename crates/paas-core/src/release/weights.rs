//! The weights of a track's routes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::RevisionId;

/// Which revision gets which share of a track's traffic. A revision that is named with weight 0 gets none; one that is
/// not named is not known to the routes.
///
/// The shares sum up to the plan's total, or to nothing while the track is out of service.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weights {
    /// The share of each revision that the routes name.
    pub shares: BTreeMap<RevisionId, u32>,
}

impl Weights {
    /// The weight of a revision; 0 if it is not named.
    pub fn of(&self, revision: &RevisionId) -> u32 {
        self.shares.get(revision).copied().unwrap_or(0)
    }

    /// Whether the routes name the revision, be it with weight 0.
    pub fn names(&self, revision: &RevisionId) -> bool {
        self.shares.contains_key(revision)
    }

    /// The sum of all shares.
    pub fn sum(&self) -> u64 {
        self.shares.values().map(|share| u64::from(*share)).sum()
    }

    /// The weight of a revision if the sum were `total`, rounded up: weights of different sums compare so.
    pub fn scaled(&self, revision: &RevisionId, total: u32) -> u32 {
        let sum = self.sum().max(1);
        let scaled = (u64::from(self.of(revision)) * u64::from(total)).div_ceil(sum);
        u32::try_from(scaled).unwrap_or(u32::MAX)
    }

    /// Whether no revision gets any traffic.
    pub fn is_out_of_service(&self) -> bool {
        self.sum() == 0
    }

    /// Whether the sum is what it must be: `total`, or nothing.
    pub fn is_whole(&self, total: u32) -> bool {
        let sum = self.sum();
        sum == 0 || sum == u64::from(total)
    }

    /// The same with one share set.
    #[must_use]
    pub fn with(mut self, revision: &RevisionId, share: u32) -> Self {
        self.shares.insert(revision.clone(), share);
        self
    }

    /// The same without a revision.
    #[must_use]
    pub fn without(mut self, revision: &RevisionId) -> Self {
        self.shares.remove(revision);
        self
    }
}
