//! The promises of [`Logs`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;

use super::{expect_kind, ok, track};
use crate::error::ErrorKind;
use crate::name::{ClusterName, TrackKey};
use crate::port::{BoxStream, InstanceId, LogLine, LogOptions, LogStream, Logs};

/// Logs under test.
#[async_trait]
pub trait LogsFixture: Send + Sync {
    /// The logs.
    fn logs(&self) -> Arc<dyn Logs>;

    /// Makes one more instance of a track and returns when it runs.
    async fn start(&self, track: &TrackKey) -> InstanceId;

    /// Lets an instance print a line on its standard output; returns once it has been written.
    async fn print(&self, instance: &InstanceId, text: &str);

    /// Ends the process of an instance and returns when it runs again.
    async fn restart(&self, instance: &InstanceId);

    /// The cluster's name.
    fn cluster(&self) -> ClusterName {
        ClusterName::local()
    }

    /// How long to wait for a line.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Defines a test for each promise of [`Logs`](crate::port::Logs): attributes of the tests, then an expression for the fixture.
#[macro_export]
macro_rules! logs_conformance {
    ($($form:tt)*) => {
        $crate::conformance_tests! { logs, [$($form)*],
            lines_come_in_order_and_end,
            lines_of_instances_come_merged_by_time,
            one_instance_can_be_chosen,
            the_tail_is_the_last_lines,
            since_leaves_earlier_lines_out,
            following_goes_on_across_restarts_and_with_later_instances,
            previous_gives_the_lines_before_the_restart,
            a_slow_reader_is_told_what_it_missed,
            an_unknown_instance_is_not_found,
            a_track_without_instances_gives_no_lines,
        }
    };
}

struct Case<'a> {
    fixture: &'a dyn LogsFixture,
    track: TrackKey,
}

impl<'a> Case<'a> {
    fn new(fixture: &'a dyn LogsFixture, name: &str) -> Self {
        Self { fixture, track: track(name, fixture.cluster()) }
    }

    async fn open(&self, options: &LogOptions) -> BoxStream<LogLine> {
        ok(self.fixture.logs().logs(&self.track, options).await)
    }

    /// Everything that instances themselves printed, of a stream that ends.
    async fn read(&self, options: &LogOptions) -> Vec<LogLine> {
        let stream = self.open(options).await;
        let all = tokio::time::timeout(self.fixture.patience(), stream.map(ok).collect::<Vec<_>>());
        let mut lines = all.await.expect("a stream without follow ends");
        lines.retain(|line| line.stream != LogStream::Platform);
        lines
    }

    /// The texts of a stream up to the one expected.
    async fn until(&self, stream: &mut BoxStream<LogLine>, expected: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let read = tokio::time::timeout(self.fixture.patience(), async {
            while texts.last().is_none_or(|text| text != expected) {
                texts.push(ok(stream.next().await.expect("a stream with follow goes on")).text);
            }
        });
        let found = read.await.is_ok();
        assert!(found, "waited for the line {expected:?}; got {texts:?}");
        texts
    }
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

fn printed<'a>(lines: &'a [LogLine], ours: &[&str]) -> Vec<&'a str> {
    texts(lines).into_iter().filter(|text| ours.contains(text)).collect()
}

/// Lines of one instance never change order; without `follow` the stream ends with the last line that existed.
pub async fn lines_come_in_order_and_end(fixture: &dyn LogsFixture) {
    let case = Case::new(fixture, "log-order");
    let instance = case.fixture.start(&case.track).await;
    let wanted: Vec<String> = (0..50).map(|n| format!("line {n}")).collect();
    for text in &wanted {
        fixture.print(&instance, text).await;
    }
    let lines = case.read(&LogOptions::default()).await;
    let ours: Vec<&str> = wanted.iter().map(String::as_str).collect();
    assert_eq!(printed(&lines, &ours), ours);
    assert!(lines.iter().all(|line| line.instance == instance));
    assert!(lines.is_sorted_by_key(|line| line.at));
}

/// Lines of all instances of a track come merged, in the order of their times.
pub async fn lines_of_instances_come_merged_by_time(fixture: &dyn LogsFixture) {
    let case = Case::new(fixture, "log-merged");
    let (a, b) = (fixture.start(&case.track).await, fixture.start(&case.track).await);
    for (instance, text) in [(&a, "a1"), (&b, "b1"), (&a, "a2"), (&b, "b2")] {
        fixture.print(instance, text).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let lines = case.read(&LogOptions::default()).await;
    assert_eq!(printed(&lines, &["a1", "b1", "a2", "b2"]), ["a1", "b1", "a2", "b2"]);
}

/// Only the lines of the instance asked for.
pub async fn one_instance_can_be_chosen(fixture: &dyn LogsFixture) {
    let case = Case::new(fixture, "log-one");
    let (a, b) = (fixture.start(&case.track).await, fixture.start(&case.track).await);
    fixture.print(&a, "from a").await;
    fixture.print(&b, "from b").await;
    let options = LogOptions { instance: Some(b.clone()), ..LogOptions::default() };
    let lines = case.read(&options).await;
    assert!(lines.iter().all(|line| line.instance == b), "{lines:?}");
    assert_eq!(printed(&lines, &["from a", "from b"]), ["from b"]);
}

/// `tail` gives the last lines that exist.
pub async fn the_tail_is_the_last_lines(fixture: &dyn LogsFixture) {
    let case = Case::new(fixture, "log-tail");
    let instance = fixture.start(&case.track).await;
    for n in 0..10 {
        fixture.print(&instance, &format!("line {n}")).await;
    }
    let lines = case.read(&LogOptions { tail: Some(3), ..LogOptions::default() }).await;
    assert_eq!(texts(&lines), ["line 7", "line 8", "line 9"]);
    assert!(case.read(&LogOptions { tail: Some(0), ..LogOptions::default() }).await.is_empty());
}

/// `since` leaves out what was printed before.
pub async fn since_leaves_earlier_lines_out(fixture: &dyn LogsFixture) {
    let case = Case::new(fixture, "log-since");
    let instance = fixture.start(&case.track).await;
    fixture.print(&instance, "early").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    fixture.print(&instance, "late").await;
    let lines = case.read(&LogOptions::default()).await;
    let since = lines.iter().find(|line| line.text == "late").map(|line| line.at);
    let lines = case.read(&LogOptions { since, ..LogOptions::default() }).await;
    assert_eq!(printed(&lines, &["early", "late"]), ["late"]);
}

/// With `follow` the stream goes on across restarts, and with instances that come later.
pub async fn following_goes_on_across_restarts_and_with_later_instances(fixture: &dyn LogsFixture) {
    let case = Case::new(fixture, "log-follow");
    let first = fixture.start(&case.track).await;
    fixture.print(&first, "existing").await;
    let mut stream = case.open(&LogOptions { follow: true, ..LogOptions::default() }).await;
    case.until(&mut stream, "existing").await;
    fixture.print(&first, "new").await;
    let seen = case.until(&mut stream, "new").await;
    assert!(!seen.contains(&"existing".to_owned()), "no line is told twice: {seen:?}");
    fixture.restart(&first).await;
    fixture.print(&first, "after the restart").await;
    case.until(&mut stream, "after the restart").await;
    let second = fixture.start(&case.track).await;
    fixture.print(&second, "from a later instance").await;
    case.until(&mut stream, "from a later instance").await;
}

/// `previous` gives the lines of the process before the last restart.
pub async fn previous_gives_the_lines_before_the_restart(fixture: &dyn LogsFixture) {
    let case = Case::new(fixture, "log-previous");
    let instance = fixture.start(&case.track).await;
    fixture.print(&instance, "before").await;
    fixture.restart(&instance).await;
    fixture.print(&instance, "after").await;
    let lines = case.read(&LogOptions { previous: true, ..LogOptions::default() }).await;
    assert_eq!(printed(&lines, &["before", "after"]), ["before"]);
    let lines = case.read(&LogOptions::default()).await;
    assert!(printed(&lines, &["after"]) == ["after"], "{lines:?}");
}

/// A reader that is too slow gets every line, or is told by a line of the platform how many it missed.
pub async fn a_slow_reader_is_told_what_it_missed(fixture: &dyn LogsFixture) {
    const LINES: usize = 5000;
    let case = Case::new(fixture, "log-slow");
    let instance = fixture.start(&case.track).await;
    let mut stream = case.open(&LogOptions { follow: true, tail: Some(0), ..LogOptions::default() }).await;
    for n in 0..LINES {
        fixture.print(&instance, &format!("line {n}")).await;
    }
    let mut seen = 0;
    let mut missed = 0;
    let last = format!("line {}", LINES - 1);
    let read = tokio::time::timeout(fixture.patience(), async {
        loop {
            let line = ok(stream.next().await.expect("a stream with follow goes on"));
            if line.stream == LogStream::Platform {
                let count = line
                    .text
                    .split(|c: char| !c.is_ascii_digit())
                    .find_map(|word| word.parse::<usize>().ok());
                missed += count.unwrap_or_default();
            } else if line.text.starts_with("line ") {
                seen += 1;
                if line.text == last {
                    break;
                }
            }
        }
    });
    assert!(read.await.is_ok(), "the last line comes, after {seen} lines and {missed} missed");
    assert!(seen + missed >= LINES, "{seen} lines came and {missed} were named as missed, of {LINES}");
}

/// An unknown instance is `NotFound`.
pub async fn an_unknown_instance_is_not_found(fixture: &dyn LogsFixture) {
    let case = Case::new(fixture, "log-unknown");
    fixture.start(&case.track).await;
    let options = LogOptions { instance: Some(InstanceId("nobody".to_owned())), ..LogOptions::default() };
    let answer = fixture.logs().logs(&case.track, &options).await.map(|_| ());
    expect_kind(answer, ErrorKind::NotFound, "an unknown instance has no lines");
}

/// A track without instances gives no lines.
pub async fn a_track_without_instances_gives_no_lines(fixture: &dyn LogsFixture) {
    let case = Case::new(fixture, "log-empty");
    assert!(case.read(&LogOptions::default()).await.is_empty());
}
