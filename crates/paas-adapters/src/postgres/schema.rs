//! The tables, and how an older database gets the newer ones.

use paas_core::port::Revision;
use paas_core::{Error, ErrorKind, Result};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Row as _};

use super::{failure, from_sql};

/// The steps from nothing to the present tables. A published step is never changed; new ones are added. Texts compare
/// bytewise (collation "C"), as keys sort. Bodies are texts, not `jsonb`: they read back as they were written.
const STEPS: [&str; 1] = [r#"
    CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        revision BIGINT NOT NULL,
        floor BIGINT NOT NULL
    );
    INSERT INTO meta VALUES (0, 0, 0);
    CREATE TABLE document (
        kind TEXT COLLATE "C" NOT NULL,
        parent TEXT COLLATE "C" NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        schema BIGINT NOT NULL,
        body TEXT NOT NULL,
        labels TEXT NOT NULL,
        created BIGINT NOT NULL,
        modified BIGINT NOT NULL,
        PRIMARY KEY (kind, parent, name)
    );
    CREATE TABLE label (
        kind TEXT COLLATE "C" NOT NULL,
        label TEXT COLLATE "C" NOT NULL,
        value TEXT COLLATE "C" NOT NULL,
        parent TEXT COLLATE "C" NOT NULL,
        name TEXT COLLATE "C" NOT NULL
    );
    CREATE INDEX label_value ON label (kind, label, md5(value), parent, name);
    CREATE INDEX label_document ON label (kind, parent, name);
    CREATE TABLE change (
        revision BIGINT NOT NULL,
        position BIGINT NOT NULL,
        kind TEXT COLLATE "C" NOT NULL,
        parent TEXT COLLATE "C" NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        schema BIGINT,
        body TEXT,
        labels TEXT,
        created BIGINT,
        PRIMARY KEY (revision, position)
    );
"#];

/// Keeps two servers that start at once from making the tables twice.
const MIGRATION_LOCK: i64 = 0x7061_6173;

/// Where the store stands.
pub(super) struct Meta {
    /// The newest revision.
    pub(super) revision: Revision,
    /// The oldest revision that can be watched from.
    pub(super) floor: Revision,
}

pub(super) async fn meta(connection: &mut PgConnection) -> sqlx::Result<Meta> {
    let row = sqlx::query("SELECT revision, floor FROM meta").fetch_one(connection).await?;
    Ok(Meta { revision: from_sql(row.try_get(0)?), floor: from_sql(row.try_get(1)?) })
}

/// Brings the tables to the present state, in one transaction. `schema` is a plain name.
pub(super) async fn migrate(pool: &PgPool, schema: &str, place: &str) -> Result<()> {
    let failed = |error| failure("prepare the store", error).with_context("database", place);
    let mut transaction = pool.begin().await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(MIGRATION_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let exists = sqlx::query("SELECT to_regclass($1) IS NOT NULL").bind(format!("{schema}.migration"));
    let exists: bool =
        exists.fetch_one(&mut *transaction).await.and_then(|row| row.try_get(0)).map_err(failed)?;
    if !exists {
        let make = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema}; CREATE TABLE {schema}.migration (step BIGINT PRIMARY KEY)"
        );
        sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *transaction).await.map_err(failed)?;
    }
    let done = sqlx::query("SELECT COALESCE(MAX(step), 0) FROM migration").fetch_one(&mut *transaction).await;
    let done: i64 = done.and_then(|row| row.try_get(0)).map_err(failed)?;
    let done = usize::try_from(done).unwrap_or(usize::MAX);
    if done > STEPS.len() {
        return Err(Error::new(ErrorKind::Unsupported, "open the store")
            .with_context("database", place)
            .with_context("schema", done)
            .with_context("known", STEPS.len())
            .with_remedy(
                "A newer version of the platform made these tables: run that version or a newer one.",
            ));
    }
    for (number, step) in (1_i64..).zip(STEPS).skip(done) {
        sqlx::raw_sql(step).execute(&mut *transaction).await.map_err(failed)?;
        let mark = sqlx::query("INSERT INTO migration VALUES ($1)").bind(number);
        mark.execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}
