//! Tokens in the store: found by callers, and made, listed and revoked by actions of our own.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use paas_core::action::{Action, Effect, ListPage, PageOptions, Work};
use paas_core::engine::{Collections, Record as _};
use paas_core::port::{ListOptions, Permission, Scope, Store};
use paas_core::tenancy::{Actor, permissions};
use paas_core::{Clock, Error, Fault, Result};
use serde_json::{Value, json};

use super::token::{Token, TokenRecord};
use crate::rest::token::TokenView;

/// The longest description of a token, in characters.
const DESCRIPTION_MAX: usize = 200;

/// How long a token may be valid: ten years at most.
const LIFETIME_SECONDS: std::ops::RangeInclusive<i64> = 1..=315_360_000;

/// Finds tokens.
#[derive(Debug, Clone)]
pub struct Accounts {
    collections: Collections,
    clock: Arc<dyn Clock>,
}

impl Accounts {
    /// The tokens in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { collections: Collections::new(store), clock }
    }

    /// The record of a token, if it is valid now.
    pub async fn find(&self, token: &Token) -> Result<Option<TokenRecord>> {
        let stored = self.collections.get::<TokenRecord>(&TokenRecord::key_of(token.id())).await?;
        let now = self.clock.now();
        Ok(stored.map(|stored| stored.value).filter(|record| record.admits(token, now)))
    }

    /// The tokens of somebody that were made with this description.
    pub async fn described(&self, actor: &str, description: &str) -> Result<Vec<TokenRecord>> {
        let options = ListOptions {
            kind: TokenRecord::KIND.to_owned(),
            parent: Some(String::new()),
            index: Some(("actor".to_owned(), actor.to_owned())),
            ..ListOptions::default()
        };
        let all = self.collections.all::<TokenRecord>(options).await?;
        let fits = |record: &TokenRecord| record.view.description == description;
        Ok(all.into_iter().map(|stored| stored.value).filter(fits).collect())
    }

    /// Whether there is any token: if not, the server starts for the first time.
    pub async fn any(&self) -> Result<bool> {
        let options =
            ListOptions { kind: TokenRecord::KIND.to_owned(), limit: Some(1), ..ListOptions::default() };
        Ok(!self.collections.page::<TokenRecord>(options).await?.items.is_empty())
    }
}

/// Who acts under an identity such as `user:alice`.
pub fn actor(id: &str) -> Actor {
    match id.split_once(':') {
        Some(("service", name)) => Actor::service(name),
        Some((_, name)) => Actor::user(name),
        None => Actor::user(id),
    }
}

/// Stores a token. Everybody may make tokens of their own.
#[derive(Debug)]
pub struct CreateToken {
    /// Who asks.
    pub caller: String,
    /// Whose it will be.
    pub actor: String,
    /// What it is for.
    pub description: String,
    /// How long it is valid.
    pub expires_in: Option<SignedDuration>,
    /// The id.
    pub id: String,
    /// The hash of the secret.
    pub hash: String,
}

#[async_trait]
impl Action for CreateToken {
    type Output = TokenView;
    const NAME: &'static str = "token.create";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::PLATFORM_ADMINISTER
    }

    fn scope(&self) -> Scope {
        Scope::Platform
    }

    fn is_filtered(&self) -> bool {
        self.caller == self.actor
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        let seconds = self.expires_in.map(|span| span.as_secs());
        if let Some(seconds) = seconds.filter(|seconds| !LIFETIME_SECONDS.contains(seconds)) {
            let (least, most) = (LIFETIME_SECONDS.start(), LIFETIME_SECONDS.end());
            let message =
                format!("is {seconds}, and has to be from {least} to {most}; leave it out for no end");
            faults.push(Fault::new("expires_in_seconds", message));
        }
        if self.description.chars().count() > DESCRIPTION_MAX {
            faults.push(Fault::new("description", format!("has more than {DESCRIPTION_MAX} characters")));
        }
    }

    fn detail(&self) -> Value {
        json!({ "id": self.id, "actor": self.actor, "description": self.description })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<TokenView> {
        let view = TokenView {
            id: self.id.clone(),
            actor: self.actor.clone(),
            description: self.description.clone(),
            created_by: work.actor().id().to_owned(),
            created_at: work.now(),
            expires_at: self.expires_in.map(|span| end(work.now(), span)),
        };
        let record = TokenRecord { view: view.clone(), hash: self.hash.clone() };
        work.create("token", &self.id, &record).await?;
        Ok(view)
    }
}

fn end(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// Lists tokens: one's own, or everybody's.
#[derive(Debug)]
pub struct ListTokens {
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Who asks.
    pub caller: String,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListTokens {
    type Output = ListPage<TokenView>;
    const NAME: &'static str = "token.list";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::PLATFORM_ADMINISTER
    }

    fn scope(&self) -> Scope {
        Scope::Platform
    }

    fn is_filtered(&self) -> bool {
        self.actor.as_ref() == Some(&self.caller)
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let options = ListOptions {
            kind: TokenRecord::KIND.to_owned(),
            parent: Some(String::new()),
            index: self.actor.clone().map(|actor| ("actor".to_owned(), actor)),
            after: self.page.after.as_deref().map(TokenRecord::key_of),
            limit: Some(self.page.limit()),
            ..ListOptions::default()
        };
        let page = work.collections().page::<TokenRecord>(options).await?;
        Ok(ListPage {
            items: page.items.into_iter().map(|stored| stored.value.view).collect(),
            next: page.next.map(|key| key.name),
        })
    }
}

/// Makes a token invalid, at once.
#[derive(Debug)]
pub struct RevokeToken {
    /// Its id.
    pub id: String,
}

#[async_trait]
impl Action for RevokeToken {
    type Output = ();
    const NAME: &'static str = "token.revoke";
    const EFFECT: Effect = Effect::Change;

    fn permission(&self) -> Permission {
        permissions::PLATFORM_ADMINISTER
    }

    fn scope(&self) -> Scope {
        Scope::Platform
    }

    /// Whose token it is shows only when it is read: the decision is made there.
    fn is_filtered(&self) -> bool {
        true
    }

    fn detail(&self) -> Value {
        json!({ "id": self.id })
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        let administers = work.may(self.permission(), &Scope::Platform).await?;
        let found = work.get::<TokenRecord>(&TokenRecord::key_of(&self.id)).await?;
        // A token of somebody else looks like none at all.
        let stored = found
            .filter(|stored| administers || stored.value.view.actor == work.actor().id())
            .ok_or_else(|| Error::not_found("token", &self.id))?;
        work.changes().remove(&stored);
        Ok(())
    }
}
