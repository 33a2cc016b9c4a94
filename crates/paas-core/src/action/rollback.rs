//! Returning to an earlier release, from its record alone: nothing is looked up, built or computed anew that the record
//! holds.

use std::collections::BTreeMap;

use async_trait::async_trait;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::deploy::render::{self, Rendered};
use super::deploy::rollout::{self, Draft};
use super::deploy::{ReleaseStarted, check_note, newest};
use super::{Action, Effect, Work, config};
use crate::engine::{AppEnvRecord, Stored};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{
    AppVersion, ConfigEntry, ConfigVersion, Keep, Release, ReleaseNumber, ReleaseOrigin, ReleaseState,
    ResolvedValue, SecretRef, Template,
};
use crate::name::{AppEnv, ComponentName};
use crate::port::{DocumentKey, Permission, Revision, Scope};
use crate::tenancy::permissions;

/// A return to an earlier release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// Where to.
    #[serde(default)]
    pub to: RollbackTarget,
    /// What stays as it is today.
    #[serde(default)]
    pub keep: Keep,
    /// A remark, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The release to return to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RollbackTarget {
    /// The release that was current before the current one.
    #[default]
    Previous,
    /// A release by its number.
    Number(ReleaseNumber),
}

/// Returns to an earlier release.
#[derive(Debug, Clone)]
pub struct RollbackApp {
    /// Where.
    pub at: AppEnv,
    /// How.
    pub rollback: Rollback,
}

#[async_trait]
impl Action for RollbackApp {
    type Output = ReleaseStarted;
    const NAME: &'static str = "app.rollback";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::APP_ROLLBACK
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        check_note(&self.rollback.note, faults);
    }

    fn detail(&self) -> Value {
        json!(self.rollback)
    }

    fn target(&self) -> Option<DocumentKey> {
        Some(AppEnvRecord::key_of(&self.at))
    }

    fn committed(&self, output: &mut Self::Output, revision: Revision) {
        output.revision = revision;
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let place = work.live_place(&self.at).await?;
        let record = self.record(work, &place).await?;
        let counts = record.components.iter().map(|(name, it)| (name.clone(), it.instances)).collect();
        let origin = ReleaseOrigin::Rollback { to: record.number, keep: self.rollback.keep };
        let today = place.value.config;
        let mut notes = Vec::new();
        let (version, config, templates) = match self.rollback.keep {
            Keep::Nothing => {
                let templates = self.recorded(work, &record, today, &mut notes).await?;
                (record.version, record.config, templates)
            }
            Keep::Config => {
                let config = config::load(work, &self.at, today).await?;
                let templates = self.rendered(work, &place, &record.version, &config).await?;
                (record.version, config.number, templates)
            }
            Keep::Images => {
                let Some(newest) = newest(work, &place).await? else {
                    return Err(
                        Error::not_found("release", place.value.last).with_context("application", &self.at)
                    );
                };
                let config = config::load(work, &self.at, record.config).await?;
                let config = self.without_revoked(work, config, today, &mut notes).await?;
                let templates = self.rendered(work, &place, &newest.version, &config).await?;
                (newest.version, config.number, templates)
            }
        };
        let draft = Draft {
            version,
            config,
            templates,
            strategy: None,
            cluster_order: None,
            on_cluster_failure: None,
            counts,
            origin,
            note: self.rollback.note.clone(),
            notes,
        };
        Box::pin(draft.start(work, place)).await
    }
}

impl RollbackApp {
    /// The record to return to.
    async fn record(&self, work: &mut Work<'_>, place: &Stored<AppEnvRecord>) -> Result<Release> {
        let committed = rollout::history(work, &self.at).await?;
        let is_committed = |release: &&Release| matches!(release.state, ReleaseState::Committed { .. });
        let kept: Vec<String> =
            committed.iter().filter(is_committed).map(|release| release.number.to_string()).collect();
        let remedy = if kept.is_empty() {
            "No release has been committed yet.".to_owned()
        } else {
            format!("Releases that can be returned to: {}.", kept.join(", "))
        };
        let fail = |kind: ErrorKind, operation: &'static str| {
            Error::new(kind, operation).with_context("application", &self.at).with_remedy(remedy.clone())
        };
        match self.rollback.to {
            RollbackTarget::Number(number) => {
                let found = committed.iter().find(|release| release.number == number);
                match found {
                    None => {
                        Err(fail(ErrorKind::NotFound, "find the release").with_context("release", number))
                    }
                    Some(release) if is_committed(&release) => Ok(release.clone()),
                    Some(_) => Err(fail(ErrorKind::Conflict, "return to a release that was never current")
                        .with_context("release", number)),
                }
            }
            RollbackTarget::Previous => {
                let current = place.value.current.unwrap_or(ReleaseNumber(0));
                let before = committed
                    .iter()
                    .filter(is_committed)
                    .filter(|release| release.number < current)
                    .max_by_key(|it| it.number);
                before
                    .cloned()
                    .ok_or_else(|| fail(ErrorKind::NotFound, "find a release before the current one"))
            }
        }
    }

    /// The templates as recorded. Only where a secret's version was revoked, today's takes its place.
    async fn recorded(
        &self,
        work: &mut Work<'_>,
        record: &Release,
        today: u64,
        notes: &mut Vec<String>,
    ) -> Result<BTreeMap<ComponentName, Rendered>> {
        let mut templates = BTreeMap::new();
        for (name, component) in &record.components {
            let key = self.at.component(name.clone());
            let template = rollout::template(work, &key, &component.revision).await?;
            let mut replaced = Vec::new();
            for secret in render::secret_refs(&template) {
                if !replaced.iter().any(|(old, _): &(SecretRef, SecretRef)| old == secret)
                    && !render::is_usable(work, &self.at, secret).await?
                {
                    replaced.push((secret.clone(), self.today(work, secret, today).await?));
                }
            }
            let rendered = if replaced.is_empty() {
                Rendered { revision: component.revision.clone(), template }
            } else {
                for (old, new) in &replaced {
                    note(notes, old, new);
                }
                Rendered::new(with_secrets(template, &replaced))?
            };
            templates.insert(name.clone(), rendered);
        }
        Ok(templates)
    }

    /// Today's version of a secret, in place of a revoked one.
    async fn today(&self, work: &mut Work<'_>, secret: &SecretRef, today: u64) -> Result<SecretRef> {
        let config = config::load(work, &self.at, today).await?;
        if let Some(ConfigEntry::Secret(now)) = config.entries.get(&secret.name)
            && render::is_usable(work, &self.at, now).await?
        {
            return Ok(now.clone());
        }
        Err(Error::new(ErrorKind::Conflict, "return to a release whose secret was revoked")
            .with_context("application", &self.at)
            .with_context("secret", &secret.name)
            .with_context("version", secret.version)
            .with_remedy(format!("Set secret {} to a new value; the rollback then takes that.", secret.name)))
    }

    /// A version of the configuration with today's version of each revoked secret.
    async fn without_revoked(
        &self,
        work: &mut Work<'_>,
        mut config: ConfigVersion,
        today: u64,
        notes: &mut Vec<String>,
    ) -> Result<ConfigVersion> {
        for entry in config.entries.values_mut() {
            if let ConfigEntry::Secret(secret) = entry
                && !render::is_usable(work, &self.at, secret).await?
            {
                let now = self.today(work, secret, today).await?;
                note(notes, secret, &now);
                *secret = now;
            }
        }
        Ok(config)
    }

    async fn rendered(
        &self,
        work: &mut Work<'_>,
        place: &Stored<AppEnvRecord>,
        version: &AppVersion,
        config: &ConfigVersion,
    ) -> Result<BTreeMap<ComponentName, Rendered>> {
        render::templates(work, &self.at, &version.spec, &version.digests, config, &place.value.restarts)
            .await
    }
}

fn note(notes: &mut Vec<String>, old: &SecretRef, new: &SecretRef) {
    let text = format!(
        "version {} of secret {} was revoked and is not restored; version {} takes its place",
        old.version, old.name, new.version
    );
    if !notes.contains(&text) {
        notes.push(text);
    }
}

fn with_secrets(mut template: Template, replaced: &[(SecretRef, SecretRef)]) -> Template {
    let values = template.env.values_mut().chain(template.files.iter_mut().map(|file| &mut file.content));
    for value in values {
        if let ResolvedValue::Secret(secret) = value
            && let Some((_, new)) = replaced.iter().find(|(old, _)| old == secret)
        {
            *secret = new.clone();
        }
    }
    template
}
