//! Giving runtimes the values of secrets.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Collections, SecretRecord};
use crate::error::{Error, ErrorKind, Result};
use crate::model::SecretRef;
use crate::name::AppEnv;
use crate::port::{KeyRing, SecretSource, SecretValue, Store};

/// What fails when a secret cannot be opened.
pub(super) const REVEAL: &str = "reveal a secret";

/// Opens secrets for runtimes. It needs the store and the key ring only, so that it can be made before the platform
/// whose clusters it serves.
#[derive(Debug, Clone)]
pub struct SecretResolver {
    collections: Collections,
    key_ring: Arc<dyn KeyRing>,
}

impl SecretResolver {
    /// Opens the secrets in `store` with `key_ring`.
    pub fn new(store: Arc<dyn Store>, key_ring: Arc<dyn KeyRing>) -> Self {
        Self { collections: Collections::new(store), key_ring }
    }
}

#[async_trait]
impl SecretSource for SecretResolver {
    async fn reveal(&self, at: &AppEnv, secret: &SecretRef) -> Result<SecretValue> {
        let fail = |kind: ErrorKind| {
            Error::new(kind, REVEAL)
                .with_context("application", at)
                .with_context("secret", &secret.name)
                .with_context("version", secret.version)
        };
        let key = SecretRecord::key_of(at, &secret.name, secret.version);
        let record =
            self.collections.get::<SecretRecord>(&key).await?.ok_or_else(|| fail(ErrorKind::NotFound))?;
        let Some(sealed) = &record.value.sealed else {
            return Err(fail(ErrorKind::Denied)
                .with_source("this version was revoked")
                .with_remedy("Set a new value and release it."));
        };
        let context = SecretRecord::context(at, &secret.name, secret.version);
        self.key_ring.open(&context, sealed).await.map_err(|error| fail(error.kind()).with_source(error))
    }
}
