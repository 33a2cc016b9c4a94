//! What the platform cannot do at present, and why: named, shown in the status, gone when it works again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outages::is_outage;
use crate::error::Error;
use crate::name::{AppEnv, ClusterName, TrackKey};

/// What a condition is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An application in an environment as a whole.
    App(AppEnv),
    /// A component on a cluster.
    Track(TrackKey),
    /// The access points of an application on a cluster.
    Routes(AppEnv, ClusterName),
}

impl Subject {
    /// The application that it belongs to.
    pub fn at(&self) -> &AppEnv {
        match self {
            Self::App(at) | Self::Routes(at, _) => at,
            Self::Track(track) => &track.component.at,
        }
    }
}

/// Something that the platform cannot do at present. It tries again with growing pauses, without anybody's help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// A stable word: the kind of the error, such as `unavailable` or `conflict`.
    pub reason: String,
    /// What fails and why, with the remedy.
    pub message: String,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// Whether what is known of the subject may be out of date because of it.
    pub stale: bool,
}

/// The conditions of everything that is reconciled. They live in memory: whoever reconciles finds them again.
#[derive(Debug, Default)]
pub struct Conditions(Mutex<BTreeMap<Subject, Condition>>);

impl Conditions {
    /// The conditions of an application and its tracks.
    pub fn of(&self, at: &AppEnv) -> Vec<(Subject, Condition)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.iter().filter(|(subject, _)| subject.at() == at);
        own.map(|(subject, condition)| (subject.clone(), condition.clone())).collect()
    }

    /// Notes a failure; returns whether it is a new one.
    pub(super) fn set(&self, subject: Subject, error: &Error, now: Timestamp) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = error.kind().as_str().to_owned();
        let old = known.get(&subject);
        let same = old.is_some_and(|old| old.reason == reason);
        let since = old.filter(|_| same).map_or(now, |old| old.since);
        let message = error.report();
        known.insert(subject, Condition { reason, message, since, stale: is_outage(error) });
        !same
    }

    /// It works again; returns whether it did not before.
    pub(super) fn clear(&self, subject: &Subject) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(subject).is_some()
    }

    /// Nobody reconciles here any more.
    pub(super) fn clear_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
