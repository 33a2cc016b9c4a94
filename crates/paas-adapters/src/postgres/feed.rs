//! The feed, read from the table of changes.

use async_trait::async_trait;
use paas_core::port::{Change, Document, DocumentKey, FeedSource, Revision};
use paas_core::{Error, ErrorKind, Result};
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::lent::snapshot;
use super::{Shared, from_sql, schema_number, to_sql};

pub(super) fn compacted(floor: Revision) -> Error {
    Error::new(ErrorKind::Compacted, "read the feed").with_context("floor", floor)
}

fn change(row: &PgRow) -> sqlx::Result<Change> {
    let text = |column: &str| -> sqlx::Result<&str> { row.try_get(column) };
    let key = DocumentKey::new(text("kind")?, text("parent")?, text("name")?);
    let revision = from_sql(row.try_get("revision")?);
    let broken = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    let document = match row.try_get::<Option<&str>, _>("body")? {
        None => None,
        Some(body) => Some(Document {
            key: key.clone(),
            schema: schema_number(row)?,
            body: serde_json::from_str(body).map_err(broken)?,
            index: serde_json::from_str(text("labels")?).map_err(broken)?,
            created: from_sql(row.try_get("created")?),
            modified: revision,
        }),
    };
    Ok(Change { revision, key, document })
}

#[async_trait]
impl FeedSource for Shared {
    async fn read(&self, after: Revision, limit: usize) -> Result<Vec<Change>> {
        let read = async |connection: &mut PgConnection| {
            let mut transaction = snapshot(connection).await?;
            let row = sqlx::query("SELECT floor FROM meta").fetch_one(&mut *transaction).await?;
            let floor = from_sql(row.try_get(0)?);
            // Whole commits: up to the end of the commit in which the limit falls.
            let rows = sqlx::query(
                "SELECT * FROM change WHERE revision > $1 AND revision <= COALESCE(
                     (SELECT revision FROM change WHERE revision > $1 ORDER BY revision, position LIMIT 1 OFFSET $2),
                     9223372036854775807)
                 ORDER BY revision, position",
            )
            .bind(to_sql(after))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok((floor, rows.iter().map(change).collect::<sqlx::Result<Vec<_>>>()?))
        };
        let (floor, changes) = self.with("read the feed", read).await?;
        if after < floor { Err(compacted(floor)) } else { Ok(changes) }
    }
}
