//! Which clusters do not answer, and since when.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secrets::REVEAL;
use crate::error::{Error, ErrorKind, Result};
use crate::name::ClusterName;

/// How long a cluster may fail to answer before it counts as away: a lost packet is no outage.
const BLIP: SignedDuration = SignedDuration::from_secs(5);

/// A cluster does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outage {
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// How it failed the last time it was asked.
    pub reason: String,
}

/// The clusters that do not answer. It is kept in memory: whoever asks a cluster finds out again.
#[derive(Debug, Default)]
pub struct Outages(Mutex<BTreeMap<ClusterName, Outage>>);

/// Whether an error says that a cluster did not answer, rather than what it answered. Secrets are the platform's own: that
/// they cannot be opened says nothing about the cluster whose runtime asked for them.
pub(super) fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) && error.operation() != REVEAL
}

impl Outages {
    /// Notes how a cluster answered. Any answer but none ends the outage.
    pub fn note<T>(&self, cluster: &ClusterName, answer: &Result<T>, now: Timestamp) {
        match answer {
            Err(error) if is_outage(error) => {
                let mut known = self.lock();
                let outage = known
                    .entry(cluster.clone())
                    .or_insert_with(|| Outage { since: now, reason: String::new() });
                outage.reason = error.to_string();
            }
            _ => {
                self.lock().remove(cluster);
            }
        }
    }

    /// Whether a cluster did not answer when it was asked last.
    pub fn is_silent(&self, cluster: &ClusterName) -> bool {
        self.lock().contains_key(cluster)
    }

    /// The outage of a cluster that counts as away.
    pub fn of(&self, cluster: &ClusterName, now: Timestamp) -> Option<Outage> {
        let outage = self.lock().get(cluster).cloned()?;
        (now.duration_since(outage.since) >= BLIP).then_some(outage)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_cluster_is_away_once_it_has_not_answered_for_a_while_and_until_it_answers() {
        let outages = Outages::default();
        let west: ClusterName = "west".parse().unwrap();
        let none: Result<()> = Err(Error::new(ErrorKind::Unavailable, "reach it"));
        outages.note(&west, &none, at(10));
        outages.note(&west, &none, at(12));
        assert_eq!(outages.of(&west, at(14)), None, "a blip");
        assert_eq!(outages.of(&west, at(15)).unwrap().since, at(10));
        let refused: Result<()> = Err(Error::new(ErrorKind::QuotaExceeded, "make a set"));
        outages.note(&west, &refused, at(16));
        assert_eq!(outages.of(&west, at(60)), None, "a refusal is an answer");
        let sealed: Result<()> = Err(Error::new(ErrorKind::Unavailable, REVEAL));
        outages.note(&west, &sealed, at(61));
        assert_eq!(outages.of(&west, at(90)), None, "the keys are not the cluster's");
    }
}
