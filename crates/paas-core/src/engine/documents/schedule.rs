//! Schedules in force.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::below;
use crate::engine::Record;
use crate::model::{ReleaseNumber, RevisionId, Schedule};
use crate::name::ComponentKey;
use crate::port::DocumentKey;

/// The schedule of a component that is in force, and how far it has been followed.
///
/// A time is settled in the transaction that makes its run, or says why there is none: that is what keeps a time from being
/// lost or run twice, whatever ends between one write and the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The component.
    pub component: ComponentKey,
    /// The schedule of the current release.
    pub schedule: Schedule,
    /// What the next run starts.
    pub revision: RevisionId,
    /// The release that it comes from.
    pub release: ReleaseNumber,
    /// Times up to this one are settled: they ran, were skipped, or passed before the schedule was in force.
    pub settled: Timestamp,
    /// The times that were skipped since the last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

/// Times of a schedule at which nothing ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// The last one.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// How many there were one after another.
    pub count: u64,
    /// Why there was no run at the last one, as a sentence.
    pub reason: String,
}

impl ScheduleRecord {
    /// The key of a component's schedule.
    pub fn key_of(component: &ComponentKey) -> DocumentKey {
        below(Self::KIND, &component.at, component.component.as_str())
    }
}

impl Record for ScheduleRecord {
    const KIND: &'static str = "schedule";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.component)
    }
}
