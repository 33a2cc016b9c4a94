//! One-off commands.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::below;
use crate::engine::Record;
use crate::model::RevisionId;
use crate::name::{AppEnv, TrackKey};
use crate::port::{DocumentKey, InstanceId, RunInput};

/// A one-off command: asked for, and started by whoever finds it so. It is removed some time after its end.
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
    /// Who asked for it.
    pub created_by: String,
    /// When.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
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
    /// Why it could not be started, or was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl RunRecord {
    /// The key of a one-off command.
    pub fn key_of(at: &AppEnv, id: &InstanceId) -> DocumentKey {
        below(Self::KIND, at, id.0.as_str())
    }
}

impl Record for RunRecord {
    const KIND: &'static str = "run";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.track.component.at, &self.id)
    }
}
