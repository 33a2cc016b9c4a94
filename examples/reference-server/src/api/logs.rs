//! What instances print.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use paas_core::port::{InstanceId, LogLine, LogOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Service;
use super::app::{ComponentPath, here};
use super::auth::Caller;
use super::extract::{LastEventId, Names, Query};
use super::operation::{Routes, get};
use super::position::positioned;
use super::sse::{self, Message};
use crate::rest::problem::Problem;

const TAG: &str = "logs";
/// The media type of JSON texts, one a line.
pub const LINES: &str = "application/x-ndjson";

/// Which lines.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Only this instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceName>,
    /// At most so many of the lines that exist, the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Only lines printed at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Moment>")]
    pub since: Option<Timestamp>,
    /// The lines of the process before the last restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<bool>,
}

/// A moment, as RFC 3339 writes it.
#[derive(JsonSchema)]
#[schemars(transparent)]
#[allow(dead_code, reason = "it only describes the parameter")]
struct Moment(
    #[schemars(regex(
        pattern = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?Z$"
    ))]
    String,
);

/// The name of an instance.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct InstanceName(#[schemars(regex(pattern = "^[A-Za-z0-9._-]{1,200}$"))] pub String);

impl<'de> Deserialize<'de> for InstanceName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let valid = (1..=200).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if valid { Ok(Self(text)) } else { Err(serde::de::Error::custom("is not the name of an instance")) }
    }
}

impl LogQuery {
    fn options(self, follow: bool) -> LogOptions {
        LogOptions {
            instance: self.instance.map(|instance| InstanceId(instance.0)),
            follow,
            tail: self.tail.map(|tail| tail as usize),
            since: self.since,
            previous: self.previous.unwrap_or_default(),
        }
    }
}

pub fn routes(routes: Routes) -> Routes {
    routes
        .add(
            get(&here("/components/{component}/logs"), TAG, "readLogs", "What instances have printed")
                .about("One JSON object a line. A line that could not be read ends the answer with an object that has `problem`.")
                .query::<LogQuery>()
                .gives_as::<String>(200, LINES, "The lines.")
                .fails(&[409, 422]),
            read,
        )
        .add(
            get(&here("/components/{component}/logs/stream"), TAG, "followLogs", "What instances print")
                .about("Server-sent events of the kind `line`. It goes on across restarts and with instances that come later.")
                .query::<LogQuery>()
                .resumable()
                .gives_events("The lines.")
                .fails(&[409, 422]),
            follow,
        )
}

async fn read(
    caller: Caller,
    Names(path): Names<ComponentPath>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Problem> {
    let (at, component) = path.split();
    let lines = caller.session().logs(&at, &component, query.options(false)).await?;
    let body = lines.map(|line| {
        let mut text = match line {
            Ok(line) => serde_json::to_vec(&line),
            Err(error) => serde_json::to_vec(&serde_json::json!({ "problem": Problem::from(error) })),
        }?;
        text.push(b'\n');
        Ok::<_, serde_json::Error>(Bytes::from(text))
    });
    Ok(([(CONTENT_TYPE, LINES)], Body::from_stream(body)).into_response())
}

async fn follow(
    State(service): State<Service>,
    caller: Caller,
    Names(path): Names<ComponentPath>,
    Query(query): Query<LogQuery>,
    last: LastEventId,
) -> Result<Response, Problem> {
    let (at, component) = path.split();
    let mut options = query.options(true);
    if let Some(seen) = last.0 {
        // The number of a line is its time in microseconds.
        let microseconds = SignedDuration::from_micros(seen.begins_after().cast_signed().saturating_add(1));
        let time = Timestamp::UNIX_EPOCH.checked_add(microseconds);
        options.since = Some(time.unwrap_or(Timestamp::MAX));
        options.tail = None;
    }
    let lines = caller.session().logs(&at, &component, options).await?;
    let time = |line: &LogLine| line.at.as_microsecond().max(0).cast_unsigned();
    let messages = positioned(lines, last.0, time)
        .map(|line| line.map(|(position, line)| Message::new("line", line).at(position)));
    Ok(sse::answer(&service, messages))
}
