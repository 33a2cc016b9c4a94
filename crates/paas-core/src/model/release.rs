//! Releases: complete, immutable, numbered records.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppSpec, RevisionId, StrategySpec};
use crate::name::{AppEnv, ComponentName};

/// The number of a release, from 1, counted per application and environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u64);

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What runs in any environment: the declared components with images pinned to digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppVersion {
    /// The declaration.
    pub spec: AppSpec,
    /// The digest that each component's image had when the version was made.
    pub digests: BTreeMap<ComponentName, String>,
}

/// A complete release: everything needed to run it again, without a build, a lookup or a computation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Release {
    /// The application in its environment.
    pub at: AppEnv,
    /// The number.
    pub number: ReleaseNumber,
    /// What was released.
    pub version: AppVersion,
    /// The version of the configuration.
    pub config: u64,
    /// The components as rendered for the environment.
    pub components: BTreeMap<ComponentName, ReleasedComponent>,
    /// How the release proceeds, for components that do not say.
    pub strategy: StrategySpec,
    /// How it came about.
    pub origin: ReleaseOrigin,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// A remark of the maker.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// How far it has come.
    pub state: ReleaseState,
}

/// A component of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleasedComponent {
    /// The identity of the template, which is stored under it.
    pub revision: RevisionId,
    /// The declared number of instances when the release was committed.
    pub instances: u32,
}

/// How a release came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReleaseOrigin {
    /// A user deployed a specification or new images.
    Deploy,
    /// The configuration changed.
    Configure,
    /// The instances were renewed.
    Restart,
    /// A user returned to an earlier release.
    Rollback {
        /// The release returned to.
        to: ReleaseNumber,
        /// What returned.
        keep: Keep,
    },
}

/// What a rollback brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Keep {
    /// The exact record.
    #[default]
    Nothing,
    /// Its images, with today's configuration.
    Config,
    /// Its configuration, with today's images.
    Images,
}

/// How far a release has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReleaseState {
    /// Waits for another release to end.
    Queued,
    /// Under way.
    Running,
    /// Became the current release.
    Committed {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// Did not become the current release.
    Aborted {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
        /// Why.
        reason: String,
    },
}
