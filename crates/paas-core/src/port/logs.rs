//! What instances print.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BoxStream, InstanceId};
use crate::error::Result;
use crate::name::TrackKey;

/// Which of a process's outputs a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The platform itself: a start, an exit, lines lost.
    Platform,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The instance.
    pub instance: InstanceId,
    /// When it was printed.
    pub at: Timestamp,
    /// Where it was printed.
    pub stream: LogStream,
    /// The text without its line end; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// Which lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Only this instance; all of the track if absent.
    pub instance: Option<InstanceId>,
    /// Goes on with new lines, and with those of instances that come later.
    pub follow: bool,
    /// At most so many of the lines that exist, the last ones.
    pub tail: Option<usize>,
    /// Only lines printed at or after this time.
    pub since: Option<Timestamp>,
    /// The lines of the process before the last restart instead of the present one.
    pub previous: bool,
}

/// What instances print.
///
/// # Contract
/// - Lines of all instances of a track come merged, in the order of their times; lines of one instance never change order.
/// - Without `follow` the stream ends with the last line that existed at the call.
/// - With `follow` it goes on across restarts, and with instances that come later, until dropped.
/// - A reader that is too slow misses lines and is told so by a line of [`LogStream::Platform`] that counts them.
/// - An unknown instance is [`ErrorKind::NotFound`](crate::ErrorKind::NotFound); a track without instances gives no lines.
#[async_trait]
pub trait Logs: fmt::Debug + Send + Sync + 'static {
    /// The lines of a track.
    async fn logs(&self, track: &TrackKey, options: &LogOptions) -> Result<BoxStream<LogLine>>;
}
