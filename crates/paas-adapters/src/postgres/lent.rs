//! A connection for one operation, which may take so long and no longer.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use paas_core::{Error, ErrorKind, Result};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Postgres, Transaction};
use tokio::time::timeout;

use super::failure;

/// How long an operation may take: longer than the database itself allows a statement. A connection that is silent for so
/// long leads nowhere any more, and nobody tells.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that was lent for one operation. One whose operation was not brought to its end is closed, rather than given
/// back: what it would hear next is not known.
pub(super) struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    pub(super) async fn from(pool: &PgPool, operation: &'static str) -> Result<Self> {
        let connection = pool.acquire().await.map_err(|error| failure(operation, error))?;
        Ok(Self(Some(connection)))
    }

    /// Gives the connection back.
    pub(super) fn settle(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect("it is there until it is settled or dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("it is there until it is settled or dropped")
    }
}

/// Waits for an operation, but not for ever.
pub(super) async fn in_time<T>(operation: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(PATIENCE, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::new(ErrorKind::Unavailable, operation)
            .with_context("seconds", PATIENCE.as_secs())
            .with_remedy("The database does not answer: check it, and the network between.")),
    }
}

/// A transaction that reads one state of everything.
pub(super) async fn snapshot(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    use sqlx::Connection as _;
    connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
}
