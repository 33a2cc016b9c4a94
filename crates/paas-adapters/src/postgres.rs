//! A store in a PostgreSQL database, for any number of servers.
//!
//! Every commit locks the one row of the table `meta` before it looks at anything else: commits happen one after the other,
//! and the revision that it counts up is their order. Readers never wait for it. A commit tells of itself by `NOTIFY`;
//! a connection of its own listens, and asks for the newest revision whenever it could have missed something.

mod feed;
mod lent;
mod list;
mod listen;
mod options;
mod schema;
mod write;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use paas_core::port::{
    ChangeStream, Document, DocumentKey, ListOptions, Page, Revision, Store, StoreLimits, Txn, follow_feed,
};
use paas_core::{Error, ErrorKind, Fault, Result};
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use tokio::sync::watch;

use self::lent::{Lent, in_time};

pub use options::PostgresOptions;

/// A store in a PostgreSQL database.
///
/// Clones share the connections. Any number of processes may have the database open as a store: what one commits, the feed
/// of all tells. PostgreSQL 13 or newer is needed.
///
/// PostgreSQL keeps no character U+0000 in its texts: a key or an index value that has one is refused.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where, without a password.
    place: String,
    pool: PgPool,
    newest: watch::Sender<Revision>,
    limits: StoreLimits,
    keep: i64,
}

impl PostgresStore {
    /// Opens the store, whose tables are made if they do not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the options do not describe a database, [`ErrorKind::Unavailable`] if it cannot be reached
    /// or refuses the user, [`ErrorKind::Unsupported`] if a newer version of this crate made the tables.
    pub async fn open(options: &PostgresOptions) -> Result<Self> {
        let place = options.place();
        let pool = options.pool().await.map_err(|error| error.with_context("database", &place))?;
        schema::migrate(&pool, options.schema(), &place).await?;
        let (newest, limits) = (watch::Sender::default(), StoreLimits::default());
        let shared = Arc::new(Shared { place, pool, newest, limits, keep: options.keep() });
        let meta = shared.meta("open the store").await;
        let meta = meta.map_err(|error| error.with_context("database", &shared.place))?;
        shared.tell(meta.revision);
        listen::start(&shared, options.schema()).await?;
        Ok(Self { shared })
    }

    /// Finishes what is under way and closes the connections. Later calls fail.
    pub async fn close(&self) {
        self.shared.pool.close().await;
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("database", &self.place).finish_non_exhaustive()
    }
}

impl Shared {
    /// Does something with a connection, in time.
    async fn with<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T> {
        let whole = async {
            let mut connection = Lent::from(&self.pool, operation).await?;
            let outcome = work(&mut connection).await;
            connection.settle();
            outcome.map_err(|error| failure(operation, error))
        };
        in_time(operation, whole).await
    }

    /// Where the store stands.
    async fn meta(&self, operation: &'static str) -> Result<schema::Meta> {
        self.with(operation, schema::meta).await
    }

    /// Tells readers in this process of a commit.
    fn tell(&self, revision: Revision) {
        self.newest.send_if_modified(|newest| {
            let moved = *newest < revision;
            *newest = revision.max(*newest);
            moved
        });
    }
}

/// An error of PostgreSQL as the platform's own.
fn failure(operation: &'static str, error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let code = code.as_deref().unwrap_or_default();
    // Classes of https://www.postgresql.org/docs/current/errcodes-appendix.html
    let outcome = match code.get(..2).unwrap_or_default() {
        "53" if code == "53100" => Error::new(ErrorKind::Unavailable, operation)
            .with_remedy("The database's disk is full: free some space, then try again."),
        "53" if code == "53300" => Error::new(ErrorKind::Unavailable, operation).with_remedy(
            "The database has too many connections: raise max_connections, or give each server fewer.",
        ),
        "28" => Error::new(ErrorKind::Unavailable, operation)
            .with_remedy("The database refuses the user or the password: check both, and pg_hba.conf."),
        "3D" => Error::new(ErrorKind::Unavailable, operation)
            .with_remedy("There is no such database: make it with createdb, or name another."),
        "42" if code == "42501" => Error::new(ErrorKind::Unavailable, operation)
            .with_remedy("The user may not do that: make it the owner of the schema."),
        // Lost connections, no resources, an operator's intervention, deadlocks and time-outs: it may go well again.
        "08" | "53" | "55" | "57" | "58" | "40" | "25" => Error::new(ErrorKind::Unavailable, operation),
        "" => match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Error::new(ErrorKind::Unavailable, operation),
            _ => Error::new(ErrorKind::Internal, operation),
        },
        _ => Error::new(ErrorKind::Internal, operation),
    };
    outcome.with_source(error)
}

/// A revision as PostgreSQL keeps it. Revisions count commits, so they never reach 2^63.
fn to_sql(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn from_sql(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

fn document(row: &PgRow) -> sqlx::Result<Document> {
    let text = |column: &str| -> sqlx::Result<&str> { row.try_get(column) };
    let broken = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    Ok(Document {
        key: DocumentKey::new(text("kind")?, text("parent")?, text("name")?),
        schema: schema_number(row)?,
        body: serde_json::from_str(text("body")?).map_err(broken)?,
        index: serde_json::from_str(text("labels")?).map_err(broken)?,
        created: from_sql(row.try_get("created")?),
        modified: from_sql(row.try_get("modified")?),
    })
}

fn schema_number(row: &PgRow) -> sqlx::Result<u32> {
    let number: i64 = row.try_get("schema")?;
    u32::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// PostgreSQL's texts hold every character but one.
fn check_texts(txn: &Txn) -> Result<()> {
    use paas_core::port::Write;
    for (i, write) in txn.writes.iter().enumerate() {
        let key = write.key();
        let index = match write {
            Write::Put { index, .. } => Some(index),
            _ => None,
        };
        let index = index.into_iter().flatten().flat_map(|(name, value)| [name, value]);
        if [&key.kind, &key.parent, &key.name].into_iter().chain(index).any(|text| text.contains('\0')) {
            let message =
                "the key or the index has the character U+0000, which PostgreSQL cannot keep; leave it out";
            return Err(Error::invalid(
                "commit a transaction",
                vec![Fault::new(format!("writes[{i}]"), message)],
            ));
        }
    }
    Ok(())
}

#[async_trait]
impl Store for PostgresStore {
    fn limits(&self) -> StoreLimits {
        self.shared.limits
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let read = async |connection: &mut PgConnection| {
            let row = sqlx::query("SELECT * FROM document WHERE kind = $1 AND parent = $2 AND name = $3")
                .bind(&key.kind)
                .bind(&key.parent)
                .bind(&key.name)
                .fetch_optional(connection)
                .await?;
            row.as_ref().map(document).transpose()
        };
        let outcome = self.shared.with("read a document", read).await;
        outcome.map_err(|error| error.with_context("document", key))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page> {
        let limit = self.shared.limits.page(options);
        let page = async |connection: &mut PgConnection| list::page(connection, options, limit).await;
        let outcome = self.shared.with("list documents", page).await;
        outcome.map_err(|error| error.with_context("kind", &options.kind))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        const OPERATION: &str = "commit a transaction";
        self.shared.limits.check(&txn)?;
        check_texts(&txn)?;
        let shared = Arc::clone(&self.shared);
        // In a task of its own: a caller that goes away leaves the commit done or not done, and readers are told.
        let commit = tokio::spawn(async move {
            let revision = in_time(OPERATION, async {
                let mut connection = Lent::from(&shared.pool, OPERATION).await?;
                let outcome = write::commit(&mut connection, txn, shared.keep).await;
                connection.settle();
                outcome
            });
            let revision = revision.await?;
            shared.tell(revision);
            Ok(revision)
        });
        commit.await.map_err(|error| Error::new(ErrorKind::Internal, OPERATION).with_source(error))?
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(self.shared.meta("read the revision").await?.revision)
    }

    async fn watch(&self, from: Revision) -> Result<ChangeStream> {
        let meta = self.shared.meta("watch the feed").await?;
        if from < meta.floor {
            return Err(feed::compacted(meta.floor));
        }
        // What others committed a moment ago is there, whether they have told of it yet or not.
        self.shared.tell(meta.revision);
        let receiver = self.shared.newest.subscribe();
        Ok(follow_feed(Arc::clone(&self.shared), from, receiver))
    }

    async fn compact(&self, up_to: Revision) -> Result<()> {
        let compact = async |connection: &mut PgConnection| write::compact(connection, up_to).await;
        self.shared.with("compact the feed", compact).await
    }
}
