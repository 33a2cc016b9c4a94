//! Transactions: expectations checked and writes made at one revision, by whoever holds the lock of the row `meta`.

use std::collections::HashMap;

use paas_core::port::{DocumentKey, Expect, Revision, Txn, Write};
use paas_core::{Error, Result};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::{failure, from_sql, to_sql};

/// After how many commits old changes are looked for.
const COMPACT_EVERY: i64 = 500;

/// What is known of a document that exists: the commits that made it and last wrote it.
struct Existing {
    created: i64,
    modified: Revision,
}

pub(super) async fn commit(connection: &mut PgConnection, txn: Txn, keep: i64) -> Result<Revision> {
    // Each statement sees what was committed before it, so that nothing is looked at before the lock is held. A transaction
    // that is dropped rolls back.
    let mut transaction =
        connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(failed)?;
    let current = lock(&mut transaction).await.map_err(failed)?;
    let existing = existing(&mut transaction, &txn).await.map_err(failed)?;
    for expect in &txn.expect {
        expect.check(existing.get(expect.key()).map(|existing| existing.modified))?;
    }
    let effective = |write: &&Write| matches!(write, Write::Put { .. }) || existing.contains_key(write.key());
    let writes: Vec<&Write> = txn.writes.iter().filter(effective).collect();
    if writes.is_empty() {
        return Ok(from_sql(current));
    }
    let revision = current + 1;
    apply(&mut transaction, &writes, &existing, revision).await.map_err(failed)?;
    if revision % COMPACT_EVERY == 0 {
        give_up_old(&mut transaction, keep).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(from_sql(revision))
}

fn failed(error: sqlx::Error) -> Error {
    failure("commit a transaction", error)
}

/// Waits for the right to commit, and returns the newest revision.
async fn lock(connection: &mut PgConnection) -> sqlx::Result<i64> {
    let row = sqlx::query("SELECT revision FROM meta FOR UPDATE").fetch_one(connection).await?;
    row.try_get(0)
}

/// The keys of some documents, a column each.
#[derive(Default)]
struct Keys<'a> {
    kinds: Vec<&'a str>,
    parents: Vec<&'a str>,
    names: Vec<&'a str>,
}

impl<'a> FromIterator<&'a DocumentKey> for Keys<'a> {
    fn from_iter<T: IntoIterator<Item = &'a DocumentKey>>(keys: T) -> Self {
        let mut columns = Self::default();
        for key in keys {
            columns.kinds.push(&key.kind);
            columns.parents.push(&key.parent);
            columns.names.push(&key.name);
        }
        columns
    }
}

/// The documents that exist, of those that a transaction looks at or writes.
async fn existing(connection: &mut PgConnection, txn: &Txn) -> sqlx::Result<HashMap<DocumentKey, Existing>> {
    let looked_at = txn.expect.iter().map(Expect::key).chain(txn.writes.iter().map(Write::key));
    // PostgreSQL refuses a text with U+0000; there is no document of such a name.
    let plain =
        |key: &&DocumentKey| ![&key.kind, &key.parent, &key.name].iter().any(|text| text.contains('\0'));
    let keys: Keys<'_> = looked_at.filter(plain).collect();
    let rows = sqlx::query(
        "SELECT DISTINCT kind, parent, name, created, modified FROM document
         JOIN UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS k (kind, parent, name) USING (kind, parent, name)",
    )
    .bind(keys.kinds)
    .bind(keys.parents)
    .bind(keys.names)
    .fetch_all(connection)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let text = |column: &str| -> sqlx::Result<&str> { row.try_get(column) };
        let key = DocumentKey::new(text("kind")?, text("parent")?, text("name")?);
        let existing =
            Existing { created: row.try_get("created")?, modified: from_sql(row.try_get("modified")?) };
        found.insert(key, existing);
    }
    Ok(found)
}

/// Makes the writes: a statement for each table, however many documents there are.
async fn apply(
    connection: &mut PgConnection,
    writes: &[&Write],
    existing: &HashMap<DocumentKey, Existing>,
    revision: i64,
) -> sqlx::Result<()> {
    let known: Keys<'_> =
        writes.iter().map(|write| write.key()).filter(|key| existing.contains_key(key)).collect();
    if !known.kinds.is_empty() {
        for table in ["label", "document"] {
            let delete = format!(
                "DELETE FROM {table} t USING UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[]) AS k (kind, parent, name)
                 WHERE t.kind = k.kind AND t.parent = k.parent AND t.name = k.name"
            );
            sqlx::query(sqlx::AssertSqlSafe(delete))
                .bind(&known.kinds)
                .bind(&known.parents)
                .bind(&known.names)
                .execute(&mut *connection)
                .await?;
        }
    }
    record(connection, writes, existing, revision).await?;
    sqlx::query(
        "INSERT INTO document SELECT kind, parent, name, schema, body, labels, created, revision
         FROM change WHERE revision = $1 AND body IS NOT NULL",
    )
    .bind(revision)
    .execute(&mut *connection)
    .await?;
    label(connection, writes).await?;
    sqlx::query("UPDATE meta SET revision = $1").bind(revision).execute(&mut *connection).await?;
    // It is told when the transaction has committed, and not otherwise.
    sqlx::query("SELECT pg_notify('paas:' || current_schema(), $1)")
        .bind(revision.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Records the changes, in the order of the writes.
async fn record(
    connection: &mut PgConnection,
    writes: &[&Write],
    existing: &HashMap<DocumentKey, Existing>,
    revision: i64,
) -> sqlx::Result<()> {
    let keys: Keys<'_> = writes.iter().map(|write| write.key()).collect();
    let (mut schemas, mut bodies, mut labels, mut created) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for write in writes {
        match write {
            Write::Put { key, schema, body, index } => {
                let index =
                    serde_json::to_string(index).map_err(|error| sqlx::Error::Encode(error.into()))?;
                schemas.push(Some(i64::from(*schema)));
                bodies.push(Some(body.to_string()));
                labels.push(Some(index));
                created.push(Some(existing.get(key).map_or(revision, |existing| existing.created)));
            }
            Write::Delete { .. } => {
                schemas.push(None);
                bodies.push(None);
                labels.push(None);
                created.push(None);
            }
            other => return Err(sqlx::Error::Protocol(format!("unknown write {other:?}"))),
        }
    }
    sqlx::query(
        "INSERT INTO change (revision, position, kind, parent, name, schema, body, labels, created)
         SELECT $1, position, kind, parent, name, schema, body, labels, created
         FROM UNNEST($2::TEXT[], $3::TEXT[], $4::TEXT[], $5::BIGINT[], $6::TEXT[], $7::TEXT[], $8::BIGINT[])
         WITH ORDINALITY AS c (kind, parent, name, schema, body, labels, created, position)",
    )
    .bind(revision)
    .bind(keys.kinds)
    .bind(keys.parents)
    .bind(keys.names)
    .bind(schemas)
    .bind(bodies)
    .bind(labels)
    .bind(created)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the values that documents are found by.
async fn label(connection: &mut PgConnection, writes: &[&Write]) -> sqlx::Result<()> {
    let entries: Vec<(&DocumentKey, &str, &str)> = writes
        .iter()
        .filter_map(|write| match write {
            Write::Put { key, index, .. } => Some((key, index)),
            _ => None,
        })
        .flat_map(|(key, index)| {
            index.iter().map(move |(label, value)| (key, label.as_str(), value.as_str()))
        })
        .collect();
    if entries.is_empty() {
        return Ok(());
    }
    let keys: Keys<'_> = entries.iter().map(|(key, ..)| *key).collect();
    let (labels, values): (Vec<&str>, Vec<&str>) =
        entries.iter().map(|(_, label, value)| (*label, *value)).unzip();
    sqlx::query(
        "INSERT INTO label (kind, parent, name, label, value)
         SELECT * FROM UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[])",
    )
    .bind(keys.kinds)
    .bind(keys.parents)
    .bind(keys.names)
    .bind(labels)
    .bind(values)
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives up the oldest changes beyond `keep` of them, whole commits at a time.
async fn give_up_old(connection: &mut PgConnection, keep: i64) -> sqlx::Result<()> {
    let oldest_kept = "SELECT revision FROM change ORDER BY revision DESC, position DESC LIMIT 1 OFFSET $1";
    let row = sqlx::query(oldest_kept).bind(keep).fetch_optional(&mut *connection).await?;
    match row {
        Some(row) => give_up(connection, row.try_get(0)?).await,
        None => Ok(()),
    }
}

async fn give_up(connection: &mut PgConnection, up_to: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM change WHERE revision <= $1").bind(up_to).execute(&mut *connection).await?;
    let raise = "UPDATE meta SET floor = GREATEST(floor, LEAST($1, revision))";
    sqlx::query(raise).bind(up_to).execute(connection).await?;
    Ok(())
}

pub(super) async fn compact(connection: &mut PgConnection, up_to: Revision) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    lock(&mut transaction).await?;
    give_up(&mut transaction, to_sql(up_to)).await?;
    transaction.commit().await
}
