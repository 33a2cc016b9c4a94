//! What a router counted of requests.

use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::RevisionId;
use crate::name::{ComponentKey, RouteName};

/// Where requests come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrafficSource {
    /// The world, by an access point of the application that they went to.
    Route {
        /// Its name.
        name: RouteName,
    },
    /// A component that called.
    Component {
        /// Which.
        component: ComponentKey,
    },
}

/// Requests by the class of the answer's status (RFC 9110, section 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Responses {
    /// 1xx.
    pub informational: u64,
    /// 2xx.
    pub successful: u64,
    /// 3xx.
    pub redirection: u64,
    /// 4xx.
    pub client_error: u64,
    /// 5xx.
    pub server_error: u64,
}

impl Responses {
    /// Each class as it is written, such as `2xx`, with its number.
    pub fn classes(&self) -> [(&'static str, u64); 5] {
        [
            ("1xx", self.informational),
            ("2xx", self.successful),
            ("3xx", self.redirection),
            ("4xx", self.client_error),
            ("5xx", self.server_error),
        ]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.classes().iter().map(|(_, count)| count).sum()
    }
}

/// How long requests took, from their head to the head of the answer: how many fell into which bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// The upper bounds of the buckets in microseconds, inclusive, ascending.
    pub bounds_us: Vec<u64>,
    /// How many fell into each, one more than bounds: what was slower is in the last one.
    pub counts: Vec<u64>,
    /// The sum of all in microseconds.
    pub sum_us: u64,
}

impl Latency {
    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time within which this share of the requests, in thousandths, was answered: the upper bound of the bucket that the
    /// last of them fell into. Nothing if there was none, or if it was slower than every bound.
    pub fn within(&self, thousandths: u64) -> Option<u64> {
        let wanted = (self.count() * thousandths).div_ceil(1000);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted && seen > 0
        })?;
        self.bounds_us.get(bucket).copied()
    }

    /// Adds what another one has. Of other buckets each goes into the one that holds its upper bound.
    pub fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        self.sum_us += other.sum_us;
        for (index, count) in other.counts.iter().enumerate() {
            let bound = other.bounds_us.get(index);
            let bucket =
                bound.map_or(self.bounds_us.len(), |bound| self.bounds_us.partition_point(|it| it < bound));
            self.counts[bucket] += count;
        }
    }
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrafficFigures {
    /// Requests that were answered, the router's own answers included.
    pub responses: Responses,
    /// Those among them that the router answered itself with an error.
    pub router_errors: u64,
    /// Requests that the client gave up before it had an answer.
    pub abandoned: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// How long the answers took.
    pub latency: Latency,
    /// Bytes that clients sent.
    pub bytes_in: u64,
    /// Bytes that clients got.
    pub bytes_out: u64,
    /// Upgraded and TCP connections.
    pub connections: u64,
}

impl TrafficFigures {
    /// Whether no request and no connection was counted.
    pub fn is_empty(&self) -> bool {
        self.responses.total() == 0 && self.abandoned == 0 && self.connections == 0
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: &Self) {
        self.responses.informational += other.responses.informational;
        self.responses.successful += other.responses.successful;
        self.responses.redirection += other.responses.redirection;
        self.responses.client_error += other.responses.client_error;
        self.responses.server_error += other.responses.server_error;
        self.router_errors += other.router_errors;
        self.abandoned += other.abandoned;
        self.retries += other.retries;
        self.latency.add(&other.latency);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.connections += other.connections;
    }
}

/// What was counted for one source, component and revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficCount {
    /// Where the requests came from.
    pub source: TrafficSource,
    /// The component that they went to.
    pub component: ComponentKey,
    /// The revision that was chosen; nothing if none could be.
    pub revision: Option<RevisionId>,
    /// What was counted.
    pub figures: TrafficFigures,
}

/// What a router counted of requests.
///
/// # Contract
/// - [`Traffic::counted`] tells one entry for each source, component and revision that had a request. An answered request is in
///   exactly one of them, by the time that its client has the whole answer.
/// - A request that no instance could answer is counted without a revision, and as an error of the router.
/// - Figures count from a moment of the router's choice, such as its start, and only grow from there. Those of what is gone
///   may be forgotten, whole entries at a time.
/// - A router that counts nothing has no such port.
#[async_trait]
pub trait Traffic: fmt::Debug + Send + Sync + 'static {
    /// Everything that was counted.
    async fn counted(&self) -> Result<Vec<TrafficCount>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(counts: [u64; 3]) -> Latency {
        Latency { bounds_us: vec![100, 1000], counts: counts.to_vec(), sum_us: 7 }
    }

    #[test]
    fn a_share_was_answered_within_the_bound_of_the_bucket_that_its_last_request_fell_into() {
        let latency = latency([50, 49, 1]);
        assert_eq!(latency.within(500), Some(100));
        assert_eq!(latency.within(501), Some(1000));
        assert_eq!(latency.within(990), Some(1000));
        assert_eq!(latency.within(1000), None, "one was slower than every bound");
        assert_eq!(Latency::default().within(500), None);
        assert_eq!(self::latency([0, 0, 0]).within(500), None);
    }

    #[test]
    fn sums_lose_no_request_whatever_the_buckets_are() {
        let mut sum = Latency::default();
        sum.add(&latency([1, 2, 3]));
        sum.add(&latency([1, 0, 0]));
        assert_eq!(sum, Latency { sum_us: 14, ..latency([2, 2, 3]) });
        sum.add(&Latency { bounds_us: vec![500, 5000], counts: vec![1, 1, 1], sum_us: 1 });
        assert_eq!(sum, Latency { sum_us: 15, ..latency([2, 3, 5]) });
    }
}
