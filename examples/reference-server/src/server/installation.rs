//! Which platform this is: an identity that is made once, kept in the store, and put on everything that is made anywhere.

use std::sync::Arc;

use paas_core::engine::{Changes, Collections, Record};
use paas_core::port::{DocumentKey, Revision, Store};
use paas_core::{ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// What a store has that was made before installations had identities.
const FIRST: &str = "paas";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Installation {
    id: String,
}

impl Record for Installation {
    const KIND: &'static str = "installation";

    fn key(&self) -> DocumentKey {
        key()
    }
}

fn key() -> DocumentKey {
    DocumentKey::new(Installation::KIND, "", "current")
}

/// The identity of the platform in `store`: a new one, if the store is new. Of servers that start at once, one makes it.
pub async fn id(store: &Arc<dyn Store>) -> Result<String> {
    let collections = Collections::new(Arc::clone(store));
    loop {
        if let Some(found) = collections.get::<Installation>(&key()).await? {
            return Ok(found.value.id);
        }
        let id = match store.revision().await? {
            Revision(0) => format!("paas-{:08x}", random()),
            _ => FIRST.to_owned(),
        };
        let mut changes = Changes::new();
        changes.create(&Installation { id })?;
        match store.commit(changes.into_txn()).await {
            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
            // Another server was first.
            _ => {}
        }
    }
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u32::from_ne_bytes(bytes),
        // Nothing secret hangs on it: it only has to differ from that of other platforms on the same cluster.
        Err(_) => std::process::id(),
    }
}

#[cfg(test)]
mod tests {
    use paas_core::memory::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn an_identity_is_made_once() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (first, second) = tokio::join!(id(&store), id(&store));
        let id = first.unwrap();
        assert_eq!((id.as_str(), id.len()), (second.unwrap().as_str(), 13));
        assert_eq!(super::id(&store).await.unwrap(), id);
        let other: Arc<dyn Store> = Arc::new(MemoryStore::new());
        assert_ne!(super::id(&other).await.unwrap(), id);
    }
}
