//! A store in one SQLite file, for one process at a time.
//!
//! Commits go through one connection, reads through a few others. The file is in write-ahead mode and synced at each
//! commit, so that what was reported as done survives a loss of power.

mod feed;
mod list;
mod schema;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use paas_core::port::{
    ChangeStream, Document, DocumentKey, ListOptions, Page, Revision, Store, StoreLimits, Txn, follow_feed,
};
use paas_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, Sqlite};
use tokio::sync::watch;

/// Connections for reads.
const READERS: u32 = 4;
/// How many changes the feed keeps.
const KEEP: i64 = 20_000;

/// A store in one SQLite file.
///
/// Clones share the connections. Only one process may have the file open as a store: the feed tells only of the
/// commits of its own process.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    reader: SqlitePool,
    writer: SqlitePool,
    newest: watch::Sender<Revision>,
    limits: StoreLimits,
    keep: i64,
}

impl SqliteStore {
    /// Opens the store in the file at `path`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the file cannot be opened, [`ErrorKind::Unsupported`] if a newer version of this
    /// crate wrote it.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_keeping(path, KEEP).await
    }

    /// As [`SqliteStore::open`], with a feed that keeps at least `changes` changes.
    pub async fn open_keeping(path: impl AsRef<Path>, changes: i64) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let failed =
            |error: sqlx::Error| failure("open the store", error).with_context("file", path.display());
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(std::time::Duration::from_secs(10))
            .statement_cache_capacity(64)
            // In KiB if negative: 1 MiB a connection, so that the server stays small.
            .pragma("cache_size", "-1024")
            .pragma("journal_size_limit", "16777216");
        let pool = |connections: u32| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .min_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let writer = pool(1).connect_with(options.clone()).await.map_err(failed)?;
        schema::migrate(&writer, &path).await?;
        let reader = pool(READERS).connect_with(options).await.map_err(failed)?;
        let revision = schema::meta(&reader).await.map_err(failed)?.revision;
        let newest = watch::Sender::new(revision);
        let shared = Shared { path, reader, writer, newest, limits: StoreLimits::default(), keep: changes };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Finishes what is under way and closes the file. Later calls fail.
    pub async fn close(&self) {
        self.shared.writer.close().await;
        self.shared.reader.close().await;
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("file", &self.shared.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("file", &self.path).finish_non_exhaustive()
    }
}

/// An error of SQLite as the platform's own.
fn failure(operation: &'static str, error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let code = code.and_then(|code| code.parse::<u32>().ok());
    // The primary result code is the low byte of the extended one: https://sqlite.org/rescode.html
    let outcome = match code.map(|code| code & 0xff) {
        Some(13) => Error::new(ErrorKind::Unavailable, operation)
            .with_remedy("The disk is full: free some space, then try again."),
        Some(8 | 14) => Error::new(ErrorKind::Unavailable, operation)
            .with_remedy("The file cannot be written: check the permissions of the directory and the mount."),
        Some(11 | 26) => Error::new(ErrorKind::Internal, operation)
            .with_remedy("The file is damaged or is no database: restore it from a backup."),
        Some(_) => Error::new(ErrorKind::Unavailable, operation),
        None => match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Error::new(ErrorKind::Unavailable, operation),
            _ => Error::new(ErrorKind::Internal, operation),
        },
    };
    outcome.with_source(error)
}

/// A revision as SQLite keeps it. Revisions count commits, so they never reach 2^63.
fn to_sql(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn from_sql(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

fn document(row: &SqliteRow) -> sqlx::Result<Document> {
    let json = |column: &str| -> sqlx::Result<&str> { row.try_get(column) };
    let broken = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    Ok(Document {
        key: DocumentKey::new(json("kind")?, json("parent")?, json("name")?),
        schema: row.try_get("schema")?,
        body: serde_json::from_str(json("body")?).map_err(broken)?,
        index: serde_json::from_str(json("labels")?).map_err(broken)?,
        created: from_sql(row.try_get("created")?),
        modified: from_sql(row.try_get("modified")?),
    })
}

#[async_trait]
impl Store for SqliteStore {
    fn limits(&self) -> StoreLimits {
        self.shared.limits
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let row = sqlx::query::<Sqlite>("SELECT * FROM document WHERE kind = ? AND parent = ? AND name = ?")
            .bind(&key.kind)
            .bind(&key.parent)
            .bind(&key.name)
            .fetch_optional(&self.shared.reader)
            .await;
        row.and_then(|row| row.as_ref().map(document).transpose())
            .map_err(|error| failure("read a document", error).with_context("document", key))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page> {
        list::page(&self.shared.reader, options, self.shared.limits.page(options))
            .await
            .map_err(|error| failure("list documents", error).with_context("kind", &options.kind))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        self.shared.limits.check(&txn)?;
        let shared = self.shared.clone();
        // In a task of its own: a caller that goes away leaves the commit done or not done, and readers are told.
        let commit = tokio::spawn(async move {
            let revision = write::commit(&shared.writer, txn, shared.keep).await?;
            shared.newest.send_if_modified(|newest| {
                let moved = *newest < revision;
                *newest = revision.max(*newest);
                moved
            });
            Ok(revision)
        });
        commit
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "commit a transaction").with_source(error))?
    }

    async fn revision(&self) -> Result<Revision> {
        let meta = schema::meta(&self.shared.reader).await;
        Ok(meta.map_err(|error| failure("read the revision", error))?.revision)
    }

    async fn watch(&self, from: Revision) -> Result<ChangeStream> {
        let meta =
            schema::meta(&self.shared.reader).await.map_err(|error| failure("watch the feed", error))?;
        if from < meta.floor {
            return Err(feed::compacted(meta.floor));
        }
        let receiver = self.shared.newest.subscribe();
        Ok(follow_feed(self.shared.clone(), from, receiver))
    }

    async fn compact(&self, up_to: Revision) -> Result<()> {
        write::compact(&self.shared.writer, up_to).await.map_err(|error| failure("compact the feed", error))
    }
}

#[cfg(test)]
mod tests;
