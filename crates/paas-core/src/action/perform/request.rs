//! Requests that may be repeated.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Callable;
use crate::engine::{Changes, RequestRecord, Services, canonical_json};
use crate::error::{Error, ErrorKind, Result};
use crate::port::{DocumentKey, Revision};
use crate::tenancy::Actor;

/// How long an answer is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How many expired answers are removed at once.
const SWEEP: usize = 200;

/// Whether a sender may use this id.
pub(super) fn is_valid_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 200 && id.chars().all(|c| c.is_ascii_graphic())
}

/// A request with an id.
pub(super) struct Request {
    record: RequestRecord,
}

/// What is known of a request.
pub(super) enum Known {
    /// Nothing.
    New,
    /// It was carried out, at this commit, with this answer.
    Answered(Value, Revision),
}

impl Request {
    pub(super) async fn new(
        services: &Services,
        actor: &Actor,
        id: &str,
        call: &dyn Callable,
    ) -> Result<Self> {
        if !is_valid_id(id) {
            return Err(Error::new(ErrorKind::Invalid, "read the id of a request")
                .with_remedy("Use 1 to 200 printable ASCII characters without spaces, such as a UUID."));
        }
        let mut secrets = Vec::new();
        for secret in call.secrets() {
            secrets.push(services.key_ring().fingerprint(secret).await?);
        }
        let input = json!([call.name(), call.scope(), call.input(), secrets]);
        let record = RequestRecord {
            actor: actor.id().to_owned(),
            id: id.to_owned(),
            action: call.name().to_owned(),
            input: hex::encode(Sha256::digest(canonical_json(&input))),
            answer: Value::Null,
            at: Timestamp::UNIX_EPOCH,
        };
        Ok(Self { record })
    }

    pub(super) async fn lookup(&self, services: &Services) -> Result<Known> {
        let key: DocumentKey = RequestRecord::key_of(&self.record.actor, &self.record.id);
        let Some(found) = services.collections().get::<RequestRecord>(&key).await? else {
            self.sweep(services).await;
            return Ok(Known::New);
        };
        if found.value.action != self.record.action || found.value.input != self.record.input {
            return Err(Error::new(ErrorKind::Conflict, "perform a request under the id of another one")
                .with_context("request", &self.record.id)
                .with_context("action", &found.value.action)
                .with_remedy("Use a new id for every request, and the same one only to repeat it."));
        }
        Ok(Known::Answered(found.value.answer, found.created))
    }

    pub(super) fn record(&self, answer: Value, now: Timestamp) -> RequestRecord {
        RequestRecord { answer, at: now, ..self.record.clone() }
    }

    /// Removes the actor's expired answers, once a day. Failing at it harms nothing.
    async fn sweep(&self, services: &Services) {
        let now = services.now();
        if !services.requests_due(&self.record.actor, now) {
            return;
        }
        let swept = async {
            let known = services.collections().children::<RequestRecord>(self.record.actor.as_str()).await?;
            let expired = known.iter().filter(|request| now.duration_since(request.value.at) > KEPT);
            let mut changes = Changes::new();
            for request in expired.take(SWEEP) {
                changes.remove(request);
            }
            if changes.is_empty() {
                Ok(Revision(0))
            } else {
                services.store().commit(changes.into_txn()).await
            }
        };
        if let Err(error) = swept.await {
            tracing::debug!(error = %error.report(), "expired requests were not removed");
        }
    }
}
