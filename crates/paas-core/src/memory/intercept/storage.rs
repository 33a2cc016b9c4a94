//! Stores, registries and key rings with interceptors.

use async_trait::async_trait;

use super::Intercepted;
use crate::error::Result;
use crate::model::{SealedSecret, SecretFingerprint};
use crate::port::{
    ChangeStream, Document, DocumentKey, ImageQuery, KeyRing, ListOptions, Page, Registry, ResolvedImage,
    Revision, SecretValue, Store, StoreLimits, Txn, Write,
};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for Intercepted<dyn Store> {
    fn limits(&self) -> StoreLimits {
        self.inner.limits()
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.around("store", "get", key.to_string(), false, self.inner.get(key)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page> {
        self.around("store", "list", options.kind.clone(), false, self.inner.list(options)).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        let written: Vec<String> = txn
            .writes
            .iter()
            .map(|write| match write {
                Write::Put { key, .. } => format!("put {key}"),
                Write::Delete { key } => format!("delete {key}"),
            })
            .collect();
        let mutates = !written.is_empty();
        self.around("store", "commit", written.join(", "), mutates, self.inner.commit(txn)).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.around("store", "revision", String::new(), false, self.inner.revision()).await
    }

    async fn watch(&self, from: Revision) -> Result<ChangeStream> {
        self.around("store", "watch", from.to_string(), false, self.inner.watch(from)).await
    }

    async fn compact(&self, up_to: Revision) -> Result<()> {
        self.around("store", "compact", up_to.to_string(), true, self.inner.compact(up_to)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Registry for Intercepted<dyn Registry> {
    async fn resolve(&self, query: &ImageQuery) -> Result<ResolvedImage> {
        let object = query.reference.clone();
        self.around("registry", "resolve", object, false, self.inner.resolve(query)).await
    }

    async fn list(&self, query: &ImageQuery, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let object = query.reference.clone();
        self.around("registry", "list", object, false, self.inner.list(query, after, limit)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl KeyRing for Intercepted<dyn KeyRing> {
    async fn seal(&self, context: &str, value: &SecretValue) -> Result<SealedSecret> {
        self.around("key_ring", "seal", context.to_owned(), false, self.inner.seal(context, value)).await
    }

    async fn open(&self, context: &str, sealed: &SealedSecret) -> Result<SecretValue> {
        self.around("key_ring", "open", context.to_owned(), false, self.inner.open(context, sealed)).await
    }

    async fn fingerprint(&self, value: &SecretValue) -> Result<SecretFingerprint> {
        // What it is about is the value itself, which nothing names.
        self.around("key_ring", "fingerprint", String::new(), false, self.inner.fingerprint(value)).await
    }

    async fn rotate(&self) -> Result<()> {
        self.around("key_ring", "rotate", String::new(), true, self.inner.rotate()).await
    }
}
