//! Transactions: expectations checked and writes made at one revision, on the one connection that writes.

use paas_core::port::{DocumentKey, Revision, Txn, Write};
use paas_core::{Error, ErrorKind, Result};
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection as _, Row, Sqlite, SqliteConnection, Transaction};

use super::{failure, from_sql, to_sql};

/// After how many commits old changes are looked for.
const COMPACT_EVERY: i64 = 500;

pub(super) async fn commit(pool: &SqlitePool, txn: Txn, keep: i64) -> Result<Revision> {
    let mut connection = pool.acquire().await.map_err(failed)?;
    let outcome = transact(&mut connection, txn, keep).await;
    if outcome.as_ref().is_err_and(is_of_the_database) {
        // After some errors, such as that of a full disk, SQLite has ended the transaction by itself, and the connection
        // goes on counting it: the next commit gets another one.
        let _ = connection.close().await;
    }
    outcome
}

/// Whether it was the database that failed, and not an expectation of the transaction.
fn is_of_the_database(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Internal)
}

async fn transact(connection: &mut SqliteConnection, txn: Txn, keep: i64) -> Result<Revision> {
    let mut transaction = begin(connection).await.map_err(failed)?;
    for expect in &txn.expect {
        let existing = existing(&mut transaction, expect.key()).await.map_err(failed)?;
        expect.check(existing.map(|existing| existing.modified))?;
    }
    let row = sqlx::query("SELECT revision FROM meta").fetch_one(&mut *transaction).await.map_err(failed)?;
    let current: i64 = row.try_get(0).map_err(failed)?;
    let revision = current + 1;
    let mut position = 0_i64;
    for write in &txn.writes {
        if apply(&mut transaction, write, revision, position).await.map_err(failed)? {
            position += 1;
        }
    }
    if position == 0 {
        // Nothing changed: the transaction rolls back when it is dropped.
        return Ok(from_sql(current));
    }
    let advance = sqlx::query("UPDATE meta SET revision = ?").bind(revision);
    advance.execute(&mut *transaction).await.map_err(failed)?;
    if revision % COMPACT_EVERY == 0 {
        give_up_old(&mut transaction, keep).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(from_sql(revision))
}

fn failed(error: sqlx::Error) -> Error {
    failure("commit a transaction", error)
}

/// A transaction that holds the right to write from its beginning, so that it cannot fail for it later.
async fn begin(connection: &mut SqliteConnection) -> sqlx::Result<Transaction<'_, Sqlite>> {
    connection.begin_with("BEGIN IMMEDIATE").await
}

struct Existing {
    created: i64,
    modified: Revision,
}

async fn existing(connection: &mut SqliteConnection, key: &DocumentKey) -> sqlx::Result<Option<Existing>> {
    let row =
        sqlx::query("SELECT created, modified FROM document WHERE kind = ? AND parent = ? AND name = ?")
            .bind(&key.kind)
            .bind(&key.parent)
            .bind(&key.name)
            .fetch_optional(connection)
            .await?;
    row.map(|row| Ok(Existing { created: row.try_get(0)?, modified: from_sql(row.try_get(1)?) })).transpose()
}

/// Makes one write; tells whether anything changed.
async fn apply(
    connection: &mut SqliteConnection,
    write: &Write,
    revision: i64,
    position: i64,
) -> sqlx::Result<bool> {
    let key = write.key();
    let existing = existing(connection, key).await?;
    if existing.is_some() {
        sqlx::query("DELETE FROM label WHERE kind = ? AND parent = ? AND name = ?")
            .bind(&key.kind)
            .bind(&key.parent)
            .bind(&key.name)
            .execute(&mut *connection)
            .await?;
    }
    match write {
        Write::Put { schema, body, index, .. } => {
            let created = existing.map_or(revision, |existing| existing.created);
            let body = body.to_string();
            let labels = serde_json::to_string(index).map_err(|error| sqlx::Error::Encode(error.into()))?;
            sqlx::query("INSERT OR REPLACE INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(&key.kind)
                .bind(&key.parent)
                .bind(&key.name)
                .bind(i64::from(*schema))
                .bind(&body)
                .bind(&labels)
                .bind(created)
                .bind(revision)
                .execute(&mut *connection)
                .await?;
            for (label, value) in index {
                sqlx::query("INSERT INTO label VALUES (?, ?, ?, ?, ?)")
                    .bind(&key.kind)
                    .bind(label)
                    .bind(value)
                    .bind(&key.parent)
                    .bind(&key.name)
                    .execute(&mut *connection)
                    .await?;
            }
            sqlx::query("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(revision)
                .bind(position)
                .bind(&key.kind)
                .bind(&key.parent)
                .bind(&key.name)
                .bind(i64::from(*schema))
                .bind(&body)
                .bind(&labels)
                .bind(created)
                .execute(connection)
                .await?;
            Ok(true)
        }
        Write::Delete { .. } => {
            if existing.is_none() {
                return Ok(false);
            }
            sqlx::query("DELETE FROM document WHERE kind = ? AND parent = ? AND name = ?")
                .bind(&key.kind)
                .bind(&key.parent)
                .bind(&key.name)
                .execute(&mut *connection)
                .await?;
            sqlx::query("INSERT INTO change (revision, position, kind, parent, name) VALUES (?, ?, ?, ?, ?)")
                .bind(revision)
                .bind(position)
                .bind(&key.kind)
                .bind(&key.parent)
                .bind(&key.name)
                .execute(connection)
                .await?;
            Ok(true)
        }
        other => Err(sqlx::Error::Protocol(format!("unknown write {other:?}"))),
    }
}

/// Gives up the oldest changes beyond `keep` of them, whole commits at a time.
async fn give_up_old(connection: &mut SqliteConnection, keep: i64) -> sqlx::Result<()> {
    let oldest_kept = "SELECT revision FROM change ORDER BY revision DESC, position DESC LIMIT 1 OFFSET ?";
    let row = sqlx::query(oldest_kept).bind(keep).fetch_optional(&mut *connection).await?;
    match row {
        Some(row) => give_up(connection, row.try_get(0)?).await,
        None => Ok(()),
    }
}

async fn give_up(connection: &mut SqliteConnection, up_to: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM change WHERE revision <= ?").bind(up_to).execute(&mut *connection).await?;
    let raise = "UPDATE meta SET floor = MAX(floor, MIN(?, revision))";
    sqlx::query(raise).bind(up_to).execute(connection).await?;
    Ok(())
}

pub(super) async fn compact(pool: &SqlitePool, up_to: Revision) -> sqlx::Result<()> {
    let mut connection = pool.acquire().await?;
    let work = async {
        let mut transaction = begin(&mut connection).await?;
        give_up(&mut transaction, to_sql(up_to)).await?;
        transaction.commit().await
    };
    let outcome = work.await;
    if outcome.is_err() {
        let _ = connection.close().await;
    }
    outcome
}
