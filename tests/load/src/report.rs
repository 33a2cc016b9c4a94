//! What a load has seen.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// How many failures are kept with their details; all are counted.
const KEPT: usize = 20;

/// One failure.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// When, counted from the start of the load.
    pub after: Duration,
    /// What happened.
    pub what: String,
}

/// What a load has seen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Requests sent, each answered or failed.
    pub sent: u64,
    /// Requests that failed.
    pub failed: u64,
    /// The first failures.
    pub failures: Vec<Failure>,
    /// Answers by the value of the header asked for; empty text if it was absent.
    pub by_version: BTreeMap<String, u64>,
    /// Times to the whole answer in microseconds, ascending.
    #[serde(skip)]
    pub latencies: Vec<u64>,
}

impl Report {
    pub(crate) fn answered(&mut self, version: String, latency: Duration) {
        self.sent += 1;
        *self.by_version.entry(version).or_default() += 1;
        self.latencies.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn failed(&mut self, after: Duration, what: String) {
        self.sent += 1;
        self.failed += 1;
        if self.failures.len() < KEPT {
            self.failures.push(Failure { after, what });
        }
    }

    /// The latency that `share` of the requests (0 to 1) did not exceed, in microseconds.
    pub fn latency(&self, share: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = ((self.latencies.len().saturating_sub(1)) as f64 * share.clamp(0.0, 1.0)) as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |share| Duration::from_micros(self.latency(share)).as_secs_f64() * 1e3;
        write!(f, "{} sent, {} failed", self.sent, self.failed)?;
        write!(f, "; p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", ms(0.5), ms(0.99), ms(1.0))?;
        for (version, count) in &self.by_version {
            write!(f, "; version {version:?}: {count}")?;
        }
        for failure in &self.failures {
            write!(f, "\n  after {:.3} s: {}", failure.after.as_secs_f64(), failure.what)?;
        }
        Ok(())
    }
}
