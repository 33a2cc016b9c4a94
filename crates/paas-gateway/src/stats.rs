//! What was counted: by where requests came from, the service they went to, and the revision that answered.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::config::{ComponentId, ListenerId, RevisionId, RouteId, ServiceId};

/// Upper bounds of the latency buckets, in microseconds; a last bucket holds what is slower.
pub(crate) const LATENCY_BOUNDS: [u64; 16] = [
    250, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// How many counters of revisions, routes and callers that are gone are kept, the latest of them.
const RETIRED: usize = 512;

/// Where requests come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// The world, by a route.
    Route(RouteId),
    /// The world, by a listener: TCP, and HTTP requests that no route took.
    Listener(ListenerId),
    /// A component that called.
    Component(ComponentId),
}

/// All statistics at one moment. Counters count from the start of the gateway process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// One for each combination that had a request, or could have one under the config in force.
    pub entries: Vec<Snapshot>,
    /// Lines that the access log lost, because the disk was slow or full.
    #[serde(default)]
    pub access_log_lost: u64,
}

/// What was counted for one source, service and revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Where the requests came from.
    pub source: Source,
    /// Where they went; `None` if nowhere.
    pub service: Option<ServiceId>,
    /// The revision that was chosen; `None` if none could be.
    pub revision: Option<RevisionId>,
    /// Requests answered with 1xx, 2xx, 3xx, 4xx, 5xx, in this order, the gateway's own answers included.
    pub requests: [u64; 5],
    /// Requests that the client gave up before it had the head of an answer.
    pub abandoned: u64,
    /// Requests answered by the gateway itself with an error, part of `requests`.
    pub gateway_errors: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Time from the head of the request to the head of the response.
    pub latency: Histogram,
    /// Bytes of request bodies, and of upgraded and TCP connections, from the client.
    pub bytes_in: u64,
    /// Bytes of response bodies, and of upgraded and TCP connections, to the client.
    pub bytes_out: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Upgraded and TCP connections that are open.
    pub connections: u64,
    /// Upgraded and TCP connections that ever were.
    pub connections_total: u64,
}

/// How many values fell into which bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper bounds, inclusive, in microseconds.
    pub bounds_us: Vec<u64>,
    /// Counts, one more than bounds; not cumulative.
    pub counts: Vec<u64>,
    /// The sum of all values in microseconds.
    pub sum_us: u64,
}

/// What is counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) source: Source,
    pub(crate) service: Option<ServiceId>,
    pub(crate) revision: Option<RevisionId>,
}

/// The live counters of one [`Key`].
#[derive(Debug)]
pub(crate) struct Counters {
    key: Key,
    requests: [AtomicU64; 5],
    latency: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    latency_sum: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) gateway_errors: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_total: AtomicU64,
}

impl Counters {
    fn new(key: Key) -> Self {
        Self {
            key,
            requests: Default::default(),
            latency: Default::default(),
            latency_sum: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            gateway_errors: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            connections_total: AtomicU64::new(0),
        }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, status: http::StatusCode, latency: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.requests[class].fetch_add(1, Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < micros);
        self.latency[bucket].fetch_add(1, Relaxed);
        self.latency_sum.fetch_add(micros, Relaxed);
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            source: self.key.source.clone(),
            service: self.key.service.clone(),
            revision: self.key.revision.clone(),
            requests: std::array::from_fn(|i| self.requests[i].load(Relaxed)),
            abandoned: self.abandoned.load(Relaxed),
            gateway_errors: self.gateway_errors.load(Relaxed),
            retries: self.retries.load(Relaxed),
            latency: Histogram {
                bounds_us: LATENCY_BOUNDS.to_vec(),
                counts: self.latency.iter().map(|count| count.load(Relaxed)).collect(),
                sum_us: self.latency_sum.load(Relaxed),
            },
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            connections: self.connections.load(Relaxed),
            connections_total: self.connections_total.load(Relaxed),
        }
    }
}

/// All counters. Those that the config in force does not name are kept for a while, so that the last numbers of a
/// revision that just left can still be read.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    live: HashMap<Key, Arc<Counters>>,
    retired: VecDeque<Arc<Counters>>,
}

impl Registry {
    /// The counters of a key: for the making of a table, not for each request.
    pub(crate) fn counters(&self, key: Key) -> Arc<Counters> {
        let mut inner = self.lock();
        if let Some(found) = inner.live.get(&key) {
            return found.clone();
        }
        let position = inner.retired.iter().position(|counters| counters.key == key);
        let counters = position
            .and_then(|position| inner.retired.remove(position))
            .unwrap_or_else(|| Arc::new(Counters::new(key.clone())));
        inner.live.insert(key, counters.clone());
        counters
    }

    /// Retires all counters that nobody but the registry holds: no table, no request.
    pub(crate) fn retire_unused(&self) {
        let mut inner = self.lock();
        let Inner { live, retired } = &mut *inner;
        live.retain(|_, counters| {
            let used = Arc::strong_count(counters) > 1;
            if !used {
                retired.push_back(counters.clone());
            }
            used
        });
        let surplus = retired.len().saturating_sub(RETIRED);
        retired.drain(..surplus);
    }

    /// All of them, in a stable order.
    pub(crate) fn snapshot(&self) -> Vec<Snapshot> {
        let inner = self.lock();
        let mut all: Vec<_> =
            inner.live.values().chain(&inner.retired).map(|counters| counters.snapshot()).collect();
        drop(inner);
        all.sort_by(|a, b| (&a.source, &a.service, &a.revision).cmp(&(&b.source, &b.service, &b.revision)));
        all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn key(revision: &str) -> Key {
        Key { source: Source::Route("r".into()), service: Some("s".into()), revision: Some(revision.into()) }
    }

    #[test]
    fn a_value_falls_into_the_first_bucket_whose_bound_holds_it() {
        let registry = Registry::default();
        let counters = registry.counters(key("a"));
        for micros in [0, 250, 251, 30_000_001] {
            counters.answered(StatusCode::OK, Duration::from_micros(micros));
        }
        let snapshot = &registry.snapshot()[0];
        assert_eq!((snapshot.latency.counts[0], snapshot.latency.counts[1]), (2, 1));
        assert_eq!(snapshot.latency.counts.last(), Some(&1));
        assert_eq!(snapshot.latency.counts.len(), snapshot.latency.bounds_us.len() + 1);
        assert_eq!(snapshot.requests, [0, 4, 0, 0, 0]);
    }

    #[test]
    fn counters_that_went_out_of_use_are_shown_and_come_back_with_their_numbers() {
        let registry = Registry::default();
        registry.counters(key("a")).answered(StatusCode::NOT_FOUND, Duration::ZERO);
        registry.retire_unused();
        assert_eq!(registry.snapshot()[0].requests[3], 1);
        registry.counters(key("a")).answered(StatusCode::NOT_FOUND, Duration::ZERO);
        assert_eq!(registry.snapshot()[0].requests[3], 2);
        assert_eq!(registry.snapshot().len(), 1);
    }

    #[test]
    fn the_number_of_counters_kept_is_bounded() {
        let registry = Registry::default();
        for i in 0..2 * RETIRED {
            registry.counters(key(&i.to_string()));
        }
        registry.retire_unused();
        assert_eq!(registry.snapshot().len(), RETIRED);
    }
}
