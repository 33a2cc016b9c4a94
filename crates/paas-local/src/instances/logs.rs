//! Reading what an instance said.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Seek},
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::shim_client::{Ear, Heard};
use crate::{
    Error, Result,
    shim::log::{numbers, path},
    state::InstanceDir,
};

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

impl LogRecord {
    /// Reads a line of a log file.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.splitn(4, ' ');
        Some(Self {
            time: fields.next()?.parse().ok()?,
            stream: fields.next()?.to_owned(),
            partial: fields.next()? == "P",
            text: fields.next()?.to_owned(),
        })
    }
}

/// Records as they come. Ends when all were read, or when following, when the instance has ended. What was removed from
/// the disk before it could be read is not in it.
#[derive(Debug)]
pub struct LogStream {
    records: mpsc::Receiver<Result<LogRecord>>,
}

impl LogStream {
    /// The next record; `None` at the end.
    pub async fn next_record(&mut self) -> Option<Result<LogRecord>> {
        self.records.recv().await
    }
}

impl Stream for LogStream {
    type Item = Result<LogRecord>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.records.poll_recv(cx)
    }
}

pub(super) fn open(dir: &InstanceDir, options: LogOptions) -> Result<LogStream> {
    // Before anything is read, so that nothing said meanwhile is missed. If the shim is gone, everything was said.
    let ear = options.follow.then(|| Ear::connect(&dir.socket())).and_then(Result::ok);
    if let Some(ear) = &ear {
        ear.follow_log()?;
    }
    let (send, records) = mpsc::channel(256);
    tokio::spawn(read_all(Reader::new(dir.logs()), options, ear, send));
    Ok(LogStream { records })
}

async fn read_all(
    mut reader: Reader,
    options: LogOptions,
    ear: Option<Ear>,
    send: mpsc::Sender<Result<LogRecord>>,
) {
    let wanted = |record: &LogRecord| options.since.is_none_or(|since| record.time >= since);
    let mut first = true;
    loop {
        // The end is looked for before reading: what was written before it is then read in any case.
        let ended = match (&ear, first) {
            (None, _) => true,
            (Some(_), true) => false,
            (Some(ear), false) => {
                tokio::select! {
                    heard = ear.hear() => heard == Heard::Closed,
                    () = send.closed() => return,
                }
            }
        };
        let mut held = VecDeque::new();
        loop {
            // The files are local and the pages are in memory: a batch is short work.
            let batch = match reader.batch() {
                Ok(batch) => batch,
                Err(source) => {
                    let _ = send.send(Err(Error::io("read the log of an instance", source))).await;
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
        if ended {
            return;
        }
        first = false;
    }
}

/// Reads the files of a log one after the other, and the last one again and again.
struct Reader {
    folder: PathBuf,
    current: Option<(u64, BufReader<File>)>,
    /// A record whose end is not written yet.
    unfinished: Vec<u8>,
}

impl Reader {
    fn new(folder: PathBuf) -> Self {
        Self { folder, current: None, unfinished: Vec::new() }
    }

    /// Some records; none if there are no more for now.
    fn batch(&mut self) -> io::Result<Vec<LogRecord>> {
        let mut records = Vec::new();
        loop {
            if self.current.is_none() && !self.open_after(0)? {
                return Ok(records);
            }
            let Some((number, file)) = &mut self.current else { return Ok(records) };
            let number = *number;
            while records.len() < 256 {
                if file.read_until(b'\n', &mut self.unfinished)? == 0 {
                    break;
                }
                if let Some(line) = self.unfinished.strip_suffix(b"\n") {
                    records.extend(LogRecord::parse(line));
                    self.unfinished.clear();
                }
            }
            if records.len() >= 256 {
                return Ok(records);
            }
            // A file is complete when there is a later one; but it may have grown since its end was read.
            let grown = file.stream_position()? < file.get_ref().metadata()?.len();
            if grown {
                file.stream_position()?;
            } else if !self.open_after(number)? {
                return Ok(records);
            }
        }
    }

    fn open_after(&mut self, after: u64) -> io::Result<bool> {
        let numbers = match numbers(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        for number in numbers.into_iter().filter(|number| *number > after) {
            match File::open(path(&self.folder, number)) {
                Ok(file) => {
                    self.unfinished.clear();
                    self.current = Some((number, BufReader::new(file)));
                    return Ok(true);
                }
                // Removed between the two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
