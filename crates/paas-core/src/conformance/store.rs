//! The promises of [`Store`].

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};
use crate::port::{
    Change, ChangeStream, DocumentKey, Expect, ListOptions, Revision, Store, StoreLimits, Txn, Write,
};

/// How long a change may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

fn key(name: &str) -> DocumentKey {
    DocumentKey::new("thing", "shop", name)
}

fn put_at(key: DocumentKey, body: Value) -> Write {
    Write::Put { key, schema: 1, body, index: BTreeMap::new() }
}

fn put(name: &str, body: Value) -> Write {
    put_at(key(name), body)
}

fn delete(name: &str) -> Write {
    Write::Delete { key: key(name) }
}

fn txn(expect: Vec<Expect>, writes: Vec<Write>) -> Txn {
    Txn { expect, writes }
}

async fn write(store: &dyn Store, writes: Vec<Write>) -> Revision {
    store.commit(txn(vec![], writes)).await.expect("a transaction without expectations commits")
}

async fn next(stream: &mut ChangeStream) -> Result<Change, Error> {
    tokio::time::timeout(PATIENCE, stream.next())
        .await
        .expect("a change arrives in time")
        .expect("the stream goes on")
}

/// Runs every promise against a store of its own, made by `make`.
pub async fn all<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    a_document_reads_back_as_written(&*make().await).await;
    revisions_count_commits_in_order(&*make().await).await;
    a_broken_expectation_changes_nothing(&*make().await).await;
    each_kind_of_expectation_is_checked(&*make().await).await;
    a_transaction_without_writes_takes_no_revision(&*make().await).await;
    deleting_an_absent_document_is_not_a_write(&*make().await).await;
    transactions_beyond_a_bound_change_nothing(&*make().await).await;
    lists_come_in_key_order_and_in_pages(&*make().await).await;
    lists_filter_by_parent_prefix_and_index(&*make().await).await;
    a_watch_is_gap_free_from_any_revision(make().await).await;
    a_watch_from_a_compacted_revision_says_so(&*make().await).await;
    concurrent_writers_never_lose_an_update(make().await).await;
    a_dropped_commit_is_done_or_not_done(make().await).await;
}

/// A document reads back with its body, schema, index and revisions; names may be any text.
pub async fn a_document_reads_back_as_written(store: &dyn Store) {
    let odd = DocumentKey::new("thing", "a/b/c", "ünï%_'\"\\ \u{1F600}");
    let body = json!({"text": "naïve ☃ \u{0}", "n": 18_446_744_073_709_551_615_u64, "deep": [{"a": null}, 1.5, true]});
    let index = BTreeMap::from([("owner".to_owned(), "o'neil".to_owned())]);
    let writes = vec![Write::Put { key: odd.clone(), schema: 7, body: body.clone(), index: index.clone() }];
    let first = write(store, writes).await;
    let document = store.get(&odd).await.expect("get succeeds").expect("the document exists");
    assert_eq!((&document.key, document.schema, &document.body, &document.index), (&odd, 7, &body, &index));
    assert_eq!((document.created, document.modified), (first, first));

    let second = write(store, vec![put_at(odd.clone(), json!(2))]).await;
    let document = store.get(&odd).await.expect("get succeeds").expect("the document exists");
    assert_eq!(
        (document.created, document.modified),
        (first, second),
        "a replacement keeps when it was created"
    );
    assert_eq!(document.index, BTreeMap::new(), "a replacement replaces the index");

    write(store, vec![Write::Delete { key: odd.clone() }]).await;
    assert_eq!(store.get(&odd).await.expect("get succeeds"), None);
}

/// Each commit takes the next revision, and all writes of one commit share it.
pub async fn revisions_count_commits_in_order(store: &dyn Store) {
    assert_eq!(store.revision().await.expect("revision succeeds"), Revision(0));
    assert_eq!(write(store, vec![put("a", json!(1)), put("b", json!(1))]).await, Revision(1));
    assert_eq!(
        write(store, vec![put("a", json!(1))]).await,
        Revision(2),
        "a put of equal content is a write"
    );
    for name in ["a", "b"] {
        let document = store.get(&key(name)).await.expect("get succeeds").expect("it exists");
        assert_eq!(document.modified, Revision(if name == "a" { 2 } else { 1 }));
    }
    assert_eq!(store.revision().await.expect("revision succeeds"), Revision(2));
}

/// A transaction whose expectation does not hold is a conflict that names the document, and changes nothing.
pub async fn a_broken_expectation_changes_nothing(store: &dyn Store) {
    let first = write(store, vec![put("a", json!(1))]).await;
    let expect = vec![Expect::Modified(key("a"), first), Expect::Absent(key("a"))];
    let error = store
        .commit(txn(expect, vec![put("a", json!(2)), put("b", json!(2))]))
        .await
        .expect_err("a conflict");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("shop/a"), "the message names the document: {error}");
    assert_eq!(store.get(&key("a")).await.expect("get succeeds").expect("it exists").body, json!(1));
    assert_eq!(store.get(&key("b")).await.expect("get succeeds"), None);
    assert_eq!(store.revision().await.expect("revision succeeds"), first);
}

/// `Modified`, `Absent` and `Exists` hold exactly when they say so.
pub async fn each_kind_of_expectation_is_checked(store: &dyn Store) {
    let first = write(store, vec![put("a", json!(1))]).await;
    let cases = [
        (Expect::Modified(key("a"), first), true),
        (Expect::Modified(key("a"), Revision(first.0 + 1)), false),
        (Expect::Modified(key("none"), first), false),
        (Expect::Absent(key("a")), false),
        (Expect::Absent(key("none")), true),
        (Expect::Exists(key("a")), true),
        (Expect::Exists(key("none")), false),
    ];
    for (expect, holds) in cases {
        let outcome = store.commit(txn(vec![expect.clone()], vec![])).await;
        assert_eq!(outcome.is_ok(), holds, "{expect:?}");
    }
}

/// A transaction without writes checks its expectations and returns the current revision.
pub async fn a_transaction_without_writes_takes_no_revision(store: &dyn Store) {
    assert_eq!(write(store, vec![]).await, Revision(0));
    let first = write(store, vec![put("a", json!(1))]).await;
    let outcome = store.commit(txn(vec![Expect::Exists(key("a"))], vec![])).await;
    assert_eq!(outcome.expect("the expectation holds"), first);
}

/// A delete of an absent document does not count as a write.
pub async fn deleting_an_absent_document_is_not_a_write(store: &dyn Store) {
    let first = write(store, vec![put("a", json!(1))]).await;
    assert_eq!(write(store, vec![delete("none")]).await, first);
    assert_eq!(write(store, vec![delete("none"), delete("a")]).await, Revision(first.0 + 1));
}

/// A transaction beyond a bound, or with a key twice, fails before anything of it happens.
pub async fn transactions_beyond_a_bound_change_nothing(store: &dyn Store) {
    let limits = store.limits();
    let many = (0..=limits.max_operations).map(|i| put(&format!("n{i}"), json!(i))).collect();
    let large = vec![put("ok", json!(1)), put("large", json!("x".repeat(limits.max_body)))];
    let twice = vec![put("a", json!(1)), delete("a")];
    let index = (0..=StoreLimits::MAX_INDEX).map(|i| (format!("i{i}"), String::new())).collect();
    let indexed = vec![Write::Put { key: key("a"), schema: 1, body: json!(1), index }];
    let nameless = vec![put("", json!(1))];
    let cases = [
        (many, ErrorKind::TooLarge),
        (large, ErrorKind::TooLarge),
        (twice, ErrorKind::Invalid),
        (indexed, ErrorKind::Invalid),
        (nameless, ErrorKind::Invalid),
    ];
    for (writes, kind) in cases {
        let error = store.commit(txn(vec![], writes)).await.expect_err("beyond a bound");
        assert_eq!(error.kind(), kind, "{}", error.report());
    }
    assert_eq!(store.revision().await.expect("revision succeeds"), Revision(0));
}

/// Lists come in the bytewise order of keys, in pages that miss and repeat nothing, in either direction.
pub async fn lists_come_in_key_order_and_in_pages(store: &dyn Store) {
    let names: Vec<String> =
        (0..25).map(|i| format!("n{i:02}")).chain(["Z".into(), "a-b".into(), "é".into()]).collect();
    let writes = names.iter().map(|name| put(name, json!(name))).collect();
    let revision = write(store, writes).await;
    write(store, vec![put_at(DocumentKey::new("other", "shop", "x"), json!(0))]).await;
    let mut sorted = names.clone();
    sorted.sort();
    for descending in [false, true] {
        let mut options =
            ListOptions { kind: "thing".into(), descending, limit: Some(10), ..Default::default() };
        let mut seen = Vec::new();
        loop {
            let page = store.list(&options).await.expect("list succeeds");
            assert!(page.documents.len() <= 10);
            assert!(page.revision >= revision, "the page tells the revision that it shows");
            seen.extend(page.documents.into_iter().map(|document| document.key.name));
            match page.next {
                Some(next) => options.after = Some(next),
                None => break,
            }
        }
        let mut expected = sorted.clone();
        if descending {
            expected.reverse();
        }
        assert_eq!(seen, expected);
    }
    let page =
        store.list(&ListOptions { kind: "none".into(), ..Default::default() }).await.expect("list succeeds");
    assert!(page.documents.is_empty() && page.next.is_none());
}

/// Lists filter by exact parent, by the beginning of the parent, and by an index value.
pub async fn lists_filter_by_parent_prefix_and_index(store: &dyn Store) {
    let at = |parent: &str, name: &str, color: &str| Write::Put {
        key: DocumentKey::new("thing", parent, name),
        schema: 1,
        body: json!(null),
        index: BTreeMap::from([("color".to_owned(), color.to_owned())]),
    };
    let writes = vec![
        at("shop", "a", "red"),
        at("shop/prod", "b", "blue"),
        at("shop/prod/x", "c", "red"),
        at("shop%", "d", "red"),
        at("shopping", "e", "green"),
    ];
    write(store, writes).await;
    let names = async |options: ListOptions| -> Vec<String> {
        let page = store.list(&ListOptions { kind: "thing".into(), ..options }).await.expect("list succeeds");
        page.documents.into_iter().map(|document| document.key.name).collect()
    };
    let parent = |parent: &str| ListOptions { parent: Some(parent.into()), ..Default::default() };
    let prefix = |prefix: &str| ListOptions { parent_prefix: Some(prefix.into()), ..Default::default() };
    let red = |options: ListOptions| ListOptions { index: Some(("color".into(), "red".into())), ..options };
    assert_eq!(names(parent("shop")).await, ["a"]);
    assert_eq!(names(prefix("shop/")).await, ["b", "c"]);
    assert_eq!(names(prefix("shop%")).await, ["d"], "no character is a wildcard");
    assert_eq!(names(red(ListOptions::default())).await, ["a", "d", "c"]);
    assert_eq!(names(red(prefix("shop/"))).await, ["c"]);
    write(store, vec![at("shop", "a", "blue")]).await;
    assert_eq!(names(red(ListOptions::default())).await, ["d", "c"], "a replaced index value is forgotten");
}

/// A watch delivers every change after its revision, whole commits in order, then new ones as they happen.
pub async fn a_watch_is_gap_free_from_any_revision(store: Arc<dyn Store>) {
    write(&*store, vec![put("a", json!(1)), put("b", json!(1))]).await;
    write(&*store, vec![delete("a")]).await;
    let mut from_start = store.watch(Revision(0)).await.expect("a watch from the start");
    let mut from_one = store.watch(Revision(1)).await.expect("a watch from the middle");
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for i in 0..700 {
                write(&*store, vec![put("c", json!(i))]).await;
            }
        }
    });
    let mut expected = vec![(1, "a", true), (1, "b", true), (2, "a", false)];
    expected.extend((3..703).map(|revision| (revision, "c", true)));
    for (revision, name, present) in expected {
        let change = next(&mut from_start).await.expect("a change");
        let seen = (change.revision.0, change.key.name.as_str(), change.document.is_some());
        assert_eq!(seen, (revision, name, present));
        if revision > 1 {
            assert_eq!(next(&mut from_one).await.expect("a change"), change, "both watches see the same");
        }
        if let Some(document) = &change.document {
            assert_eq!(document.modified, change.revision);
        }
    }
    writer.await.expect("the writer ends");
}

/// A watch from a revision whose successors are no longer kept fails and names the floor; documents stay.
pub async fn a_watch_from_a_compacted_revision_says_so(store: &dyn Store) {
    for i in 0..5 {
        write(store, vec![put("a", json!(i))]).await;
    }
    store.compact(Revision(3)).await.expect("compaction succeeds");
    let compacted = match store.watch(Revision(2)).await {
        Err(error) => error,
        Ok(mut stream) => next(&mut stream).await.expect_err("the feed is not kept"),
    };
    assert_eq!(compacted.kind(), ErrorKind::Compacted);
    assert!(compacted.context().contains(&("floor", "3".to_owned())), "{compacted}");
    let mut stream = store.watch(Revision(3)).await.expect("the floor can be watched from");
    assert_eq!(next(&mut stream).await.expect("a change").revision, Revision(4));
    assert_eq!(store.get(&key("a")).await.expect("get succeeds").expect("it stays").body, json!(4));
    store.compact(Revision(1)).await.expect("compacting less changes nothing");
    assert!(store.watch(Revision(3)).await.is_ok());
}

/// Writers that compare and set never lose an update.
pub async fn concurrent_writers_never_lose_an_update(store: Arc<dyn Store>) {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    write(&*store, vec![put("counter", json!(0))]).await;
    let writers = (0..WRITERS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                let document = store.get(&key("counter")).await.expect("get succeeds").expect("it exists");
                let count = document.body.as_u64().expect("a number");
                let expect = vec![Expect::Modified(key("counter"), document.modified)];
                match store.commit(txn(expect, vec![put("counter", json!(count + 1))])).await {
                    Ok(_) => done += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report()),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("the writer ends");
    }
    let document = store.get(&key("counter")).await.expect("get succeeds").expect("it exists");
    assert_eq!(document.body, json!(WRITERS * EACH));
    assert_eq!(document.modified, Revision((WRITERS * EACH + 1) as u64), "each commit took one revision");
}

/// A commit whose future is dropped has happened whole or not at all, and the store goes on.
pub async fn a_dropped_commit_is_done_or_not_done(store: Arc<dyn Store>) {
    for round in 0..50_u64 {
        let writes = (0..20).map(|i| put(&format!("d{i}"), json!(round))).collect();
        let commit = store.commit(txn(vec![], writes));
        let _ = tokio::time::timeout(Duration::from_micros(round * 20), commit).await;
    }
    write(&*store, vec![put("end", json!(1))]).await;
    let page =
        store.list(&ListOptions { kind: "thing".into(), ..Default::default() }).await.expect("list succeeds");
    let rounds: Vec<_> = page
        .documents
        .iter()
        .filter(|document| document.key.name.starts_with('d'))
        .map(|d| &d.body)
        .collect();
    assert!(rounds.windows(2).all(|pair| pair[0] == pair[1]), "all of a commit or nothing of it: {rounds:?}");
}
