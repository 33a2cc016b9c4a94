//! One-off commands, and the runs of scheduled jobs.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::below;
use crate::engine::Record;
use crate::model::RevisionId;
use crate::name::{AppEnv, ComponentKey, TrackKey};
use crate::port::{DocumentKey, InstanceId, RunInput};

/// A run to completion: asked for by somebody or by a schedule, and started by whoever finds it so. A one-off command is
/// removed some time after its end; of a scheduled job the last ten that have ended are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// The identity, also the backend's.
    pub id: InstanceId,
    /// Whose image, configuration and limits it has, and where it runs.
    pub track: TrackKey,
    /// The template's revision.
    pub revision: RevisionId,
    /// The command; the template's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// What its standard input is. With input or a terminal it ends with whoever is attached to it.
    #[serde(default)]
    pub input: RunInput,
    /// Until when it waits for somebody to be attached; only with input or a terminal. It is moved on as long as
    /// somebody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub attended_until: Option<Timestamp>,
    /// Whether somebody was attached to it; only with input or a terminal, which take one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attached: bool,
    /// Why there is this run.
    #[serde(default)]
    pub origin: RunOrigin,
    /// Who asked for it; the system, if a schedule did.
    pub created_by: String,
    /// When.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// When it was started. From then on it is not started again, whatever becomes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// Whether somebody asked to stop it.
    #[serde(default)]
    pub stopping: bool,
    /// When its end was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// The exit code: 128 + n if signal n ended it; absent if it could not be started or was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it could not be started, was lost, or is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The last lines that a run of a scheduled job printed before it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
}

/// Why there is a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunOrigin {
    /// Somebody asked for a one-off command.
    #[default]
    Command,
    /// It was time for it.
    Schedule {
        /// The time of the schedule.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// Somebody asked for a run of a scheduled job, at no time of its schedule.
    Manual,
}

impl RunRecord {
    /// The key of a run.
    pub fn key_of(at: &AppEnv, id: &InstanceId) -> DocumentKey {
        below(Self::KIND, at, id.0.as_str())
    }

    /// The identity of the run of a component at a time of its schedule: always the same one.
    pub fn scheduled_id(component: &ComponentKey, at: Timestamp) -> InstanceId {
        let hash = hex::encode(Sha256::digest(component.to_string()));
        let time = at.strftime("%Y%m%dt%H%M%Sz");
        InstanceId(format!("run-{time}-{}", &hash[..12]))
    }

    /// Whether it is a run of a scheduled job, and not a one-off command.
    pub fn is_of_schedule(&self) -> bool {
        self.origin != RunOrigin::Command
    }

    /// Whether it has not ended.
    pub fn is_under_way(&self) -> bool {
        self.ended_at.is_none()
    }

    /// Whether it has ended well.
    pub fn has_succeeded(&self) -> bool {
        self.exit_code == Some(0)
    }

    /// How it is, or how it ended, as a phrase such as `exited with code 3`.
    pub fn outcome(&self) -> String {
        match (self.ended_at, &self.failure, self.exit_code) {
            (None, ..) if self.stopping => "is being stopped".to_owned(),
            (None, ..) if self.started_at.is_none() => "has not started yet".to_owned(),
            (None, ..) => "is under way".to_owned(),
            (Some(_), None, Some(0)) => "succeeded".to_owned(),
            (Some(_), None, Some(code)) => format!("exited with code {code}"),
            (Some(_), Some(failure), _) => failure.clone(),
            (Some(_), None, None) => "ended, and nobody knows how".to_owned(),
        }
    }
}

impl Record for RunRecord {
    const KIND: &'static str = "run";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.track.component.at, &self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_of_a_time_has_one_identity() {
        let at: AppEnv = "shop/prod/web".parse().unwrap();
        let component = |name: &str| at.component(name.parse().unwrap());
        let time: Timestamp = "2026-03-29T01:00:00Z".parse().unwrap();
        let id = RunRecord::scheduled_id(&component("report"), time);
        assert!(id.0.starts_with("run-20260329t010000z-"), "{id}");
        assert_eq!(id.0.len(), 33);
        assert_eq!(id, RunRecord::scheduled_id(&component("report"), time));
        assert_ne!(id, RunRecord::scheduled_id(&component("other"), time));
    }
}
