//! The store in PostgreSQL keeps the promises of the port, and its own about several servers.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)] // a failure of what a test sets up is a failure of the test

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use paas_adapters::{PostgresOptions, PostgresStore};
use paas_core::ErrorKind;
use paas_core::conformance::store as suite;
use paas_core::port::{Change, ChangeStream, DocumentKey, Expect, ListOptions, Revision, Store, Txn, Write};
use paas_test_postgres::{Link, Postgres};
use serde_json::{Value, json};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_mins(1);

fn key(name: &str) -> DocumentKey {
    DocumentKey::new("thing", "", name)
}

fn put(name: &str, body: Value) -> Txn {
    let index = BTreeMap::from([("name".to_owned(), name.to_owned())]);
    Txn { expect: vec![], writes: vec![Write::Put { key: key(name), schema: 1, body, index }] }
}

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(&PostgresOptions::new(url).unwrap()).await.unwrap()
}

async fn next(feed: &mut ChangeStream) -> Change {
    timeout(PATIENCE, feed.next()).await.expect("a change arrives").expect("the feed goes on").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL's server"]
async fn postgres_store_conforms() {
    let postgres = Postgres::start().unwrap();
    suite::all(|| async { Arc::new(open(&postgres.database().unwrap()).await) as Arc<dyn Store> }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL's server"]
async fn servers_that_start_at_once_share_one_store_and_its_feed() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.database().unwrap();
    let stores = futures::future::join_all((0..4).map(|_| open(&url))).await;
    let mut feeds = Vec::new();
    for store in &stores {
        feeds.push(store.watch(Revision(0)).await.unwrap());
    }
    let commits = stores.iter().enumerate().flat_map(|(server, store)| {
        (0..25)
            .map(move |n| async move { store.commit(put(&format!("{server}-{n}"), json!(n))).await.unwrap() })
    });
    let mut revisions = futures::future::join_all(commits).await;
    revisions.sort();
    assert_eq!(revisions, (1..=100).map(Revision).collect::<Vec<_>>());
    let mut told = Vec::new();
    for feed in &mut feeds {
        let mut names = Vec::new();
        for revision in 1..=100 {
            let change = next(feed).await;
            assert_eq!(change.revision, Revision(revision));
            names.push(change.key.name);
        }
        told.push(names);
    }
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "everybody sees the same order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL's server"]
async fn a_counter_that_servers_share_loses_no_step_when_the_database_crashes() {
    let mut postgres = Postgres::start().unwrap();
    let url = postgres.database().unwrap();
    let stores = [open(&url).await, open(&url).await];
    stores[0].commit(put("counter", json!({ "at": 0, "by": [] }))).await.unwrap();
    let mut feed = stores[1].watch(Revision(1)).await.unwrap();
    let count = |server: usize, store: PostgresStore| async move {
        let mut done = 0_u32;
        while done < 40 {
            let Ok(Some(document)) = store.get(&key("counter")).await else { continue };
            let step = format!("{server}-{done}");
            let steps = document.body["by"].as_array().unwrap();
            if steps.contains(&json!(step)) {
                // It was done, and nobody could tell.
                done += 1;
                continue;
            }
            let by: Vec<Value> = steps.iter().cloned().chain([json!(step)]).collect();
            let mut txn = put("counter", json!({ "at": by.len(), "by": by }));
            txn.expect.push(Expect::Modified(key("counter"), document.modified));
            match store.commit(txn).await {
                Ok(_) => done += 1,
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    };
    let counting = [0, 1].map(|server| tokio::spawn(count(server, stores[server].clone())));
    tokio::time::sleep(Duration::from_millis(50)).await;
    postgres.crash().unwrap();
    for counting in counting {
        timeout(PATIENCE, counting).await.expect("it ends").unwrap();
    }
    let last = stores[0].get(&key("counter")).await.unwrap().unwrap();
    assert_eq!(last.body["at"], 80);
    let mut at = 0;
    while at < 80 {
        // A feed that failed is opened again where it stopped; nothing is told twice and nothing is left out.
        let Some(item) = timeout(PATIENCE, feed.next()).await.expect("a change arrives") else {
            feed = stores[1].watch(Revision(1 + at)).await.unwrap();
            continue;
        };
        let Ok(change) = item else { continue };
        at += 1;
        assert_eq!(change.document.unwrap().body["at"], at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL's server"]
async fn a_server_that_is_cut_off_in_a_commit_does_not_keep_others_from_theirs() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.database().unwrap();
    let link = Link::to(postgres.port()).await.unwrap();
    let (near, far) = (open(&url).await, open(&link.url(&url, postgres.port())).await);
    let mut feed = far.watch(Revision(0)).await.unwrap();
    near.commit(put("a", json!(1))).await.unwrap();
    assert_eq!(next(&mut feed).await.revision, Revision(1));

    // It is cut off while it commits one after the other, so that it may hold the lock.
    let busy = tokio::spawn({
        let far = far.clone();
        async move {
            let mut n = 0;
            loop {
                n += 1;
                if let Err(error) = far.commit(put("far", json!(n))).await {
                    return error;
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    link.set_open(false);
    let before = near.revision().await.unwrap();
    let committed =
        timeout(PATIENCE, near.commit(put("b", json!(2)))).await.expect("it commits in time").unwrap();
    assert!(committed > before);
    link.set_open(true);
    let error = timeout(PATIENCE, busy).await.expect("the one that was cut off learns of it").unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    // It goes on, and has missed nothing.
    let last = timeout(PATIENCE, async {
        loop {
            if let Ok(revision) = far.commit(put("far", json!("again"))).await {
                return revision;
            }
        }
    });
    let last = last.await.expect("it commits again");
    let mut seen = Revision(1);
    while seen < last {
        match timeout(PATIENCE, feed.next()).await.expect("a change arrives") {
            Some(Ok(change)) => {
                assert_eq!(change.revision.0, seen.0 + 1, "no gap");
                seen = change.revision;
            }
            _ => feed = far.watch(seen).await.unwrap(),
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL's server"]
async fn schemas_of_one_database_are_stores_of_their_own() {
    let postgres = Postgres::start().unwrap();
    let options = PostgresOptions::new(&postgres.database().unwrap()).unwrap();
    let first = PostgresStore::open(&options).await.unwrap();
    let second = PostgresStore::open(&options.with_schema("second").unwrap()).await.unwrap();
    first.commit(put("a", json!(1))).await.unwrap();
    assert_eq!(second.revision().await.unwrap(), Revision(0));
    assert_eq!(second.get(&key("a")).await.unwrap(), None);
    let options = ListOptions {
        kind: "thing".to_owned(),
        index: Some(("name".to_owned(), "a".to_owned())),
        ..ListOptions::default()
    };
    assert_eq!(first.list(&options).await.unwrap().documents.len(), 1);
    assert_eq!(second.list(&options).await.unwrap().documents.len(), 0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL's server"]
async fn what_cannot_be_opened_or_kept_is_refused_with_a_remedy() {
    let postgres = Postgres::start().unwrap();
    let url = postgres.database().unwrap();
    let store = open(&url).await;
    let error = store.commit(put("a\0b", json!(1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.report());

    let missing = PostgresOptions::new(&url.replace("/test0", "/nowhere")).unwrap();
    let error = PostgresStore::open(&missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    assert!(error.report().contains("createdb"), "{}", error.report());

    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::query("INSERT INTO paas.migration VALUES (99)").execute(&pool).await.unwrap();
    let error = PostgresStore::open(&PostgresOptions::new(&url).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", error.report());
}
