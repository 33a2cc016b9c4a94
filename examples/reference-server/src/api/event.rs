//! What happened.

use axum::extract::State;
use axum::response::Response;
use futures::StreamExt as _;
use paas_core::AppEnv;
use paas_core::action::{ListEvents, ListPage, PageOptions};
use paas_core::engine::EventRecord;
use paas_core::port::{Revision, Scope};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Service;
use super::answer::{Answer, Outcome};
use super::app::here;
use super::auth::Caller;
use super::extract::{LastEventId, Names, Query};
use super::operation::{Routes, get};
use super::position::{Position, positioned};
use super::sse::{self, Message};
use crate::rest::page::{Cursor, Limit, Paging};
use crate::rest::problem::Problem;
use crate::rest::scope::ScopeName;

const TAG: &str = "events";
const ABOUT: &str = "Server-sent events of the kind `event`. It begins with what happens from now on, or after the event \
                     that `Last-Event-ID` names; where it begins is told by an id without an event.";

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Of what; of the platform if absent.
    scope: Option<ScopeName>,
    /// At most so many items.
    limit: Option<Limit>,
    /// Where to go on: `next` of the page before.
    after: Option<Cursor>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScopeQuery {
    /// Of what; of the platform if absent.
    scope: Option<ScopeName>,
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get(&here("/events"), TAG, "listAppEvents", "What happened to an application, the newest first")
                .query::<Paging>()
                .gives::<ListPage<EventRecord>>(200, "A page of events."),
            list_of_app,
        )
        .add(
            get(&here("/events/stream"), TAG, "followAppEvents", "What happens to an application")
                .about(ABOUT)
                .resumable()
                .gives_events("The events."),
            follow_app,
        )
        .add(
            get("/events", TAG, "listEvents", "What happened, the newest first")
                .query::<EventsQuery>()
                .gives::<ListPage<EventRecord>>(200, "A page of events.")
                .fails(&[404, 422]),
            list,
        )
        .add(
            get("/events/stream", TAG, "followEvents", "What happens")
                .about(ABOUT)
                .query::<ScopeQuery>()
                .resumable()
                .gives_events("The events.")
                .fails(&[404, 422]),
            follow,
        )
}

async fn list_of_app(
    caller: Caller,
    Names(at): Names<AppEnv>,
    Query(paging): Query<Paging>,
) -> Outcome<ListPage<EventRecord>> {
    Ok(Answer::ok(caller.perform(ListEvents { scope: Scope::AppEnv(at), page: paging.into() }).await?))
}

async fn list(caller: Caller, Query(query): Query<EventsQuery>) -> Outcome<ListPage<EventRecord>> {
    let page =
        PageOptions { limit: query.limit.map(|limit| limit.0), after: query.after.map(|cursor| cursor.0) };
    let scope = query.scope.map_or(Scope::Platform, |scope| scope.0);
    Ok(Answer::ok(caller.perform(ListEvents { scope, page }).await?))
}

async fn follow_app(
    State(service): State<Service>,
    caller: Caller,
    Names(at): Names<AppEnv>,
    last: LastEventId,
) -> Result<Response, Problem> {
    stream(&service, &caller, Scope::AppEnv(at), last).await
}

async fn follow(
    State(service): State<Service>,
    caller: Caller,
    Query(query): Query<ScopeQuery>,
    last: LastEventId,
) -> Result<Response, Problem> {
    stream(&service, &caller, query.scope.map_or(Scope::Platform, |scope| scope.0), last).await
}

async fn stream(
    service: &Service,
    caller: &Caller,
    scope: Scope,
    last: LastEventId,
) -> Result<Response, Problem> {
    let from = match last.0 {
        Some(position) => position,
        None => Position::after(service.store().revision().await?.0),
    };
    let events = caller.session().events_stream(scope, Some(Revision(from.begins_after()))).await?;
    let messages = positioned(events, Some(from), |event| event.revision.0)
        .map(|event| event.map(|(position, event)| Message::new("event", event).at(position)));
    // Where it begins is told first, so that whoever has seen nothing yet can go on too.
    Ok(sse::answer_from(service, from, messages))
}
