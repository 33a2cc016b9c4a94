//! Settings and secrets of an application in an environment, in versions.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One immutable version of an application's settings and secrets in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigVersion {
    /// The number, from 1; version 0 is the empty one.
    pub number: u64,
    /// Settings and secrets by name.
    pub entries: BTreeMap<String, ConfigEntry>,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
}

/// A setting or a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigEntry {
    /// A setting in plain text.
    Setting(String),
    /// A secret in the version named.
    Secret(SecretRef),
}

/// A version of a secret: names its value without holding it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// The secret's name.
    pub name: String,
    /// The version of the secret, from 1.
    pub version: u64,
    /// A keyed hash of the value, so that equal values make equal revisions.
    pub fingerprint: SecretFingerprint,
}

/// A keyed hash (HMAC-SHA-256 with a key of the installation) of a secret's value, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecretFingerprint(pub String);

/// A secret's value under the key ring: what the store holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// The key that sealed it.
    pub key_id: String,
    /// The sealed bytes in base64, nonce first.
    pub sealed: String,
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedSecret").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
