//! Keys in a file keep the promises of the port.
#![cfg(feature = "key-file")]
#![allow(clippy::unwrap_used)] // tests may panic

use std::sync::Arc;

use async_trait::async_trait;
use paas_adapters::KeyFile;
use paas_core::conformance::key_ring::KeyRingFixture;
use paas_core::port::KeyRing;
use tempfile::TempDir;

struct Files(TempDir);

impl Files {
    fn open(&self, name: &str) -> Arc<dyn KeyRing> {
        Arc::new(KeyFile::open(self.0.path().join(name)).unwrap())
    }
}

#[async_trait]
impl KeyRingFixture for Files {
    fn key_ring(&self) -> Arc<dyn KeyRing> {
        self.open("keys.json")
    }

    async fn reopened(&self) -> Arc<dyn KeyRing> {
        self.open("keys.json")
    }

    async fn elsewhere(&self) -> Arc<dyn KeyRing> {
        self.open("others.json")
    }
}

paas_core::key_ring_conformance!(#[tokio::test] => Files(TempDir::new().unwrap()));
