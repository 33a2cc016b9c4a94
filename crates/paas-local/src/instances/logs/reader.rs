//! The files of a log, read one after the other.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
};

use jiff::Timestamp;

use crate::shim::log::{numbers, path};

/// The most records in one batch: the files are local and their pages in memory, so that a batch is short work.
const BATCH: usize = 256;

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
    /// The runtime itself.
    System,
}

/// A line that an instance said, or a part of one, as it said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) time: Timestamp,
    pub(crate) source: Source,
    /// Whether the line goes on in the next record of its source.
    pub(crate) partial: bool,
    pub(crate) bytes: Vec<u8>,
}

/// A line of a log file.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Record(Record),
    /// The head of a file: how many lines are in those before.
    Head(Timestamp, u64),
}

impl Entry {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(fields.next()?).ok();
        let time = word()?.parse().ok()?;
        let source = match word()? {
            "stdout" => Source::Stdout,
            "stderr" => Source::Stderr,
            _ => Source::System,
        };
        let tag = word()?;
        let text = fields.next()?;
        if tag == "H" {
            return Some(Self::Head(time, std::str::from_utf8(text).ok()?.parse().ok()?));
        }
        Some(Self::Record(Record { time, source, partial: tag == "P", bytes: text.to_vec() }))
    }
}

/// Reads the files of a log one after the other, and the last one again and again.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    current: Option<Open>,
    /// A record whose end is not written yet.
    unfinished: Vec<u8>,
    /// How many whole lines come before the next record; `None` before the first file was read.
    lines: Option<u64>,
    /// Where to stop: a file and a length of it.
    end: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    file: BufReader<File>,
    /// What was read of it.
    length: u64,
}

impl Reader {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, current: None, unfinished: Vec::new(), lines: None, end: None }
    }

    /// Leaves out what is written from now on.
    pub(super) fn stop_here(&mut self) -> io::Result<()> {
        let last = self.numbers()?.pop().unwrap_or(0);
        let length = match std::fs::metadata(path(&self.folder, last)) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        self.end = Some((last, length));
        Ok(())
    }

    /// Some records; none if there are no more for now. Lines that were removed from the disk before they could be read
    /// are counted in a record of the system.
    pub(super) fn batch(&mut self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        loop {
            if self.current.is_none() && !self.open_after(0)? {
                return Ok(records);
            }
            let Some(Open { number, file, length }) = &mut self.current else { return Ok(records) };
            let number = *number;
            let end = self.end.filter(|(last, _)| *last == number).map(|(_, length)| length);
            while records.len() < BATCH && end.is_none_or(|end| *length < end) {
                let count = file.read_until(b'\n', &mut self.unfinished)?;
                *length += count as u64;
                if count == 0 || end.is_some_and(|end| *length > end) {
                    break;
                }
                let Some(line) = self.unfinished.strip_suffix(b"\n") else { continue };
                match Entry::parse(line) {
                    Some(Entry::Record(record)) => {
                        self.lines = self.lines.map(|lines| lines + u64::from(!record.partial));
                        records.push(record);
                    }
                    Some(Entry::Head(time, before)) => {
                        // What was removed before this reader began was not missed by it.
                        let missed = before.saturating_sub(self.lines.unwrap_or(before));
                        self.lines = Some(before);
                        if missed > 0 {
                            records.push(missed_lines(time, missed));
                        }
                    }
                    None => {}
                }
                self.unfinished.clear();
            }
            if records.len() >= BATCH || end.is_some_and(|end| *length >= end) {
                return Ok(records);
            }
            // A file is complete when there is a later one; but it may have grown since its end was read.
            let grown = *length < file.get_ref().metadata()?.len();
            if !grown && !self.open_after(number)? {
                return Ok(records);
            }
        }
    }

    fn open_after(&mut self, after: u64) -> io::Result<bool> {
        let last = self.end.map_or(u64::MAX, |(last, _)| last);
        for number in self.numbers()?.into_iter().filter(|number| *number > after && *number <= last) {
            match File::open(path(&self.folder, number)) {
                Ok(file) => {
                    self.unfinished.clear();
                    self.current = Some(Open { number, file: BufReader::new(file), length: 0 });
                    return Ok(true);
                }
                // Removed between the two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn numbers(&self) -> io::Result<Vec<u64>> {
        match numbers(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }
}

fn missed_lines(time: Timestamp, count: u64) -> Record {
    let text = format!("{count} lines were removed from the disk before they could be read");
    Record { time, source: Source::System, partial: false, bytes: text.into_bytes() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn write(&self, number: u64, text: &str) {
            let lines = text.lines().map(|line| format!("2026-01-02T03:04:05Z {line}\n"));
            let file = path(self.0.path(), number);
            let before = fs::read_to_string(&file).unwrap_or_default();
            fs::write(file, before + &lines.collect::<String>()).expect("it is written");
        }

        fn remove(&self, number: u64) {
            fs::remove_file(path(self.0.path(), number)).expect("it is removed");
        }

        fn reader(&self) -> Reader {
            Reader::new(self.0.path().to_path_buf())
        }
    }

    fn texts(reader: &mut Reader) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let batch = reader.batch().expect("it can be read");
            if batch.is_empty() {
                return texts;
            }
            texts
                .extend(batch.into_iter().map(|record| String::from_utf8(record.bytes).expect("it is text")));
        }
    }

    #[test]
    fn files_are_read_one_after_the_other_and_the_last_one_as_it_grows() {
        let folder = Folder::new();
        folder.write(1, "system H 0\nstdout F one");
        folder.write(2, "system H 1\nstderr P tw");
        let mut reader = folder.reader();
        assert_eq!(texts(&mut reader), ["one", "tw"]);
        folder.write(2, "stderr F o");
        folder.write(3, "system H 2\nstdout F three four");
        assert_eq!(texts(&mut reader), ["o", "three four"]);
        assert_eq!(texts(&mut reader), Vec::<String>::new());
    }

    #[test]
    fn lines_that_were_removed_before_they_were_read_are_counted() {
        let folder = Folder::new();
        folder.write(4, "system H 100\nstdout F a");
        let mut reader = folder.reader();
        assert_eq!(texts(&mut reader), ["a"], "what was gone before is not missed");
        folder.write(4, "stdout F b");
        folder.write(6, "system H 130\nstdout F c");
        folder.remove(4);
        let said = "28 lines were removed from the disk before they could be read";
        assert_eq!(texts(&mut reader), ["b", said, "c"], "an open file can be read when its name is gone");
    }

    #[test]
    fn a_reader_that_stops_leaves_out_what_comes_later() {
        let folder = Folder::new();
        folder.write(1, "system H 0\nstdout F one");
        let mut reader = folder.reader();
        reader.stop_here().expect("it is there");
        folder.write(1, "stdout F two");
        folder.write(2, "system H 2\nstdout F three");
        assert_eq!(texts(&mut reader), ["one"]);
        let mut nothing = Folder::new().reader();
        nothing.stop_here().expect("nothing is there");
        assert_eq!(texts(&mut nothing), Vec::<String>::new());
    }
}
