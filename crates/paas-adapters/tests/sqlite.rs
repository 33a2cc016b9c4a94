//! The store in SQLite keeps the promises of the port, and its own about the file.
#![cfg(feature = "sqlite")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use paas_adapters::SqliteStore;
use paas_core::ErrorKind;
use paas_core::conformance::store as suite;
use paas_core::port::{DocumentKey, Revision, Store, Txn, Write};
use serde_json::{Value, json};
use tempfile::TempDir;

fn put(name: &str, body: Value) -> Txn {
    let key = DocumentKey::new("thing", "", name);
    Txn { expect: vec![], writes: vec![Write::Put { key, schema: 1, body, index: BTreeMap::new() }] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_store_conforms() {
    let dir = TempDir::new().unwrap();
    let count = AtomicUsize::new(0);
    suite::all(|| async {
        let file = dir.path().join(format!("{}.db", count.fetch_add(1, Ordering::Relaxed)));
        Arc::new(SqliteStore::open(file).await.unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn content_revision_and_feed_survive_a_reopening() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state.db");
    let store = SqliteStore::open(&file).await.unwrap();
    store.commit(put("a", json!(1))).await.unwrap();
    store.commit(put("b", json!(2))).await.unwrap();
    store.close().await;

    let store = SqliteStore::open(&file).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), Revision(2));
    let mut feed = store.watch(Revision(1)).await.unwrap();
    assert_eq!(feed.next().await.unwrap().unwrap().key.name, "b");
    store.commit(put("c", json!(3))).await.unwrap();
    assert_eq!(feed.next().await.unwrap().unwrap().revision, Revision(3));
}

#[tokio::test]
async fn the_feed_gives_up_old_commits_by_itself() {
    let dir = TempDir::new().unwrap();
    let store = SqliteStore::open_keeping(dir.path().join("state.db"), 100).await.unwrap();
    for i in 0..1000 {
        store.commit(put("a", json!(i))).await.unwrap();
    }
    let error = store.watch(Revision(800)).await.err().expect("revision 801 is no longer kept");
    assert_eq!(error.kind(), ErrorKind::Compacted);
    let kept = store.watch(Revision(900)).await.unwrap().take(100).count().await;
    assert_eq!(kept, 100);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state.db");
    SqliteStore::open(&file).await.unwrap().close().await;
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query("PRAGMA user_version = 99").execute(&pool).await.unwrap();
    pool.close().await;
    let error = SqliteStore::open(&file).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.report().contains("newer version"), "{}", error.report());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_with_a_remedy() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("state.db");
    std::fs::write(&file, "this is no database, and long enough to look like a header of one").unwrap();
    let error = SqliteStore::open(&file).await.unwrap_err();
    assert!(error.remedy().is_some(), "{}", error.report());
    assert!(error.to_string().contains("state.db"), "{error}");
}
