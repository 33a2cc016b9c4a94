//! Tokens.

use jiff::SignedDuration;
use paas_core::action::ListPage;
use paas_core::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::Deserialize;

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::extract::{JsonBody, Names, Query};
use super::operation::{Routes, delete, get, post};
use crate::rest::page::{Cursor, Limit};
use crate::rest::problem::Problem;
use crate::rest::token::{ActorId, NewToken, TokenMade, TokenView, WhoAmI};
use crate::server::accounts::{CreateToken, ListTokens, RevokeToken};
use crate::server::token::Token;

const TAG: &str = "tokens";

#[derive(Deserialize)]
pub struct Path {
    token: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensQuery {
    /// Only those of this actor; the caller's own if it is the caller, everybody's if absent.
    actor: Option<ActorId>,
    /// At most so many items.
    limit: Option<Limit>,
    /// Where to go on: `next` of the page before.
    after: Option<Cursor>,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(get("/whoami", TAG, "whoAmI", "Who the caller is").gives::<WhoAmI>(200, "The caller."), who_am_i)
        .add(
            get("/tokens", TAG, "listTokens", "Tokens, without their secrets")
                .query::<TokensQuery>()
                .gives::<ListPage<TokenView>>(200, "A page of tokens."),
            list,
        )
        .add(
            post("/tokens", TAG, "createToken", "Makes a token")
                .about("The answer is the only place where its secret is ever shown. It takes no idempotency key: a secret is not kept.")
                .without_key()
                .body::<NewToken>()
                .gives::<TokenMade>(201, "The token with its secret."),
            create,
        )
        .add(
            delete("/tokens/{token}", TAG, "revokeToken", "Makes a token invalid, at once")
                .gives_nothing(204, "It is gone."),
            revoke,
        )
}

async fn who_am_i(caller: Caller) -> Outcome<WhoAmI> {
    Ok(Answer::ok(WhoAmI {
        actor: caller.actor().to_owned(),
        token: caller.token().to_owned(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}

async fn list(caller: Caller, Query(query): Query<TokensQuery>) -> Outcome<ListPage<TokenView>> {
    let page = paas_core::action::PageOptions {
        limit: query.limit.map(|limit| limit.0),
        after: query.after.map(|cursor| cursor.0),
    };
    let action =
        ListTokens { actor: query.actor.map(|actor| actor.0), caller: caller.actor().to_owned(), page };
    Ok(Answer::ok(caller.perform(action).await?))
}

async fn create(caller: Caller, JsonBody(new): JsonBody<NewToken>) -> Outcome<TokenMade> {
    let token = Token::generate().map_err(|error| {
        Problem::from(Error::new(ErrorKind::Internal, "draw random bits for a token").with_source(error))
    })?;
    let action = CreateToken {
        caller: caller.actor().to_owned(),
        actor: new.actor.map_or_else(|| caller.actor().to_owned(), |actor| actor.0),
        description: new.description,
        expires_in: new.expires_in_seconds.map(|seconds| SignedDuration::from_secs(seconds.into())),
        id: token.id().to_owned(),
        hash: token.hash(),
    };
    let view = caller.perform(action).await?;
    Ok(Answer::ok(TokenMade { token: view, secret: token.reveal() }).created())
}

async fn revoke(caller: Caller, Names(path): Names<Path>) -> Outcome<()> {
    caller.perform(RevokeToken { id: path.token }).await?;
    Ok(Answer::nothing())
}
