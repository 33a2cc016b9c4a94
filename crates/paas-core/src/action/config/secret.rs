//! Secrets: set, unset and revoked. A value goes from here to the key ring and nowhere else.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{ConfigWritten, Draft, VALUE_MAX, check_name};
use crate::action::{Action, Effect, Work};
use crate::engine::{AppEnvRecord, EventKind, Revoked, SecretRecord, Stored};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{ConfigEntry, SecretFingerprint};
use crate::name::AppEnv;
use crate::port::{DocumentKey, Permission, Revision, Scope, SecretValue};
use crate::tenancy::permissions;

async fn versions(work: &Work<'_>, at: &AppEnv, name: &str) -> Result<Vec<Stored<SecretRecord>>> {
    let all = work.collections().children::<SecretRecord>(at.to_string()).await?;
    Ok(all.into_iter().filter(|secret| secret.value.name == name).collect())
}

/// Sets a secret. The value that it has already changes nothing.
#[derive(Debug, Clone)]
pub struct SetSecret {
    /// Where.
    pub at: AppEnv,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: SecretValue,
}

impl SetSecret {
    fn refuse_revoked(&self, known: &[Stored<SecretRecord>], fingerprint: &SecretFingerprint) -> Result<()> {
        let revoked = known
            .iter()
            .find(|version| version.value.fingerprint == *fingerprint && version.value.revoked.is_some());
        let Some(revoked) = revoked else { return Ok(()) };
        let message =
            format!("is the value of version {}, which was revoked; choose another", revoked.value.version);
        Err(Error::invalid("set a secret", vec![Fault::new("value", message)])
            .with_context("application", &self.at)
            .with_context("secret", &self.name))
    }
}

#[async_trait]
impl Action for SetSecret {
    type Output = ConfigWritten;
    const NAME: &'static str = "secret.set";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::SECRET_WRITE
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        if let Some(message) = check_name(&self.name) {
            faults.push(Fault::new("name", message));
        }
        if self.value.reveal().is_empty() || self.value.reveal().len() > VALUE_MAX {
            faults.push(Fault::new("value", format!("must have 1 to {VALUE_MAX} bytes")));
        }
    }

    fn detail(&self) -> Value {
        json!({ "name": self.name })
    }

    fn secrets(&self) -> Vec<&SecretValue> {
        vec![&self.value]
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
        let fingerprint = work.services().key_ring().fingerprint(&self.value).await?;
        match before.get(&self.name) {
            Some(ConfigEntry::Setting(_)) => {
                let fault = Fault::new("name", "is a setting; unset it first, or set it as a setting");
                return Err(Error::invalid("set a secret", vec![fault])
                    .with_context("application", &self.at)
                    .with_context("secret", &self.name));
            }
            Some(ConfigEntry::Secret(known)) if known.fingerprint == fingerprint => {
                let key = SecretRecord::key_of(&self.at, &known.name, known.version);
                let usable =
                    work.get::<SecretRecord>(&key).await?.is_some_and(|it| it.value.revoked.is_none());
                if usable {
                    let secret_version = Some(known.version);
                    let written = draft.close(work, &before, String::new())?;
                    return Ok(ConfigWritten { secret_version, ..written });
                }
            }
            _ => {}
        }
        let known = versions(work, &self.at, &self.name).await?;
        self.refuse_revoked(&known, &fingerprint)?;
        let version = known.iter().map(|it| it.value.version).max().unwrap_or(0) + 1;
        let context = SecretRecord::context(&self.at, &self.name, version);
        let record = SecretRecord {
            at: self.at.clone(),
            name: self.name.clone(),
            version,
            fingerprint,
            sealed: Some(work.services().key_ring().seal(&context, &self.value).await?),
            created_at: work.now(),
            created_by: work.actor().id().to_owned(),
            revoked: None,
        };
        work.changes().create(&record)?;
        draft.entries.insert(self.name.clone(), ConfigEntry::Secret(record.reference()));
        let message = format!("secret {} was set to version {version}", self.name);
        let written = draft.close(work, &before, message)?;
        Ok(ConfigWritten { secret_version: Some(version), ..written })
    }
}

/// Takes a secret out of the configuration. Releases that use it keep their version.
#[derive(Debug, Clone)]
pub struct UnsetSecret {
    /// Where.
    pub at: AppEnv,
    /// Its name.
    pub name: String,
}

#[async_trait]
impl Action for UnsetSecret {
    type Output = ConfigWritten;
    const NAME: &'static str = "secret.unset";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::SECRET_WRITE
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        json!({ "name": self.name })
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
        if !matches!(draft.entries.remove(&self.name), Some(ConfigEntry::Secret(_))) {
            return Err(Error::not_found("secret", &self.name).with_context("application", &self.at));
        }
        draft.close(work, &before, format!("secret {} was unset", self.name))
    }
}

/// Destroys a version of a secret, and every other version with the same value. No release takes it up again; instances
/// that run with it keep it until they are replaced.
#[derive(Debug, Clone)]
pub struct RevokeSecret {
    /// Where.
    pub at: AppEnv,
    /// Its name.
    pub name: String,
    /// The version.
    pub version: u64,
}

#[async_trait]
impl Action for RevokeSecret {
    type Output = ();
    const NAME: &'static str = "secret.revoke";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::SECRET_WRITE
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        json!({ "name": self.name, "version": self.version })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        work.live_place(&self.at).await?;
        let versions = versions(work, &self.at, &self.name).await?;
        let Some(wanted) = versions.iter().find(|it| it.value.version == self.version) else {
            return Err(Error::new(ErrorKind::NotFound, "revoke a version of a secret")
                .with_context("application", &self.at)
                .with_context("secret", &self.name)
                .with_context("version", self.version));
        };
        let fingerprint = wanted.value.fingerprint.clone();
        let revoked = Revoked { at: work.now(), by: work.actor().id().to_owned() };
        for mut version in versions {
            if version.value.fingerprint == fingerprint && version.value.revoked.is_none() {
                version.value.sealed = None;
                version.value.revoked = Some(revoked.clone());
                work.changes().update(&version)?;
            }
        }
        let message = format!("version {} of secret {} was revoked", self.version, self.name);
        work.event(EventKind::Configured, self.scope(), message);
        Ok(())
    }
}
