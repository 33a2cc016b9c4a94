//! What pods print.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::Timestamp;
use tower::BoxError;

use super::answer::Refused;
use super::kubelet::uid_of;
use super::objects::Key;
use super::request::Request;
use super::service::{AnswerBody, whole};
use super::{Inner, State, kinds};

/// The outputs of a pod's container, one for each start.
#[derive(Debug, Default)]
pub(super) struct Printed {
    starts: u64,
    now: Vec<(Timestamp, String)>,
    previous: Option<Vec<(Timestamp, String)>>,
}

impl State {
    pub(super) fn begin_printing(&mut self, uid: &str) {
        let printed = self.printed.entry(uid.to_owned()).or_default();
        if printed.starts > 0 {
            printed.previous = Some(std::mem::take(&mut printed.now));
        }
        printed.starts += 1;
    }

    pub(super) fn print(&mut self, uid: &str, text: &str) {
        let now = self.now;
        if let Some(printed) = self.printed.get_mut(uid) {
            // The kubelet writes nanoseconds; two lines never have the same time.
            let last = printed.now.last().map(|(at, _)| *at);
            let at = last.filter(|last| *last >= now).map_or(now, next);
            printed.now.push((at, text.to_owned()));
        }
    }

    pub(super) fn last_lines(&self, uid: &str) -> String {
        let lines = self.printed.get(uid).map(|printed| printed.now.as_slice()).unwrap_or_default();
        let skip = lines.len().saturating_sub(80);
        lines[skip..].iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n")
    }
}

fn told(stamped: bool, at: Timestamp, line: &str) -> String {
    if stamped { format!("{at} {line}\n") } else { format!("{line}\n") }
}

fn next(at: Timestamp) -> Timestamp {
    at.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(at)
}

struct Reader {
    inner: Arc<Inner>,
    uid: String,
    starts: u64,
    told: usize,
    stamped: bool,
    waiting: VecDeque<String>,
    newest: tokio::sync::watch::Receiver<u64>,
}

/// Answers a request for a pod's log.
pub(super) fn open(inner: &Arc<Inner>, request: &Request) -> Result<AnswerBody, Refused> {
    let name = request.name.as_deref().unwrap_or_default();
    let key = Key::new(kinds::POD, request.namespace.as_deref(), name);
    let newest = inner.newest.subscribe();
    inner.with(|state| {
        let pod = state.objects.get(&key).ok_or_else(|| Refused::missing(&key))?;
        let uid = uid_of(pod).to_owned();
        let waiting = || {
            let why = format!("container \"main\" in pod {name:?} is waiting to start: ContainerCreating");
            Refused::bad_request(why)
        };
        let printed = state.printed.get(&uid).ok_or_else(waiting)?;
        let lines = if request.asks("previous") {
            let missing = || {
                Refused::bad_request(format!(
                    "previous terminated container \"main\" in pod {name:?} not found"
                ))
            };
            printed.previous.as_ref().ok_or_else(missing)?
        } else {
            &printed.now
        };
        let stamped = request.asks("timestamps");
        let since = request.parameter("sinceTime").and_then(|text| text.parse::<Timestamp>().ok());
        let mut text: VecDeque<String> = lines
            .iter()
            .filter(|(at, _)| since.is_none_or(|since| *at >= since))
            .map(|(at, line)| told(stamped, *at, line))
            .collect();
        if let Some(tail) = request.parameter("tailLines").and_then(|text| text.parse::<usize>().ok()) {
            text.drain(..text.len().saturating_sub(tail));
        }
        if !request.asks("follow") {
            return Ok(whole(Vec::from(text).concat()));
        }
        let reader = Reader {
            inner: Arc::clone(inner),
            uid,
            starts: printed.starts,
            told: printed.now.len(),
            stamped,
            waiting: text,
            newest,
        };
        let lines = stream::unfold(reader, |mut reader| async move {
            let line = reader.next().await?;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from(line))), reader))
        });
        Ok(StreamBody::new(lines).boxed_unsync())
    })
}

impl Reader {
    /// The next line; nothing once the container that was followed has ended.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Some(line);
            }
            self.newest.mark_unchanged();
            if !self.read() {
                return None;
            }
            if self.waiting.is_empty() {
                self.newest.changed().await.ok()?;
            }
        }
    }

    fn read(&mut self) -> bool {
        let state = self.inner.lock();
        let Some(printed) = state.printed.get(&self.uid) else { return false };
        let (lines, over) = if printed.starts == self.starts {
            let running = state
                .lives
                .get(&self.uid)
                .and_then(|life| state.objects.get(&life.key))
                .is_some_and(|pod| pod["status"]["containerStatuses"][0]["state"]["running"].is_object());
            (printed.now.as_slice(), !running)
        } else {
            (printed.previous.as_deref().unwrap_or_default(), true)
        };
        let told = self.told.min(lines.len());
        let stamped = self.stamped;
        self.waiting.extend(lines[told..].iter().map(|(at, line)| self::told(stamped, *at, line)));
        self.told = lines.len();
        !over || !self.waiting.is_empty()
    }
}
