//! The access log: a line of JSON for each request, in files that are rotated, written by a thread of its own, so
//! that a slow disk never slows a request. What does not fit is lost, and counted.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use serde::Serialize;

use crate::stats::Key;

/// Lines that may wait for the disk.
const WAITING: usize = 4096;

/// Files kept beside the one that is written.
const KEPT: u32 = 4;

/// One request, or one connection that was upgraded or is TCP.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) time: jiff::Timestamp,
    pub(crate) key: Key,
    pub(crate) instance: Option<crate::config::InstanceId>,
    pub(crate) protocol: &'static str,
    pub(crate) peer: Option<std::net::SocketAddr>,
    pub(crate) method: Option<http::Method>,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) request_id: String,
    /// 0 if the client went before there was an answer.
    pub(crate) status: u16,
    /// To the head of the response.
    pub(crate) latency_us: u64,
    /// To the last byte.
    pub(crate) duration_us: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) retries: u32,
    pub(crate) error: Option<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    time: String,
    source: &'a crate::stats::Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: &'a Option<crate::config::ServiceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: &'a Option<crate::config::RevisionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: &'a Option<crate::config::InstanceId>,
    protocol: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<std::net::SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    status: u16,
    latency_us: u64,
    duration_us: u64,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "is_zero")]
    retries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: &'a Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Takes lines; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    sender: Option<SyncSender<Line>>,
    max_bytes: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl AccessLog {
    /// No log.
    pub(crate) fn off() -> Self {
        Self { sender: None, max_bytes: Arc::default(), lost: Arc::default() }
    }

    /// Logs into `access.log` of a folder, which is made. It is off until [`Self::set_max_bytes`].
    pub(crate) fn start(folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (sender, receiver) = sync_channel(WAITING);
        let log = Self { sender: Some(sender), max_bytes: Arc::default(), lost: Arc::default() };
        let file = LogFile { folder: folder.into(), open: None, written: 0 };
        let (max_bytes, lost) = (log.max_bytes.clone(), log.lost.clone());
        std::thread::Builder::new()
            .name("access-log".into())
            .stack_size(128 * 1024)
            .spawn(move || write_all(file, &receiver, &max_bytes, &lost))?;
        Ok(log)
    }

    /// Sets the size at which files are rotated; 0 turns the log off.
    pub(crate) fn set_max_bytes(&self, bytes: u64) {
        self.max_bytes.store(bytes, Relaxed);
    }

    /// Whether lines are wanted.
    pub(crate) fn is_on(&self) -> bool {
        self.sender.is_some() && self.max_bytes.load(Relaxed) > 0
    }

    /// Takes a line, or counts it as lost.
    pub(crate) fn write(&self, line: Line) {
        if let Some(sender) = &self.sender
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(line)
        {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// How many lines were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

fn write_all(mut file: LogFile, lines: &Receiver<Line>, max_bytes: &AtomicU64, lost: &AtomicU64) {
    let mut text = Vec::with_capacity(1024);
    while let Ok(line) = lines.recv() {
        let mut next = Some(line);
        while let Some(line) = next {
            text.clear();
            if serde_json::to_writer(&mut text, &line.written()).is_ok() {
                text.push(b'\n');
                if file.write(&text, max_bytes.load(Relaxed)).is_err() {
                    file.open = None;
                    lost.fetch_add(1, Relaxed);
                }
            }
            next = lines.try_recv().ok();
        }
        if file.flush().is_err() {
            file.open = None;
            lost.fetch_add(1, Relaxed);
        }
    }
}

impl Line {
    fn written(&self) -> Written<'_> {
        Written {
            time: self.time.to_string(),
            source: &self.key.source,
            service: &self.key.service,
            revision: &self.key.revision,
            instance: &self.instance,
            protocol: self.protocol,
            peer: self.peer,
            method: self.method.as_ref().map(http::Method::as_str),
            host: &self.host,
            path: &self.path,
            request_id: &self.request_id,
            status: self.status,
            latency_us: self.latency_us,
            duration_us: self.duration_us,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            retries: self.retries,
            error: &self.error,
        }
    }
}

struct LogFile {
    folder: PathBuf,
    open: Option<BufWriter<File>>,
    written: u64,
}

impl LogFile {
    fn write(&mut self, text: &[u8], max_bytes: u64) -> std::io::Result<()> {
        if self.open.is_some() && self.written + text.len() as u64 > max_bytes {
            self.flush()?;
            self.open = None;
            self.rotate()?;
        }
        let file = if let Some(file) = &mut self.open {
            file
        } else {
            let file = OpenOptions::new().create(true).append(true).open(self.path(0))?;
            self.written = file.metadata()?.len();
            self.open.insert(BufWriter::with_capacity(16 * 1024, file))
        };
        file.write_all(text)?;
        self.written += text.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.open.as_mut().map_or(Ok(()), BufWriter::flush)
    }

    fn rotate(&self) -> std::io::Result<()> {
        for number in (0..KEPT).rev() {
            match std::fs::rename(self.path(number), self.path(number + 1)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, number: u32) -> PathBuf {
        match number {
            0 => self.folder.join("access.log"),
            _ => self.folder.join(format!("access.log.{number}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rotated_and_their_number_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = LogFile { folder: folder.path().into(), open: None, written: 0 };
        for number in 0..100 {
            file.write(format!("{number:09}\n").as_bytes(), 35).unwrap();
        }
        file.flush().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["access.log", "access.log.1", "access.log.2", "access.log.3", "access.log.4"]);
        assert_eq!(std::fs::read_to_string(folder.path().join("access.log")).unwrap(), "000000099\n");
        let older = std::fs::read_to_string(folder.path().join("access.log.1")).unwrap();
        assert_eq!(older, "000000096\n000000097\n000000098\n");
    }
}
