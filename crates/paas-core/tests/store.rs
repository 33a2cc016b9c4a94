//! The store in memory keeps the promises of the port.

use std::sync::Arc;

use paas_core::conformance::store as suite;
use paas_core::memory::MemoryStore;
use paas_core::port::Store;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_store_conforms() {
    suite::all(|| async { Arc::new(MemoryStore::new()) as Arc<dyn Store> }).await;
}
