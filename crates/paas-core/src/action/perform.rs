//! The one way in which an action is carried out.

mod audit;
mod request;

use serde_json::Value;

use super::{Action, Effect, RequestOptions, Work};
use crate::engine::{Changes, EventRecord, Services};
use crate::error::{Error, ErrorKind, Result};
use crate::port::{AccessRequest, Decision, Expect, Revision};
use crate::tenancy::{Actor, AuditResult};

use audit::Entry;
pub(crate) use audit::{AuditTrail, Denials};
use request::{Known, Request};

/// How often an action is prepared anew because others changed what it had read.
const ATTEMPTS: usize = 10;

/// Authorises, validates, recognises repeated requests, prepares and commits.
pub(crate) async fn perform<A: Action>(
    services: &Services,
    actor: &Actor,
    options: &RequestOptions,
    action: &A,
) -> Result<A::Output> {
    Actor::check_id(actor.id())?;
    authorize(services, actor, options, action).await?;
    let mut faults = Vec::new();
    action.validate(&mut faults);
    if !faults.is_empty() {
        return Err(Error::invalid(format!("validate the input of {}", A::NAME), faults));
    }
    let request = match &options.request_id {
        Some(id) if A::EFFECT != Effect::Read => Some(Request::new(services, actor, id, action).await?),
        _ => None,
    };
    for _ in 0..ATTEMPTS {
        if let Some(request) = &request {
            match request.lookup(services).await? {
                Known::New => {}
                Known::Answered(answer, revision) => {
                    let mut output = decode::<A>(answer)?;
                    action.committed(&mut output, revision);
                    return Ok(output);
                }
            }
        }
        let mut work = Work::new(services, actor);
        check_expected_revision(services, options, action).await?;
        // Boxed, because a deploy's future is large and this one is part of every caller's.
        let mut output = Box::pin(action.run(&mut work)).await?;
        if A::EFFECT == Effect::Read || options.dry_run {
            return Ok(output);
        }
        let entry = Entry {
            scope: action.scope(),
            action: A::NAME,
            detail: action.detail(),
            result: AuditResult::Done,
            request_id: options.request_id.clone(),
        };
        let (mut changes, events) = work.into_parts();
        if let Some(key) = action.target().filter(|_| options.expected_revision.is_some())
            && let Some(revision) = options.expected_revision
        {
            changes.expect(Expect::Modified(key, revision));
        }
        if let Some(request) = &request {
            changes.create(&request.record(encode::<A>(&output)?, services.now()))?;
        }
        if let Some(revision) = commit(services, actor, changes, events, entry).await? {
            action.committed(&mut output, revision);
            return Ok(output);
        }
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("perform {} because others keep changing its object", A::NAME),
    )
    .with_context("object", action.scope())
    .with_remedy("Try again."))
}

async fn authorize<A: Action>(
    services: &Services,
    actor: &Actor,
    options: &RequestOptions,
    action: &A,
) -> Result<()> {
    if action.is_filtered() {
        return Ok(());
    }
    let scope = action.scope();
    let request = AccessRequest { actor: actor.id(), permission: action.permission(), scope: &scope };
    let reason = match services.authorizer().authorize(&request).await? {
        Decision::Allow => return Ok(()),
        Decision::Deny(reason) => reason,
    };
    let error = Error::new(ErrorKind::Denied, format!("perform {}", A::NAME))
        .with_context("actor", actor.id())
        .with_context("object", &scope)
        .with_source(reason.clone());
    if let Some(suppressed) = services.denials().admit(actor.id(), services.now()) {
        let entry = Entry {
            scope,
            action: A::NAME,
            detail: Value::Null,
            result: AuditResult::Denied { reason, suppressed },
            request_id: options.request_id.clone().filter(|id| request::is_valid_id(id)),
        };
        if let Err(failure) = services.audit().record(services, actor, entry).await {
            tracing::warn!(actor = actor.id(), action = A::NAME, error = %failure.report(), "denial not recorded");
        }
    }
    Err(error)
}

async fn check_expected_revision<A: Action>(
    services: &Services,
    options: &RequestOptions,
    action: &A,
) -> Result<()> {
    let (Some(expected), Some(key)) = (options.expected_revision, action.target()) else { return Ok(()) };
    let found = services.store().get(&key).await?.map(|document| document.modified);
    if found == Some(expected) {
        return Ok(());
    }
    let found = found.map_or_else(|| "none".to_owned(), |revision| revision.to_string());
    Err(Error::new(ErrorKind::Conflict, "change an object that somebody else has changed")
        .with_context("object", action.scope())
        .with_context("expected revision", expected)
        .with_context("revision", found)
        .with_remedy("Read the object again and repeat the change."))
}

/// Commits the changes with their events and the audit entry; nothing if somebody changed what was read.
async fn commit(
    services: &Services,
    actor: &Actor,
    mut changes: Changes,
    events: Vec<EventRecord>,
    entry: Entry,
) -> Result<Option<Revision>> {
    services.events().add(services, &mut changes, &events).await?;
    let revision = services.audit().commit(services, actor, changes, entry).await?;
    if revision.is_some() {
        services.events().trim(services, &events).await;
    }
    Ok(revision)
}

fn encode<A: Action>(output: &A::Output) -> Result<Value> {
    serde_json::to_value(output).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("store the answer of {}", A::NAME)).with_source(error)
    })
}

fn decode<A: Action>(answer: Value) -> Result<A::Output> {
    serde_json::from_value(answer).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("read the stored answer of {}", A::NAME)).with_source(error)
    })
}
