//! The one way in which an action is carried out.

mod audit;
mod call;
mod request;

use futures::future::BoxFuture;
use serde_json::Value;

use super::{Effect, RequestOptions, Work};
use crate::engine::{Changes, EventRecord, Services};
use crate::error::{Error, ErrorKind, Result};
use crate::port::{AccessRequest, Decision, Expect, Revision};
use crate::tenancy::{Actor, AuditResult};

use audit::Entry;
pub(crate) use audit::{AuditTrail, Denials};
pub(crate) use call::{Call, Callable};
use request::{Known, Request};

/// How often an action is prepared anew because others changed what it had read.
const ATTEMPTS: usize = 10;

/// Authorises, validates, recognises repeated requests, prepares and commits.
///
/// The future is boxed here, behind a type that hides the action's, so that all of it is compiled once, in this crate:
/// a compiler makes the body of a plain `async fn` anew in every crate that awaits it.
pub(crate) fn perform<'a>(
    services: &'a Services,
    actor: &'a Actor,
    options: &'a RequestOptions,
    call: &'a mut dyn Callable,
) -> BoxFuture<'a, Result<()>> {
    Box::pin(carry_out(services, actor, options, call))
}

async fn carry_out(
    services: &Services,
    actor: &Actor,
    options: &RequestOptions,
    call: &mut dyn Callable,
) -> Result<()> {
    Actor::check_id(actor.id())?;
    authorize(services, actor, options, call).await?;
    let mut faults = Vec::new();
    call.validate(&mut faults);
    if !faults.is_empty() {
        return Err(Error::invalid(format!("validate the input of {}", call.name()), faults));
    }
    let request = match &options.request_id {
        Some(id) if call.effect() != Effect::Read => Some(Request::new(services, actor, id, call).await?),
        _ => None,
    };
    for _ in 0..ATTEMPTS {
        if let Some(request) = &request {
            match request.lookup(services).await? {
                Known::New => {}
                Known::Answered(answer, revision) => {
                    call.recall(answer)?;
                    call.committed(revision);
                    return Ok(());
                }
            }
        }
        let mut work = Work::new(services, actor);
        check_expected_revision(services, options, call).await?;
        if let Err(error) = call.run(&mut work).await {
            if let Some(reason) = work.refusal().filter(|_| !options.dry_run) {
                record_denial(services, actor, options, call, reason).await;
            }
            return Err(error);
        }
        if call.effect() == Effect::Read || options.dry_run {
            return Ok(());
        }
        let entry = Entry {
            scope: call.scope(),
            action: call.name(),
            detail: call.detail(),
            result: AuditResult::Done,
            request_id: options.request_id.clone(),
        };
        let (mut changes, events) = work.into_parts();
        if let Some(key) = call.target().filter(|_| options.expected_revision.is_some())
            && let Some(revision) = options.expected_revision
        {
            changes.expect(Expect::Modified(key, revision));
        }
        if let Some(request) = &request {
            changes.create(&request.record(call.answer()?, services.now()))?;
        }
        if let Some(revision) = commit(services, actor, changes, events, entry).await? {
            call.committed(revision);
            return Ok(());
        }
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("perform {} because others keep changing its object", call.name()),
    )
    .with_context("object", call.scope())
    .with_remedy("Try again."))
}

async fn authorize(
    services: &Services,
    actor: &Actor,
    options: &RequestOptions,
    call: &dyn Callable,
) -> Result<()> {
    if call.is_filtered() {
        return Ok(());
    }
    let scope = call.scope();
    let request = AccessRequest { actor: actor.id(), permission: call.permission(), scope: &scope };
    let reason = match services.authorizer().authorize(&request).await? {
        Decision::Allow => return Ok(()),
        Decision::Deny(reason) => reason,
    };
    let error = Error::new(ErrorKind::Denied, format!("perform {}", call.name()))
        .with_context("actor", actor.id())
        .with_context("object", &scope)
        .with_source(reason.clone());
    record_denial(services, actor, options, call, &reason).await;
    Err(error)
}

/// Records that an action was refused, within the bound of its actor. Failing at it refuses no less.
async fn record_denial(
    services: &Services,
    actor: &Actor,
    options: &RequestOptions,
    call: &dyn Callable,
    reason: &str,
) {
    let Some(suppressed) = services.denials().admit(actor.id(), services.now()) else { return };
    let entry = Entry {
        scope: call.scope(),
        action: call.name(),
        detail: Value::Null,
        result: AuditResult::Denied { reason: reason.to_owned(), suppressed },
        request_id: options.request_id.clone().filter(|id| request::is_valid_id(id)),
    };
    if let Err(failure) = services.audit().record(services, actor, entry).await {
        tracing::warn!(actor = actor.id(), action = call.name(), error = %failure.report(), "denial not recorded");
    }
}

async fn check_expected_revision(
    services: &Services,
    options: &RequestOptions,
    call: &dyn Callable,
) -> Result<()> {
    let (Some(expected), Some(key)) = (options.expected_revision, call.target()) else { return Ok(()) };
    let found = services.store().get(&key).await?.map(|document| document.modified);
    if found == Some(expected) {
        return Ok(());
    }
    let found = found.map_or_else(|| "none".to_owned(), |revision| revision.to_string());
    Err(Error::new(ErrorKind::Conflict, "change an object that somebody else has changed")
        .with_context("object", call.scope())
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
