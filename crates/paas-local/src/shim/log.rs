//! The instance's output, in files of bounded size and number.
//!
//! A record is a line in the form that container runtimes of Kubernetes write (CRI logging): the time in RFC 3339 with
//! nanoseconds, the stream, `F` for a whole line or `P` for a part of one, and the text. Files are numbered upwards, so
//! that a reader that is behind goes on with the next number; the lowest are removed. The first record of each file is
//! ours: its tag is `H`, and its text is the number of lines in all files before, so that a reader knows how many it
//! missed.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::spec::LogPolicy;

pub(super) const STDOUT: usize = 0;
pub(super) const STDERR: usize = 1;
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Longer lines are written in parts.
const MAX_LINE: usize = 16 * 1024;

pub(super) struct Log {
    folder: PathBuf,
    policy: LogPolicy,
    number: u64,
    file: Option<File>,
    size: u64,
    /// The whole lines that were written so far.
    lines: u64,
    /// The beginnings of lines whose ends have not come yet.
    open_lines: [Vec<u8>; 2],
    dropped: u64,
    /// Of the dropped ones, those that no record tells of yet.
    unreported: u64,
}

impl Log {
    /// Begins a log in a folder that holds none.
    pub(super) fn create(folder: PathBuf, policy: LogPolicy) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut log = Self {
            folder,
            policy,
            number: 1,
            file: None,
            size: 0,
            lines: 0,
            open_lines: [Vec::new(), Vec::new()],
            dropped: 0,
            unreported: 0,
        };
        log.file = Some(log.open_current()?);
        Ok(log)
    }

    /// The bytes that did not get to the disk because it was full.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Reads once, and writes what came; `false` if nothing did.
    pub(super) fn read_from(&mut self, pipe: &OwnedFd, stream: usize) -> bool {
        let mut buffer = [0; 16 * 1024];
        match rustix::io::read(pipe, &mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.append(stream, &buffer[..count]);
                true
            }
        }
    }

    /// Reads all that is there.
    pub(super) fn drain(&mut self, pipe: &OwnedFd, stream: usize) {
        while self.read_from(pipe, stream) {}
    }

    /// Writes the lines whose ends will not come any more.
    pub(super) fn finish(&mut self) {
        for stream in [STDOUT, STDERR] {
            let rest = std::mem::take(&mut self.open_lines[stream]);
            if !rest.is_empty() {
                self.write(&Records::of_one(STREAMS[stream], b'P', &rest));
            }
        }
    }

    fn append(&mut self, stream: usize, bytes: &[u8]) {
        let mut records = Records { bytes: Vec::with_capacity(bytes.len() + 128), lines: 0 };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let open = &mut self.open_lines[stream];
            match piece.strip_suffix(b"\n") {
                Some(end) if open.is_empty() => records.push(STREAMS[stream], b'F', end),
                Some(end) => {
                    open.extend_from_slice(end);
                    records.push(STREAMS[stream], b'F', open);
                    open.clear();
                }
                None => open.extend_from_slice(piece),
            }
            if open.len() >= MAX_LINE {
                records.push(STREAMS[stream], b'P', open);
                open.clear();
            }
            if open.is_empty() && open.capacity() > 1024 {
                // An idle instance should cost next to nothing.
                *open = Vec::new();
            }
        }
        if !records.bytes.is_empty() {
            self.write(&records);
        }
    }

    /// Writes whole records or none of them. A full disk must neither block nor end the instance: what does not fit is
    /// dropped and counted, and the count is written with the next records for which there is room.
    fn write(&mut self, records: &Records) {
        let written = if self.unreported > 0 {
            let text =
                format!("{} bytes of output were dropped: no space left on the device", self.unreported);
            let mut with_count = Records::of_one("system", b'F', text.as_bytes());
            with_count.append(records);
            self.try_write(&with_count)
        } else {
            self.try_write(records)
        };
        match written {
            Ok(()) => self.unreported = 0,
            Err(_) => self.drop_bytes(records.bytes.len()),
        }
    }

    fn drop_bytes(&mut self, count: usize) {
        self.dropped += count as u64;
        self.unreported += count as u64;
    }

    fn try_write(&mut self, records: &Records) -> io::Result<()> {
        if self.file.is_none() || self.size >= self.policy.file_bytes {
            self.rotate()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        append_all(file, &mut self.size, &records.bytes)?;
        self.lines += records.lines;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.file.take().is_some() {
            self.number += 1;
        }
        // Removed before the new one is made, so that rotating needs no room.
        let keep = u64::from(self.policy.files.max(1));
        for old in numbers(&self.folder)?.into_iter().filter(|old| old + keep <= self.number) {
            fs::remove_file(path(&self.folder, old))?;
        }
        self.file = Some(self.open_current()?);
        Ok(())
    }

    fn open_current(&mut self) -> io::Result<File> {
        let mut file = File::options().create(true).append(true).open(path(&self.folder, self.number))?;
        self.size = file.metadata()?.len();
        if self.size == 0 {
            let head = Records::of_one("system", b'H', self.lines.to_string().as_bytes());
            append_all(&mut file, &mut self.size, &head.bytes)?;
        }
        Ok(file)
    }
}

/// Appends all or nothing: no half record may stay, a later one would continue it.
fn append_all(file: &mut File, size: &mut u64, bytes: &[u8]) -> io::Result<()> {
    match file.write_all(bytes) {
        Ok(()) => {
            *size += bytes.len() as u64;
            Ok(())
        }
        Err(error) => {
            let _ = file.set_len(*size);
            Err(error)
        }
    }
}

/// Records that are written together.
struct Records {
    bytes: Vec<u8>,
    /// How many of them are whole lines.
    lines: u64,
}

impl Records {
    fn of_one(stream: &str, tag: u8, text: &[u8]) -> Self {
        let mut records = Self { bytes: Vec::with_capacity(text.len() + 48), lines: 0 };
        records.push(stream, tag, text);
        records
    }

    fn append(&mut self, more: &Self) {
        self.bytes.extend_from_slice(&more.bytes);
        self.lines += more.lines;
    }

    fn push(&mut self, stream: &str, tag: u8, text: &[u8]) {
        // Writing to a vector cannot fail.
        let _ = write!(self.bytes, "{:.9} {stream} {} ", Timestamp::now(), char::from(tag));
        self.bytes.extend_from_slice(text);
        self.bytes.push(b'\n');
        self.lines += u64::from(tag == b'F');
    }
}

/// The file of a number.
pub(crate) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.log"))
}

/// The numbers of the files that are there, rising.
pub(crate) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
