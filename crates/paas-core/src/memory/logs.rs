//! What simulated instances print.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream;
use jiff::Timestamp;
use tokio::sync::broadcast::{self, error::RecvError};

use super::cluster::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TrackKey;
use crate::port::{BoxStream, InstanceId, LogLine, LogOptions, LogStream, Logs};

/// The logs of a [`SimulatedCluster`](super::SimulatedCluster).
#[derive(Debug, Clone)]
pub struct SimulatedLogs(pub(super) Arc<Inner>);

#[async_trait]
impl Logs for SimulatedLogs {
    async fn logs(&self, track: &TrackKey, options: &LogOptions) -> Result<BoxStream<LogLine>> {
        // The lines that exist and the subscription to new ones are taken at once: none is missed or told twice.
        let (mut lines, live, now) = self.0.with(|state| {
            let mut lines = Vec::new();
            let mut known = options.instance.is_none();
            for (_, set) in state.sets_of(track) {
                for instance in &set.instances {
                    if options.instance.as_ref().is_some_and(|wanted| *wanted != instance.id) {
                        continue;
                    }
                    known = true;
                    lines.extend(
                        if options.previous { &instance.previous } else { &instance.lines }.iter().cloned(),
                    );
                }
            }
            if !known {
                return Err(Error::new(ErrorKind::NotFound, "read the lines of an instance")
                    .with_context("track", track)
                    .with_context("instance", options.instance.as_ref().map_or("", |id| id.0.as_str())));
            }
            Ok((lines, options.follow.then(|| state.lines_of(track)), state.now()))
        })?;
        lines.sort_by_key(|line| line.at); // stable: lines of one instance keep their order
        lines.retain(|line| options.since.is_none_or(|since| line.at >= since));
        if let Some(tail) = options.tail {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        let reader = Reader {
            waiting: lines.into(),
            live,
            instance: options.instance.clone(),
            since: options.since,
            last: now,
        };
        Ok(Box::pin(stream::unfold(reader, |mut reader| async move {
            reader.next().await.map(|line| (Ok(line), reader))
        })))
    }
}

struct Reader {
    waiting: VecDeque<LogLine>,
    live: Option<broadcast::Receiver<LogLine>>,
    instance: Option<InstanceId>,
    since: Option<Timestamp>,
    last: Timestamp,
}

impl Reader {
    async fn next(&mut self) -> Option<LogLine> {
        if let Some(line) = self.waiting.pop_front() {
            return Some(line);
        }
        loop {
            match self.live.as_mut()?.recv().await {
                Ok(line) => {
                    self.last = line.at;
                    let wanted = self.instance.as_ref().is_none_or(|id| *id == line.instance)
                        && self.since.is_none_or(|since| line.at >= since);
                    if wanted {
                        return Some(line);
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    let instance = self.instance.clone().unwrap_or_else(|| InstanceId(String::new()));
                    let text = format!("{missed} lines were missed because the reader was too slow");
                    return Some(LogLine { instance, at: self.last, stream: LogStream::Platform, text });
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
