//! What the store's suite cannot provoke.

use paas_core::port::Write;
use serde_json::json;

use super::*;

fn put(name: &str, body: &str) -> Txn {
    let key = DocumentKey::new("note", "", name);
    let write = Write::Put {
        key,
        schema: 1,
        body: json!({ "text": body }),
        index: std::collections::BTreeMap::new(),
    };
    Txn { writes: vec![write], ..Txn::default() }
}

#[tokio::test]
async fn after_the_disk_was_full_commits_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("store.db")).await.unwrap();
    let first = store.commit(put("small", "fits")).await.unwrap();
    // A bound on the file is met as the end of the disk is.
    let pages: i64 =
        sqlx::query("PRAGMA page_count").fetch_one(&store.shared.writer).await.unwrap().try_get(0).unwrap();
    let limit = format!("PRAGMA max_page_count = {pages}");
    sqlx::query(sqlx::AssertSqlSafe(limit)).execute(&store.shared.writer).await.unwrap();
    let error = store.commit(put("large", &"x".repeat(100_000))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("disk is full")), "{}", error.report());
    assert_eq!(store.revision().await.unwrap(), first, "nothing of it was done");

    let second = store.commit(put("large", &"x".repeat(100_000))).await.unwrap();
    assert_eq!(second.0, first.0 + 1);
    assert!(store.get(&DocumentKey::new("note", "", "large")).await.unwrap().is_some());
}
