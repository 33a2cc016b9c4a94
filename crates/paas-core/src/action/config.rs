//! Settings and secrets of an application in an environment, in versions.
//!
//! Every change makes a new version of the whole configuration; a release pins one. A change reaches instances with
//! the next release only.

mod secret;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Action, Effect, Work};
use crate::engine::{AppEnvRecord, ConfigRecord, EventKind, Stored};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{ConfigEntry, ConfigVersion};
use crate::name::AppEnv;
use crate::port::{DocumentKey, Permission, Revision, Scope};
use crate::tenancy::permissions;

pub use secret::{RevokeSecret, SetSecret, UnsetSecret};
pub use view::{ConfigItem, ConfigSummary, ConfigView, GetConfig, ListConfigHistory, SecretView};

/// The most settings and secrets of one configuration.
const ENTRIES_MAX: usize = 500;

/// The longest value of a setting or a secret in bytes.
const VALUE_MAX: usize = 64 << 10;

/// The largest configuration in bytes: its settings together.
const TOTAL_MAX: usize = 512 << 10;

/// The longest name of a setting or a secret.
const NAME_MAX: usize = 128;

/// Settings to set and to unset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigChange {
    /// Values by name.
    pub set: BTreeMap<String, String>,
    /// Names.
    pub unset: BTreeSet<String>,
}

/// What a change of the configuration came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigWritten {
    /// The newest version of the configuration.
    pub version: u64,
    /// Whether anything changed; if not, the version is an old one.
    pub changed: bool,
    /// The version of the secret, if one was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_version: Option<u64>,
    /// The commit.
    pub revision: Revision,
}

fn check_name(name: &str) -> Option<String> {
    let valid = !name.is_empty()
        && name.len() <= NAME_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        && !name.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
    (!valid).then(|| {
        format!(
            "{:?} is not a name; use 1 to {NAME_MAX} letters, digits, _, - and ., beginning with a letter or _",
            name.chars().take(NAME_MAX).collect::<String>()
        )
    })
}

/// The newest version of the configuration, to be changed and stored as the next one.
struct Draft {
    place: Stored<AppEnvRecord>,
    entries: BTreeMap<String, ConfigEntry>,
}

impl Draft {
    async fn open(work: &mut Work<'_>, at: &AppEnv) -> Result<Self> {
        let place = work.place_or_new(at).await?;
        let version = load(work, at, place.value.config).await?;
        Ok(Self { place, entries: version.entries })
    }

    /// Stores the next version, if it differs from `before`.
    fn close(
        mut self,
        work: &mut Work<'_>,
        before: &BTreeMap<String, ConfigEntry>,
        message: String,
    ) -> Result<ConfigWritten> {
        let changed = self.entries != *before;
        if changed {
            self.check_size()?;
            let number = self.place.value.config + 1;
            let at = self.place.value.at.clone();
            let version = ConfigVersion {
                number,
                entries: self.entries,
                created_at: work.now(),
                created_by: work.actor().id().to_owned(),
            };
            work.changes().create(&ConfigRecord { at: at.clone(), version })?;
            self.place.value.config = number;
            work.changes().update(&self.place)?;
            work.event(EventKind::Configured, Scope::AppEnv(at), message);
        }
        Ok(ConfigWritten {
            version: self.place.value.config,
            changed,
            secret_version: None,
            revision: self.place.modified,
        })
    }

    fn check_size(&self) -> Result<()> {
        let total: usize = self
            .entries
            .iter()
            .map(|(name, entry)| {
                name.len() + if let ConfigEntry::Setting(value) = entry { value.len() } else { 0 }
            })
            .sum();
        if self.entries.len() <= ENTRIES_MAX && total <= TOTAL_MAX {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TooLarge, "store a configuration")
            .with_context("application", &self.place.value.at)
            .with_context("entries", self.entries.len())
            .with_context("bytes", total)
            .with_remedy(format!("A configuration has at most {ENTRIES_MAX} entries and {TOTAL_MAX} bytes.")))
    }
}

/// A version of the configuration; version 0 is the empty one.
pub(crate) async fn load(work: &Work<'_>, at: &AppEnv, number: u64) -> Result<ConfigVersion> {
    if number == 0 {
        return Ok(ConfigVersion {
            number: 0,
            entries: BTreeMap::new(),
            created_at: jiff::Timestamp::UNIX_EPOCH,
            created_by: String::new(),
        });
    }
    let found = work.collections().get::<ConfigRecord>(&ConfigRecord::key_of(at, number)).await?;
    found.map(|record| record.value.version).ok_or_else(|| {
        Error::not_found("version of the configuration", number)
            .with_context("application", at)
            .with_remedy("Only versions that a kept release uses, and the newest ones, are kept.")
    })
}

/// Sets and unsets settings.
#[derive(Debug, Clone)]
pub struct SetConfig {
    /// Where.
    pub at: AppEnv,
    /// What.
    pub change: ConfigChange,
}

#[async_trait]
impl Action for SetConfig {
    type Output = ConfigWritten;
    const NAME: &'static str = "config.set";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::CONFIG_WRITE
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        for (name, value) in &self.change.set {
            if let Some(message) = check_name(name) {
                faults.push(Fault::new("set", message));
            }
            if value.len() > VALUE_MAX || value.contains('\0') {
                faults.push(Fault::new(
                    format!("set[{name:?}]"),
                    format!("has more than {VALUE_MAX} bytes, or a NUL character"),
                ));
            }
            if self.change.unset.contains(name) {
                faults.push(Fault::new(format!("unset[{name:?}]"), "is both set and unset; choose one"));
            }
        }
        for name in &self.change.unset {
            if let Some(message) = check_name(name) {
                faults.push(Fault::new("unset", message));
            }
        }
    }

    /// Names only: a value that somebody takes for no secret may still be one.
    fn detail(&self) -> Value {
        let set: Vec<&String> = self.change.set.keys().collect();
        json!({ "set": set, "unset": self.change.unset })
    }

    fn input(&self) -> Value {
        json!(self.change)
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(AppEnvRecord::key_of(&self.at))
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let mut draft = Draft::open(work, &self.at).await?;
        let before = draft.entries.clone();
        let mut faults = Vec::new();
        for (name, value) in &self.change.set {
            if matches!(before.get(name), Some(ConfigEntry::Secret(_))) {
                faults.push(Fault::new(
                    format!("set[{name:?}]"),
                    "is a secret; unset it first, or set it as a secret",
                ));
            }
            draft.entries.insert(name.clone(), ConfigEntry::Setting(value.clone()));
        }
        for name in &self.change.unset {
            match draft.entries.remove(name) {
                Some(ConfigEntry::Setting(_)) => {}
                Some(_) => {
                    faults.push(Fault::new(format!("unset[{name:?}]"), "is a secret; unset it as one"));
                }
                None => faults.push(Fault::new(format!("unset[{name:?}]"), "there is no such setting")),
            }
        }
        if !faults.is_empty() {
            return Err(
                Error::invalid("change the configuration", faults).with_context("application", &self.at)
            );
        }
        let names: Vec<&str> = self.change.set.keys().chain(&self.change.unset).map(String::as_str).collect();
        draft.close(work, &before, format!("settings were changed: {}", names.join(", ")))
    }
}
