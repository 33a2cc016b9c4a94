//! The tables, and how an older file gets the newer ones.

use std::path::Path;

use paas_core::port::Revision;
use paas_core::{Error, ErrorKind, Result};
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Row};

use super::{failure, from_sql};

/// The steps from an empty file to the present schema. A published step is never changed; new ones are added.
const STEPS: [&str; 1] = ["
    CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        revision INTEGER NOT NULL,
        floor INTEGER NOT NULL
    );
    INSERT INTO meta VALUES (0, 0, 0);
    CREATE TABLE document (
        kind TEXT NOT NULL,
        parent TEXT NOT NULL,
        name TEXT NOT NULL,
        schema INTEGER NOT NULL,
        body TEXT NOT NULL,
        labels TEXT NOT NULL,
        created INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        PRIMARY KEY (kind, parent, name)
    );
    CREATE TABLE label (
        kind TEXT NOT NULL,
        label TEXT NOT NULL,
        value TEXT NOT NULL,
        parent TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (kind, label, value, parent, name)
    ) WITHOUT ROWID;
    CREATE INDEX label_document ON label (kind, parent, name);
    CREATE TABLE change (
        revision INTEGER NOT NULL,
        position INTEGER NOT NULL,
        kind TEXT NOT NULL,
        parent TEXT NOT NULL,
        name TEXT NOT NULL,
        schema INTEGER,
        body TEXT,
        labels TEXT,
        created INTEGER,
        PRIMARY KEY (revision, position)
    );
"];

/// Where the store stands.
pub(super) struct Meta {
    /// The newest revision.
    pub(super) revision: Revision,
    /// The oldest revision that can be watched from.
    pub(super) floor: Revision,
}

pub(super) async fn meta(pool: &SqlitePool) -> sqlx::Result<Meta> {
    let row = sqlx::query("SELECT revision, floor FROM meta").fetch_one(pool).await?;
    Ok(Meta { revision: from_sql(row.try_get(0)?), floor: from_sql(row.try_get(1)?) })
}

/// Brings the file to the present schema, one transaction a step.
pub(super) async fn migrate(pool: &SqlitePool, path: &Path) -> Result<()> {
    let failed = |error| failure("prepare the store", error).with_context("file", path.display());
    let row = sqlx::query("PRAGMA user_version").fetch_one(pool).await.map_err(failed)?;
    let version: i64 = row.try_get(0).map_err(failed)?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    if done > STEPS.len() {
        return Err(Error::new(ErrorKind::Unsupported, "open the store")
            .with_context("file", path.display())
            .with_context("schema", version)
            .with_context("known", STEPS.len())
            .with_remedy(
                "A newer version of the platform wrote this file: run that version or a newer one.",
            ));
    }
    for (number, step) in STEPS.iter().enumerate().skip(done) {
        let mut transaction = pool.begin().await.map_err(failed)?;
        sqlx::raw_sql(*step).execute(&mut *transaction).await.map_err(failed)?;
        let mark = AssertSqlSafe(format!("PRAGMA user_version = {}", number + 1));
        sqlx::raw_sql(mark).execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}
