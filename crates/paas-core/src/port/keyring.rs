//! Keys for what must not lie about in plain text.

use std::fmt;

use async_trait::async_trait;

use super::SecretValue;
use crate::error::Result;
use crate::model::{SealedSecret, SecretFingerprint};

/// Envelope encryption of secrets.
///
/// # Contract
/// - [`KeyRing::open`] of what [`KeyRing::seal`] made with the same context gives the value back; with another context,
///   or altered, it fails with [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) and gives nothing.
/// - Sealing equal values twice gives different bytes.
/// - After [`KeyRing::rotate`] new values are sealed with a new key and old ones still open.
/// - [`KeyRing::fingerprint`] is equal for equal values, through rotations and restarts, tells nothing about the value
///   to who lacks the key, and differs between installations.
#[async_trait]
pub trait KeyRing: fmt::Debug + Send + Sync + 'static {
    /// Seals a value, bound to a context such as `secret/shop/prod/web/DB_PASSWORD/3`.
    async fn seal(&self, context: &str, value: &SecretValue) -> Result<SealedSecret>;

    /// Opens a sealed value.
    async fn open(&self, context: &str, sealed: &SealedSecret) -> Result<SecretValue>;

    /// A keyed hash of a value.
    async fn fingerprint(&self, value: &SecretValue) -> Result<SecretFingerprint>;

    /// Makes a new key the one that seals.
    async fn rotate(&self) -> Result<()>;
}
