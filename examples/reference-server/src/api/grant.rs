//! Who has which role.

use paas_core::action::{GrantRole, ListGrants, ListPage, PageOptions, RevokeGrant, Versioned};
use paas_core::engine::Grant;
use schemars::JsonSchema;
use serde::Deserialize;

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::extract::{JsonBody, Query};
use super::operation::{Routes, delete, get, put};
use crate::rest::grant::NewGrant;
use crate::rest::page::{Cursor, Limit};
use crate::rest::scope::ScopeName;
use crate::rest::token::ActorId;

const TAG: &str = "roles";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantsQuery {
    /// On what exactly.
    scope: ScopeName,
    /// At most so many items.
    limit: Option<Limit>,
    /// Where to go on: `next` of the page before.
    after: Option<Cursor>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeQuery {
    /// Whose role.
    actor: ActorId,
    /// On what.
    scope: ScopeName,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get("/grants", TAG, "listGrants", "Who has a role on exactly this scope")
                .query::<GrantsQuery>()
                .gives::<ListPage<Versioned<Grant>>>(200, "A page of roles.")
                .fails(&[404, 422]),
            list,
        )
        .add(
            put(
                "/grants",
                TAG,
                "grantRole",
                "Gives a role, in place of the one that the actor had on the scope",
            )
            .body::<NewGrant>()
            .gives::<Versioned<Grant>>(200, "The role."),
            grant,
        )
        .add(
            delete("/grants", TAG, "revokeRole", "Takes a role away")
                .query::<RevokeQuery>()
                .gives_nothing(204, "It is gone."),
            revoke,
        )
}

async fn list(caller: Caller, Query(query): Query<GrantsQuery>) -> Outcome<ListPage<Versioned<Grant>>> {
    let page =
        PageOptions { limit: query.limit.map(|limit| limit.0), after: query.after.map(|cursor| cursor.0) };
    Ok(Answer::ok(caller.perform(ListGrants { scope: query.scope.0, page }).await?))
}

async fn grant(caller: Caller, JsonBody(new): JsonBody<NewGrant>) -> Outcome<Versioned<Grant>> {
    let action = GrantRole { actor: new.actor.0, role: new.role, scope: new.scope.0 };
    Ok(Answer::versioned(caller.perform(action).await?))
}

async fn revoke(caller: Caller, Query(query): Query<RevokeQuery>) -> Outcome<()> {
    caller.perform(RevokeGrant { actor: query.actor.0, scope: query.scope.0 }).await?;
    Ok(Answer::nothing())
}
