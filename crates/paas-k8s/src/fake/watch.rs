//! Watches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};
use tower::BoxError;

use super::Inner;
use super::answer::Refused;
use super::objects::Changed;
use super::request::{Request, Selector};
use super::service::AnswerBody;

/// How often a watch without news is told the newest version.
const BOOKMARKS: Duration = Duration::from_mins(1);

struct Watch {
    inner: Arc<Inner>,
    request: Request,
    selector: Selector,
    position: u64,
    cuts: u64,
    end: Instant,
    waiting: VecDeque<Value>,
    newest: tokio::sync::watch::Receiver<u64>,
    over: bool,
}

/// Begins a watch.
pub(super) fn open(inner: &Arc<Inner>, request: &Request) -> Result<AnswerBody, Refused> {
    let position = request.parameter("resourceVersion").unwrap_or_default();
    let (position, cuts) = inner.with(|state| {
        let position = match position {
            "" | "0" => state.objects.newest(),
            text => text.parse().map_err(|_| Refused::bad_request("the resource version is no number"))?,
        };
        Ok((position, state.script.watch_cuts))
    })?;
    let seconds = request.parameter("timeoutSeconds").and_then(|text| text.parse().ok()).unwrap_or(300);
    let watch = Watch {
        selector: Selector::of(request),
        request: request.clone(),
        position,
        cuts,
        end: Instant::now() + Duration::from_secs(seconds),
        waiting: VecDeque::new(),
        newest: inner.newest.subscribe(),
        inner: Arc::clone(inner),
        over: false,
    };
    let lines = stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((line.map(Frame::data), watch))
    });
    Ok(StreamBody::new(lines).boxed_unsync())
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(Ok(Bytes::from(format!("{event}\n"))));
            }
            if self.over {
                return None;
            }
            self.newest.mark_unchanged();
            match self.read() {
                Ok(()) if !self.waiting.is_empty() => continue,
                Ok(()) => {}
                Err(error) => return Some(Err(error)),
            }
            tokio::select! {
                () = sleep_until(self.end) => return None,
                changed = timeout(BOOKMARKS, self.newest.changed()) => match changed {
                    Ok(Err(_)) => return None,
                    Err(_) if self.request.asks("allowWatchBookmarks") && !self.hangs() => self.bookmark(),
                    Ok(Ok(())) | Err(_) => {}
                }
            }
        }
    }

    /// Takes the changes since the position.
    fn read(&mut self) -> Result<(), BoxError> {
        let (inner, position) = (Arc::clone(&self.inner), self.position);
        let state = inner.lock();
        if state.script.watch_cuts != self.cuts {
            self.over = true;
            return Err(std::io::Error::other("connection reset by peer").into());
        }
        if state.script.watches_hang {
            return Ok(());
        }
        let Some(changes) = state.objects.after(position) else {
            self.over = true;
            self.waiting.push_back(json!({ "type": "ERROR", "object": Refused::expired().status() }));
            return Ok(());
        };
        for change in changes {
            self.position = change.version;
            if let Some(event) = self.event(change) {
                self.waiting.push_back(event);
            }
        }
        Ok(())
    }

    fn event(&self, change: &Changed) -> Option<Value> {
        let ours = Some(change.key.kind) == self.request.kind
            && (self.request.namespace.is_none() || self.request.namespace == change.key.namespace);
        if !ours {
            return None;
        }
        let fits = self.selector.fits(&change.object);
        let fitted = change.before.as_ref().is_some_and(|before| self.selector.fits(before));
        let what = match (change.what, fitted, fits) {
            ("DELETED", _, true) | ("MODIFIED", true, false) => "DELETED",
            ("MODIFIED", true, true) => "MODIFIED",
            ("ADDED" | "MODIFIED", false, true) => "ADDED",
            _ => return None,
        };
        Some(json!({ "type": what, "object": change.object }))
    }

    fn hangs(&self) -> bool {
        self.inner.lock().script.watches_hang
    }

    fn bookmark(&mut self) {
        let Some(kind) = self.request.kind else { return };
        self.waiting.push_back(json!({ "type": "BOOKMARK", "object": {
            "apiVersion": kind.api_version(),
            "kind": kind.kind,
            "metadata": { "resourceVersion": self.position.to_string() },
            "spec": {}, "status": {},
        }}));
    }
}
