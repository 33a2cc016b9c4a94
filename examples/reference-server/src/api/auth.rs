//! Who calls, and what they may repeat safely.

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, IF_MATCH};
use axum::http::request::Parts;
use paas_core::action::{Action, RequestOptions};
use paas_core::engine::Session;
use paas_core::port::Revision;
use paas_core::{ErrorKind, Fault};

use super::Service;
use crate::rest::problem::Problem;
use crate::server::token::Token;

/// Somebody who sent a valid token. There is no other way to a session.
pub struct Caller {
    session: Session,
    options: RequestOptions,
    actor: String,
    token: String,
}

impl Caller {
    /// Does something in the caller's name.
    pub async fn perform<A: Action>(&self, action: A) -> Result<A::Output, Problem> {
        let conditional = self.options.expected_revision.is_some();
        self.session.perform_with(action, self.options.clone()).await.map_err(|error| {
            let changed = conditional && error.kind() == ErrorKind::Conflict;
            let problem = Problem::from(error);
            if changed { Problem { status: 412, ..problem } } else { problem }
        })
    }

    /// The caller's session, for what is not done by one action.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Who it is.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// The id of the token.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl FromRequestParts<Service> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Problem> {
        let unauthenticated = |detail: &str| {
            Problem::new(401, "unauthenticated", detail)
                .with_remedy("Send a valid token: Authorization: Bearer TOKEN. `paas login` keeps one.")
        };
        let header = parts.headers.get(AUTHORIZATION).ok_or_else(|| unauthenticated("no token was sent"))?;
        let token = header
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| Token::parse(token.trim()))
            .ok_or_else(|| unauthenticated("what was sent is not a token"))?;
        let record = service
            .accounts()
            .find(&token)
            .await?
            .ok_or_else(|| unauthenticated("the token is unknown, revoked or expired"))?;
        let options = options(parts)?;
        let actor = record.view.actor;
        let session = service.platform().session(crate::server::accounts::actor(&actor));
        Ok(Self { session, options, actor, token: record.view.id })
    }
}

/// What the headers say about how a request is carried out.
fn options(parts: &Parts) -> Result<RequestOptions, Problem> {
    let mut options = RequestOptions::default();
    if let Some(value) = parts.headers.get("idempotency-key") {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
        let key = value.to_str().ok().filter(|key| (1..=64).contains(&key.len()) && key.bytes().all(allowed));
        let key = key.ok_or_else(|| {
            let fault =
                Fault::new("Idempotency-Key", "is not 1 to 64 letters, digits and the characters _.:-");
            Problem::malformed("the header Idempotency-Key is not valid", vec![fault])
        })?;
        options.request_id = Some(key.to_owned());
    }
    if let Some(value) = parts.headers.get(IF_MATCH) {
        let tag = value.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
        let number = tag
            .filter(|tag| (1..=18).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|tag| tag.parse().ok());
        let number = number.ok_or_else(|| {
            let fault =
                Fault::new("If-Match", "is not an entity tag as an answer's ETag gave it, such as \"7\"");
            Problem::malformed("the header If-Match is not valid", vec![fault])
        })?;
        options.expected_revision = Some(Revision(number));
    }
    Ok(options)
}
