//! Whole lines from records that may be parts of lines.

use paas_core::port::{InstanceId, LogLine, LogStream};

use crate::instances::{Record, Source};

/// The longest line that is put together; of a longer one, each such piece is a line.
const MAX_BYTES: usize = 1 << 20;

/// Puts the lines of one instance together.
#[derive(Debug)]
pub(super) struct Joiner {
    instance: InstanceId,
    stdout: Option<Record>,
    stderr: Option<Record>,
}

impl Joiner {
    pub(super) fn new(instance: InstanceId) -> Self {
        Self { instance, stdout: None, stderr: None }
    }

    /// Takes the next record; gives a line if one is whole now.
    pub(super) fn push(&mut self, mut record: Record) -> Option<LogLine> {
        let begun = match record.source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
            Source::System => return Some(self.line(record)),
        };
        if let Some(before) = begun.take() {
            let end = std::mem::replace(&mut record.bytes, before.bytes);
            record.bytes.extend(end);
        }
        if record.partial && record.bytes.len() < MAX_BYTES {
            *begun = Some(record);
            return None;
        }
        Some(self.line(record))
    }

    /// The lines whose ends will not come.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = LogLine> + use<> {
        let mut left: Vec<Record> = [self.stdout.take(), self.stderr.take()].into_iter().flatten().collect();
        left.sort_by_key(|record| record.time);
        let lines: Vec<LogLine> = left.into_iter().map(|record| self.line(record)).collect();
        lines.into_iter()
    }

    /// A line was printed when its end was.
    fn line(&self, record: Record) -> LogLine {
        let stream = match record.source {
            Source::Stdout => LogStream::Stdout,
            Source::Stderr => LogStream::Stderr,
            Source::System => LogStream::Platform,
        };
        let text = String::from_utf8(record.bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        LogLine { instance: self.instance.clone(), at: record.time, stream, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(second: i64, source: Source, partial: bool, text: &str) -> Record {
        let time = jiff::Timestamp::from_second(second).expect("a time");
        Record { time, source, partial, bytes: text.as_bytes().to_vec() }
    }

    fn lines(records: Vec<Record>) -> Vec<(i64, LogStream, String)> {
        let mut joiner = Joiner::new(InstanceId("one".to_owned()));
        let mut lines: Vec<LogLine> = records.into_iter().filter_map(|record| joiner.push(record)).collect();
        lines.extend(joiner.finish());
        lines.into_iter().map(|line| (line.at.as_second(), line.stream, line.text)).collect()
    }

    #[test]
    fn parts_of_a_line_are_joined_and_the_other_output_does_not_come_between() {
        let records = vec![
            record(1, Source::Stdout, true, "one "),
            record(2, Source::Stderr, true, "war"),
            record(3, Source::Stdout, true, "two "),
            record(4, Source::System, false, "3 bytes were dropped"),
            record(5, Source::Stderr, false, "ning"),
            record(6, Source::Stdout, false, "three"),
        ];
        let expected = [
            (4, LogStream::Platform, "3 bytes were dropped"),
            (5, LogStream::Stderr, "warning"),
            (6, LogStream::Stdout, "one two three"),
        ];
        assert_eq!(lines(records), expected.map(|(at, stream, text)| (at, stream, text.to_owned())));
    }

    #[test]
    fn a_line_without_end_is_told_at_the_end() {
        let records = vec![record(1, Source::Stdout, true, "no line end")];
        assert_eq!(lines(records), [(1, LogStream::Stdout, "no line end".to_owned())]);
    }

    #[test]
    fn a_line_that_never_ends_is_cut() {
        let part = "x".repeat(MAX_BYTES / 4);
        let records = (0..6).map(|second| record(second, Source::Stdout, true, &part)).collect();
        let lengths: Vec<usize> = lines(records).iter().map(|(_, _, text)| text.len()).collect();
        assert_eq!(lengths, [MAX_BYTES, MAX_BYTES / 2]);
    }
}
