//! Who did what.

use paas_core::action::{AuditPage, PageOptions, ReadAudit};
use paas_core::port::Scope;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::extract::Query;
use super::operation::{Routes, get};
use crate::rest::page::{Cursor, Limit};
use crate::rest::scope::ScopeName;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// On what; the platform's own entries if absent.
    scope: Option<ScopeName>,
    /// At most so many items.
    limit: Option<Limit>,
    /// Where to go on: `next` of the page before.
    after: Option<Cursor>,
}

pub fn routes(routes: Routes) -> Routes {
    routes.add(
        get(
            "/audit",
            "audit",
            "readAudit",
            "Who did what, on which object, with what result; the newest first",
        )
        .query::<AuditQuery>()
        .gives::<AuditPage>(200, "A page of entries.")
        .fails(&[404, 422]),
        read,
    )
}

async fn read(caller: Caller, Query(query): Query<AuditQuery>) -> Outcome<AuditPage> {
    let page =
        PageOptions { limit: query.limit.map(|limit| limit.0), after: query.after.map(|cursor| cursor.0) };
    let scope = query.scope.map_or(Scope::Platform, |scope| scope.0);
    Ok(Answer::ok(caller.perform(ReadAudit { scope, page }).await?))
}
