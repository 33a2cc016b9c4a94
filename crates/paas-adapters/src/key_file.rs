//! A [`KeyRing`] in one file.

mod file;

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use paas_core::model::{SealedSecret, SecretFingerprint};
use paas_core::port::{KeyRing, SecretValue};
use paas_core::{Error, ErrorKind, Result};
use sha2::Sha256;
use tokio::sync::RwLock;

use self::file::Keys;

/// The length of an `XChaCha20` nonce in bytes. It is long enough to be drawn at random for every value.
const NONCE: usize = 24;

/// Keys in one file that only its owner may read; one of somebody else's may be readable by its group, which is how secrets are
/// handed to a pod.
///
/// Values are sealed with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under a random nonce, bound to their context as
/// associated data. Fingerprints are HMAC-SHA-256 with a key that no rotation changes. A rotation adds a key and keeps the
/// old ones, so that what they sealed still opens.
pub struct KeyFile {
    path: PathBuf,
    keys: RwLock<Keys>,
}

impl KeyFile {
    /// Opens the key file at `path`, or makes one with fresh keys if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if others than the owner may read it or its content is damaged;
    /// [`ErrorKind::Unavailable`] if it cannot be read or written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let keys = match file::read(&path)? {
            Some(keys) => keys,
            None => file::create(&path)?,
        };
        Ok(Self { path, keys: RwLock::new(keys) })
    }

    /// Where the keys are.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyRing for KeyFile {
    async fn seal(&self, context: &str, value: &SecretValue) -> Result<SealedSecret> {
        let keys = self.keys.read().await;
        let (key_id, key) = keys.current();
        let nonce = XNonce::generate();
        let payload = Payload { msg: value.reveal(), aad: context.as_bytes() };
        let cipher = XChaCha20Poly1305::new(key.into());
        let sealed = cipher
            .encrypt(&nonce, payload)
            .map_err(|_| Error::new(ErrorKind::TooLarge, "seal a secret").with_context("context", context))?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(SealedSecret { key_id: key_id.to_owned(), sealed: STANDARD.encode(bytes) })
    }

    async fn open(&self, context: &str, sealed: &SealedSecret) -> Result<SecretValue> {
        let failed = |why: &'static str| {
            Error::new(ErrorKind::Invalid, "open a sealed secret")
                .with_context("context", context)
                .with_context("key", &sealed.key_id)
                .with_source(why)
        };
        let keys = self.keys.read().await;
        let key = keys.get(&sealed.key_id).ok_or_else(|| {
            failed("the key file has no such key").with_remedy(format!(
                "Restore the key file {} that belongs to this store.",
                self.path.display()
            ))
        })?;
        let bytes = STANDARD.decode(&sealed.sealed).map_err(|_| failed("it is not base64"))?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE).ok_or_else(|| failed("it is too short"))?;
        let nonce = XNonce::try_from(nonce).map_err(|_| failed("it is too short"))?;
        XChaCha20Poly1305::new(key.into())
            .decrypt(&nonce, Payload { msg: sealed, aad: context.as_bytes() })
            .map(SecretValue::new)
            .map_err(|_| failed("it was altered, or belongs to something else"))
    }

    async fn fingerprint(&self, value: &SecretValue) -> Result<SecretFingerprint> {
        let keys = self.keys.read().await;
        let mut mac =
            Hmac::<Sha256>::new_from_slice(keys.fingerprint_key()).expect("HMAC takes keys of any length");
        mac.update(value.reveal());
        Ok(SecretFingerprint(hex::encode(mac.finalize().into_bytes())))
    }

    async fn rotate(&self) -> Result<()> {
        let mut keys = self.keys.write().await;
        let rotated = keys.rotated();
        // The file comes first: a key that sealed something is never lost.
        file::replace(&self.path, &rotated)?;
        *keys = rotated;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
