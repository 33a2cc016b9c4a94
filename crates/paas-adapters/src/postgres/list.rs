//! Lists of documents, from indexes.

use paas_core::port::{ListOptions, Page};
use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder, Row as _};

use super::lent::snapshot;
use super::{document, from_sql};

/// The text after every text that begins with `prefix`, in bytewise order.
fn after_prefix(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

/// A page and the revision that it shows, from one snapshot.
pub(super) async fn page(
    connection: &mut PgConnection,
    options: &ListOptions,
    limit: usize,
) -> sqlx::Result<Page> {
    let mut query = query(options, limit);
    let mut transaction = snapshot(connection).await?;
    let meta = sqlx::query("SELECT revision FROM meta").fetch_one(&mut *transaction).await?;
    let rows = query.build().fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let more = rows.len() > limit;
    let documents = rows.iter().take(limit).map(document).collect::<sqlx::Result<Vec<_>>>()?;
    let next = if more { documents.last().map(|document| document.key.clone()) } else { None };
    Ok(Page { documents, next, revision: from_sql(meta.try_get(0)?) })
}

fn query(options: &ListOptions, limit: usize) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT d.* FROM ");
    match &options.index {
        Some((label, value)) => {
            query.push(
                "label l JOIN document d ON d.kind = l.kind AND d.parent = l.parent AND d.name = l.name",
            );
            query.push(" WHERE l.kind = ").push_bind(options.kind.clone());
            query.push(" AND l.label = ").push_bind(label.clone());
            // The hash is what the index holds; a value may be longer than an entry of it.
            query.push(" AND md5(l.value) = md5(").push_bind(value.clone());
            query.push(") AND l.value = ").push_bind(value.clone());
        }
        None => {
            query.push("document d WHERE d.kind = ").push_bind(options.kind.clone());
        }
    }
    if let Some(parent) = &options.parent {
        query.push(" AND d.parent = ").push_bind(parent.clone());
    }
    if let Some(prefix) = &options.parent_prefix {
        query.push(" AND d.parent >= ").push_bind(prefix.clone());
        query.push(" AND d.parent < ").push_bind(after_prefix(prefix));
    }
    if let Some(after) = &options.after {
        query.push(if options.descending {
            " AND (d.kind, d.parent, d.name) < ("
        } else {
            " AND (d.kind, d.parent, d.name) > ("
        });
        let mut parts = query.separated(", ");
        parts.push_bind(after.kind.clone()).push_bind(after.parent.clone()).push_bind(after.name.clone());
        query.push(")");
    }
    let order = if options.descending { " DESC" } else { "" };
    query.push(" ORDER BY d.parent").push(order).push(", d.name").push(order);
    query.push(" LIMIT ").push_bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
    query
}
