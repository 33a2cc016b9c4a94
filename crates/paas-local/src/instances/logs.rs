//! Reading what an instance said.

mod reader;
mod tail;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use jiff::Timestamp;
use tokio::sync::mpsc;

pub(crate) use reader::{Record, Source};
pub(crate) use tail::Tail;

use crate::{Error, Result, state::InstanceDir};

/// Which records are read.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LogOptions {
    /// Go on with what it will say, until it ends.
    pub follow: bool,
    /// Of what it has said, only so many of the last records.
    pub tail: Option<usize>,
    /// Only records from this time on.
    pub since: Option<Timestamp>,
}

impl LogOptions {
    /// Everything that is there.
    pub fn all() -> Self {
        Self::default()
    }

    /// The last records.
    pub fn tail(count: usize) -> Self {
        Self { tail: Some(count), ..Self::default() }
    }

    /// Goes on with what is to come.
    #[must_use]
    pub fn following(mut self) -> Self {
        self.follow = true;
        self
    }

    /// Only records from this time on.
    #[must_use]
    pub fn since(mut self, time: Timestamp) -> Self {
        self.since = Some(time);
        self
    }
}

/// A line that an instance said, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// When the shim had it.
    pub time: Timestamp,
    /// `stdout`, `stderr`, or `system` for what the runtime has to say.
    pub stream: String,
    /// Whether the line goes on in the next record of the stream.
    pub partial: bool,
    /// The text, without the end of the line. Bytes that are not UTF-8 are replaced.
    pub text: String,
}

impl From<Record> for LogRecord {
    fn from(Record { time, source, partial, bytes }: Record) -> Self {
        let stream = match source {
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
            Source::System => "system",
        };
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Self { time, stream: stream.to_owned(), partial, text }
    }
}

/// Records as they come. Ends when all were read, or when following, when the instance has ended. Lines that were removed
/// from the disk before they could be read are counted in a record of `system`.
#[derive(Debug)]
pub struct LogStream {
    records: mpsc::Receiver<Result<Record>>,
}

impl LogStream {
    /// The next record; `None` at the end.
    pub async fn next_record(&mut self) -> Option<Result<LogRecord>> {
        Some(self.next_as_said().await?.map(LogRecord::from))
    }

    /// As [`next_record`](Self::next_record), byte for byte.
    pub(crate) async fn next_as_said(&mut self) -> Option<Result<Record>> {
        self.records.recv().await
    }
}

impl Stream for LogStream {
    type Item = Result<LogRecord>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.records.poll_recv(cx).map(|next| next.map(|record| record.map(LogRecord::from)))
    }
}

pub(super) fn open(dir: &InstanceDir, options: LogOptions) -> Result<LogStream> {
    let log = if options.follow { Tail::following(dir) } else { Tail::so_far(dir).map_err(failed)? };
    let (send, records) = mpsc::channel(256);
    tokio::spawn(read_all(log, options, send));
    Ok(LogStream { records })
}

fn failed(source: io::Error) -> Error {
    Error::io("read the log of an instance", source)
}

async fn read_all(mut log: Tail, options: LogOptions, send: mpsc::Sender<Result<Record>>) {
    let wanted = |record: &Record| options.since.is_none_or(|since| record.time >= since);
    let mut first = true;
    loop {
        // Asked before reading: what was written before the end is then read in any case.
        let complete = log.is_complete();
        let mut held = VecDeque::new();
        loop {
            let batch = match log.batch() {
                Ok(batch) => batch,
                Err(source) => {
                    let _ = send.send(Err(failed(source))).await;
                    return;
                }
            };
            if batch.is_empty() {
                break;
            }
            for record in batch.into_iter().filter(|record| wanted(record)) {
                match options.tail.filter(|_| first) {
                    Some(tail) => {
                        held.push_back(record);
                        if held.len() > tail {
                            held.pop_front();
                        }
                    }
                    None => {
                        if send.send(Ok(record)).await.is_err() {
                            return;
                        }
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        for record in held {
            if send.send(Ok(record)).await.is_err() {
                return;
            }
        }
        if complete {
            return;
        }
        first = false;
        tokio::select! {
            () = log.grown() => {}
            () = send.closed() => return,
        }
    }
}
