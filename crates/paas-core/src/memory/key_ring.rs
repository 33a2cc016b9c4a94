//! A key ring whose keys live as long as the process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{SealedSecret, SecretFingerprint};
use crate::port::{KeyRing, SecretValue};

/// The length of an `XChaCha20` nonce in bytes; long enough to be drawn at random for every value.
const NONCE: usize = 24;

/// Keys that live as long as the process: for tests and examples, and for stores in memory.
///
/// Values are sealed with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), bound to their context as associated data;
/// fingerprints are HMAC-SHA-256.
pub struct MemoryKeyRing {
    keys: RwLock<Keys>,
}

struct Keys {
    current: usize,
    sealing: BTreeMap<usize, Key>,
    fingerprint: Key,
}

impl MemoryKeyRing {
    /// A key ring with fresh keys.
    pub fn new() -> Self {
        let sealing = BTreeMap::from([(1, Key::generate())]);
        Self { keys: RwLock::new(Keys { current: 1, sealing, fingerprint: Key::generate() }) }
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryKeyRing {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryKeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKeyRing").finish_non_exhaustive()
    }
}

fn name(number: usize) -> String {
    format!("memory-{number}")
}

#[async_trait]
impl KeyRing for MemoryKeyRing {
    async fn seal(&self, context: &str, value: &SecretValue) -> Result<SealedSecret> {
        let keys = self.keys();
        let nonce = XNonce::generate();
        let payload = Payload { msg: value.reveal(), aad: context.as_bytes() };
        let sealed = XChaCha20Poly1305::new(&keys.sealing[&keys.current])
            .encrypt(&nonce, payload)
            .map_err(|_| Error::new(ErrorKind::TooLarge, "seal a secret").with_context("context", context))?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        Ok(SealedSecret { key_id: name(keys.current), sealed: STANDARD.encode(bytes) })
    }

    async fn open(&self, context: &str, sealed: &SealedSecret) -> Result<SecretValue> {
        let failed = |why: &'static str| {
            Error::new(ErrorKind::Invalid, "open a sealed secret")
                .with_context("context", context)
                .with_context("key", &sealed.key_id)
                .with_source(why)
        };
        let keys = self.keys();
        let key = keys.sealing.iter().find(|(number, _)| name(**number) == sealed.key_id);
        let (_, key) = key.ok_or_else(|| failed("there is no such key; another process sealed it"))?;
        let bytes = STANDARD.decode(&sealed.sealed).map_err(|_| failed("it is not base64"))?;
        let (nonce, body) = bytes.split_at_checked(NONCE).ok_or_else(|| failed("it is too short"))?;
        let nonce = XNonce::try_from(nonce).map_err(|_| failed("it is too short"))?;
        XChaCha20Poly1305::new(key)
            .decrypt(&nonce, Payload { msg: body, aad: context.as_bytes() })
            .map(SecretValue::new)
            .map_err(|_| failed("it was altered, or belongs to something else"))
    }

    async fn fingerprint(&self, value: &SecretValue) -> Result<SecretFingerprint> {
        let keys = self.keys();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&keys.fingerprint).expect("HMAC takes keys of any length");
        mac.update(value.reveal());
        Ok(SecretFingerprint(hex::encode(mac.finalize().into_bytes())))
    }

    async fn rotate(&self) -> Result<()> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.current += 1;
        let current = keys.current;
        keys.sealing.insert(current, Key::generate());
        Ok(())
    }
}
