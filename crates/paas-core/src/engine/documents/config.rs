//! Versions of settings and secrets.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{below, number_name};
use crate::engine::Record;
use crate::model::{ConfigVersion, SealedSecret, SecretFingerprint, SecretRef};
use crate::name::AppEnv;
use crate::port::DocumentKey;

/// A version of the configuration of an application in an environment. It is never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRecord {
    /// The application in its environment.
    pub at: AppEnv,
    /// The content.
    pub version: ConfigVersion,
}

impl ConfigRecord {
    /// The key of a version.
    pub fn key_of(at: &AppEnv, number: u64) -> DocumentKey {
        below(Self::KIND, at, number_name(number))
    }
}

impl Record for ConfigRecord {
    const KIND: &'static str = "config";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.at, self.version.number)
    }
}

/// A version of a secret, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// The application in its environment.
    pub at: AppEnv,
    /// The secret's name.
    pub name: String,
    /// The version, from 1.
    pub version: u64,
    /// The keyed hash of the value.
    pub fingerprint: SecretFingerprint,
    /// The value, sealed under [`SecretRecord::context`]; absent once revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedSecret>,
    /// When it was set.
    pub created_at: Timestamp,
    /// Who set it.
    pub created_by: String,
    /// Set once the version may no longer be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

/// That, when and by whom a version of a secret was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

impl SecretRecord {
    /// The key of a version of a secret.
    pub fn key_of(at: &AppEnv, name: &str, version: u64) -> DocumentKey {
        below(Self::KIND, at, format!("{name}.{}", number_name(version)))
    }

    /// What the sealed value is bound to: it opens as this version of this secret only.
    pub fn context(at: &AppEnv, name: &str, version: u64) -> String {
        format!("secret/{at}/{name}/{version}")
    }

    /// The version's name, as configuration versions and templates hold it.
    pub fn reference(&self) -> SecretRef {
        SecretRef { name: self.name.clone(), version: self.version, fingerprint: self.fingerprint.clone() }
    }
}

impl Record for SecretRecord {
    const KIND: &'static str = "secret";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.at, &self.name, self.version)
    }
}
