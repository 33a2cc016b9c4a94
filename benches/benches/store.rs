//! How long the store's verbs take: in memory, and in one SQLite file with every commit synced.
//!
//! The engine writes a handful of documents per step of a release, and nothing when idle, so a commit is measured by
//! itself and not many at once.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use paas_adapters::SqliteStore;
use paas_core::memory::MemoryStore;
use paas_core::port::{DocumentKey, ListOptions, Store, Txn, Write};
use serde_json::{Value, json};

/// As large as a track's state.
fn body() -> Value {
    let revisions: Vec<Value> = (0..4)
        .map(
            |revision| json!({ "revision": format!("{revision:012}"), "count": 3, "ready": 3, "weight": 25 }),
        )
        .collect();
    json!({ "phase": "advancing", "step": 2, "revisions": revisions, "note": "x".repeat(600) })
}

fn put(parent: &str, name: usize) -> Write {
    let key = DocumentKey::new("track", parent, format!("{name:06}"));
    Write::Put { key, schema: 1, body: body(), index: BTreeMap::new() }
}

fn measure(criterion: &mut Criterion, name: &str, store: &Arc<dyn Store>, runtime: &tokio::runtime::Runtime) {
    let mut group = criterion.benchmark_group(name);
    runtime.block_on(async {
        for start in (0..10_000).step_by(100) {
            let writes = (start..start + 100).map(|name| put("acme/production", name)).collect();
            store.commit(Txn { expect: vec![], writes }).await.expect("a commit");
        }
    });
    let get = DocumentKey::new("track", "acme/production", "005000");
    group.bench_function("get one of 10,000", |bencher| {
        bencher.to_async(runtime).iter(async || black_box(store.get(&get).await.expect("an answer")));
    });
    let page = ListOptions {
        kind: "track".to_owned(),
        parent: Some("acme/production".to_owned()),
        after: Some(get.clone()),
        limit: Some(100),
        ..ListOptions::default()
    };
    group.bench_function("list a page of 100 in the middle", |bencher| {
        bencher.to_async(runtime).iter(async || black_box(store.list(&page).await.expect("a page")));
    });
    group.bench_function("commit one document", |bencher| {
        bencher.to_async(runtime).iter(async || {
            store.commit(Txn { expect: vec![], writes: vec![put("acme/test", 1)] }).await.expect("a commit")
        });
    });
    group.bench_function("commit ten documents", |bencher| {
        bencher.to_async(runtime).iter(async || {
            let writes = (0..10).map(|name| put("acme/test", name)).collect();
            store.commit(Txn { expect: vec![], writes }).await.expect("a commit")
        });
    });
    group.finish();
}

fn stores(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    measure(criterion, "memory", &(Arc::new(MemoryStore::new()) as Arc<dyn Store>), &runtime);
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = runtime.block_on(SqliteStore::open(folder.path().join("state.db"))).expect("a store");
    measure(criterion, "sqlite", &(Arc::new(sqlite) as Arc<dyn Store>), &runtime);
}

criterion_group!(benches, stores);
criterion_main!(benches);
