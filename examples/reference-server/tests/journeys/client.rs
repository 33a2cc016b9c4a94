//! A client of the interface that sends what the command line would not.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::platform::Platform;

/// How long an answer or an event may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client with the administrator's token.
pub struct Client<'a> {
    platform: &'a Platform,
    runtime: Runtime,
    http: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header, or an empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The same if it is a problem of this kind, as RFC 9457 has it.
    #[track_caller]
    pub fn refused_with(self, status: u16, kind: &str) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!((&problem["status"], &problem["kind"]), (&status.into(), &kind.into()), "{problem}");
        self
    }
}

impl<'a> Client<'a> {
    pub fn new(platform: &'a Platform) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { platform, runtime, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// Sends a request below the interface's prefix, or to the server itself for a path that begins with two slashes.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let url = match path.strip_prefix("//") {
            Some(path) => format!("{}/{path}", self.platform.api()),
            None => format!("{}/api/v1{path}", self.platform.api()),
        };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, url).timeout(PATIENCE);
        let has = |name: &str| headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
        if !has("authorization") {
            request = request.bearer_auth(self.platform.token());
        }
        if let Some(body) = body {
            request = request.body(body.to_owned());
            if !has("content-type") {
                request = request.header("content-type", "application/json");
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Answer { status, headers, text: answer.text().await.unwrap() }
        })
    }

    /// Reads an object.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        let answer = self.send("GET", path, &[], None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer
    }

    /// Follows a stream of events from the beginning, or after one.
    pub fn follow(&self, path: &str, after: Option<&str>) -> Events<'_> {
        let url = format!("{}/api/v1{path}", self.platform.api());
        let mut request = self.http.get(url).bearer_auth(self.platform.token());
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = self.runtime.block_on(request.send()).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { runtime: &self.runtime, response, text: String::new(), read: VecDeque::new() }
    }
}

/// An event of a stream; one that only tells where the stream begins has no kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub data: Value,
}

/// A stream of events (the WHATWG's HTML standard, section 9.2.6).
pub struct Events<'a> {
    runtime: &'a Runtime,
    response: Response,
    text: String,
    read: VecDeque<Event>,
}

impl Events<'_> {
    /// The next event.
    pub fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.read.pop_front() {
                return event;
            }
            let piece = async { tokio::time::timeout(PATIENCE, self.response.chunk()).await };
            let piece = self.runtime.block_on(piece).expect("an event comes in time").unwrap();
            self.text.push_str(std::str::from_utf8(&piece.expect("the stream goes on")).unwrap());
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut event = Event::default();
                for (name, value) in block.lines().filter_map(|line| line.split_once(": ")) {
                    match name {
                        "id" => value.clone_into(&mut event.id),
                        "event" => value.clone_into(&mut event.kind),
                        "data" => event.data = serde_json::from_str(value).unwrap(),
                        _ => {}
                    }
                }
                let is_comment = event == Event::default();
                self.text = rest.to_owned();
                if !is_comment {
                    self.read.push_back(event);
                }
            }
        }
    }
}
