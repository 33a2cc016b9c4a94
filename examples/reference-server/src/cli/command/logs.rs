//! `paas logs` and `paas events`

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use paas_core::AppEnv;
use paas_core::action::ListPage;
use paas_core::engine::{AppStatus, EventKind, EventRecord};
use paas_core::port::{LogLine, LogStream};
use reqwest::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Session, in_app};
use crate::cli::args::{EventsArgs, LogsArgs};
use crate::cli::client::Client;
use crate::cli::duration;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, Tone, printable, seconds};
use crate::cli::stream;
use crate::rest::problem::Problem;

/// The pause before a lost connection is taken up again, and how often that is tried.
const PAUSE: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 60;

pub async fn run(session: &Session, args: LogsArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let at = session.context.app(&args.app)?;
    let component = match args.component {
        Some(component) => component.to_string(),
        None => only_component(&client, &at).await?,
    };
    let since = args.since.as_deref().map(|text| duration::since(text, Timestamp::now())).transpose();
    let query = Query {
        instance: args.instance,
        tail: args.tail,
        since: since.map_err(Failure::usage)?,
        previous: args.previous.then_some(true),
    };
    let output = session.output;
    let print = |line: &LogLine| output.item(line, |line| text(output, line, args.timestamps));
    let path = in_app(&at, &format!("/components/{component}/logs"));
    if args.follow {
        let path = format!("{path}/stream");
        let opened = open(&client, &path, &query, None).await?;
        return follow(&client, &path, &query, opened, "line", print).await;
    }
    let response = client.stream(&path, &query, "application/x-ndjson", None).await?;
    let mut body = response.bytes_stream();
    let mut buffer = Vec::new();
    while let Some(bytes) = body.next().await {
        let bytes =
            bytes.map_err(|_| Failure::new(Exit::Unreachable, "the connection to the server was lost"))?;
        buffer.extend_from_slice(&bytes);
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            print(&parse(&line)?)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Query {
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tail: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<bool>,
}

fn parse(line: &[u8]) -> Result<LogLine, Failure> {
    #[derive(serde::Deserialize)]
    struct Ended {
        problem: Problem,
    }
    serde_json::from_slice(line).map_err(|error| match serde_json::from_slice::<Ended>(line) {
        Ok(ended) => ended.problem.into(),
        Err(_) => Failure::new(Exit::Error, format!("a line of the answer is not understood: {error}")),
    })
}

async fn only_component(client: &Client, at: &AppEnv) -> Result<String, Failure> {
    let status: AppStatus = client.get(&in_app(at, "")).await?;
    let names: Vec<String> = super::status::components(&status);
    match names.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new(Exit::NotFound, format!("{at} has no components"))
            .with_remedy("Deploy it first with `paas deploy`.")),
        many => Err(Failure::usage(format!("{at} has several components"))
            .with_remedy(format!("Name one of {}.", many.join(", ")))),
    }
}

fn text(output: Output, line: &LogLine, timestamps: bool) -> String {
    let time = if timestamps { format!("{} ", line.at) } else { String::new() };
    let source = output.paint(&format!("{} |", line.instance), Tone::Faint);
    let tone = match line.stream {
        LogStream::Stderr => Tone::Plain,
        LogStream::Platform => Tone::Warn,
        _ => Tone::Plain,
    };
    format!("{time}{source} {}\n", output.paint(&printable(&line.text), tone))
}

async fn open(
    client: &Client,
    path: &str,
    query: &impl Serialize,
    last: Option<&str>,
) -> Result<Response, Failure> {
    client.stream(path, query, "text/event-stream", last).await
}

/// Prints the items of an opened stream until interrupted; a lost connection is taken up again after the last item.
async fn follow<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    query: &impl Serialize,
    mut response: Response,
    kind: &str,
    mut print: impl FnMut(&T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut last: Option<String> = None;
    loop {
        let mut events = pin!(stream::events(response));
        while let Some(event) = events.next().await {
            let event = event?;
            if event.kind == "problem" {
                let problem: Problem = decode(&event.data)?;
                return Err(problem.into());
            }
            if event.kind == kind {
                print(&decode(&event.data)?)?;
            }
            last = event.id.or(last);
        }
        let mut attempts = 0;
        response = loop {
            tokio::time::sleep(PAUSE).await;
            match open(client, path, query, last.as_deref()).await {
                Err(failure) if failure.exit == Exit::Unreachable && attempts < ATTEMPTS => attempts += 1,
                opened => break opened?,
            }
        };
    }
}

fn decode<T: DeserializeOwned>(data: &str) -> Result<T, Failure> {
    serde_json::from_str(data).map_err(|error| {
        Failure::new(Exit::Error, format!("an event of the server is not understood: {error}"))
    })
}

pub async fn events(session: &Session, args: EventsArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let at = session.context.app(&args.app)?;
    let path = in_app(&at, "/events");
    let stream = format!("{path}/stream");
    let none: [(&str, &str); 0] = [];
    // Opened before the past is read: what happens in between comes in both, and in none it would be lost.
    let opened = if args.follow { Some(open(&client, &stream, &none, None).await?) } else { None };
    let page: ListPage<EventRecord> = client.query(&path, &[("limit", args.limit)]).await?;
    let print = |event: &EventRecord| output.item(event, |event| event_text(output, event));
    for event in page.items.iter().rev() {
        print(event)?;
    }
    let Some(opened) = opened else { return Ok(()) };
    let printed: BTreeSet<String> = page.items.into_iter().map(|event| event.id).collect();
    let print = |event: &EventRecord| if printed.contains(&event.id) { Ok(()) } else { print(event) };
    follow(&client, &stream, &none, opened, "event", print).await
}

fn event_text(output: Output, event: &EventRecord) -> String {
    let tone = match event.kind {
        EventKind::ReleaseCommitted | EventKind::InstanceRecovered => Tone::Good,
        EventKind::ReleaseHeld | EventKind::RunSkipped => Tone::Warn,
        EventKind::ReleaseAborted
        | EventKind::InstanceFailed
        | EventKind::RunFailed
        | EventKind::ClusterFailed => Tone::Bad,
        _ => Tone::Plain,
    };
    // Many messages say themselves what they are about.
    let unsaid = |subject: String| {
        if event.message.contains(&subject) { String::new() } else { format!("{subject}: ") }
    };
    let release = event.release.map_or(String::new(), |number| unsaid(format!("release {number}")));
    let component = event.component.as_ref().map_or(String::new(), |name| unsaid(name.to_string()));
    let time = output.paint(&seconds(event.at), Tone::Faint);
    let actor = output.paint(&format!("({})", event.actor), Tone::Faint);
    let message = output.paint(&printable(&event.message), tone);
    format!("{time} {release}{component}{message} {actor}\n")
}
