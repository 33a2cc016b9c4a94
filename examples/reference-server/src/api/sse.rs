//! Answers as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt as _, future, stream};
use paas_core::Result;
use serde::Serialize;

use super::Service;
use super::position::Position;
use crate::rest::problem::Problem;

/// The media type of server-sent events.
pub const MEDIA_TYPE: &str = "text/event-stream";
/// How often a silent stream shows that it lives.
const ALIVE: Duration = Duration::from_secs(15);

/// One event.
pub struct Message<T> {
    /// Where to go on after it.
    position: Option<Position>,
    kind: &'static str,
    data: T,
}

impl<T> Message<T> {
    /// An event without an id.
    pub fn new(kind: &'static str, data: T) -> Self {
        Self { position: None, kind, data }
    }

    /// With an id to go on after.
    pub fn at(self, position: Position) -> Self {
        Self { position: Some(position), ..self }
    }
}

/// The events of `messages`. An error is told as an event of the kind `problem` and ends the stream, as the end of the
/// server does without a word: who resumes misses nothing.
pub fn answer<T, S>(service: &Service, messages: S) -> Response
where
    T: Serialize + Send + 'static,
    S: Stream<Item = Result<Message<T>>> + Send + 'static,
{
    events(service, stream::empty(), messages)
}

/// As [`answer`], and the position where it begins is told first.
pub fn answer_from<T, S>(service: &Service, position: Position, messages: S) -> Response
where
    T: Serialize + Send + 'static,
    S: Stream<Item = Result<Message<T>>> + Send + 'static,
{
    let begin = Event::default().id(position.to_string());
    events(service, stream::once(future::ready(begin)), messages)
}

fn events<T, S>(service: &Service, first: impl Stream<Item = Event> + Send + 'static, messages: S) -> Response
where
    T: Serialize + Send + 'static,
    S: Stream<Item = Result<Message<T>>> + Send + 'static,
{
    let closing = service.closing().clone();
    let events = messages
        .map(|message| match message {
            Ok(message) => (event(message), true),
            Err(error) => (event(Message::new("problem", Problem::from(error))), false),
        })
        .scan(true, |open, (event, goes_on)| {
            let now = std::mem::replace(open, goes_on);
            future::ready(now.then_some(Ok::<_, Infallible>(event)))
        })
        .take_until(closing.cancelled_owned());
    Sse::new(first.map(Ok).chain(events)).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

fn event<T: Serialize>(message: Message<T>) -> Event {
    let event = Event::default().event(message.kind);
    let event = match message.position {
        Some(position) => event.id(position.to_string()),
        None => event,
    };
    match serde_json::to_string(&message.data) {
        Ok(data) => event.data(data),
        Err(error) => event.comment(format!("an event could not be written: {error}")),
    }
}
