//! A queue of keys: each waits once at the most, each is worked on by one worker at a time, and failures wait longer
//! and longer.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::name::ClusterName;

/// How long a key waits after failures in a row: from `first`, doubled each time, up to `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At the most.
    pub longest: Duration,
}

impl Default for Backoff {
    /// 50 ms to 30 s.
    fn default() -> Self {
        Self { first: Duration::from_millis(50), longest: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The pause after `failures` failures in a row.
    pub fn after(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// A queue of keys. Clones are the same queue.
///
/// - A key that waits already is not added again; one that is being worked on is, once, for when the work is done.
/// - Keys come in the order in which they were added, or became due.
/// - Its memory is bounded by the number of distinct keys.
pub struct KeyedQueue<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    backoff: Backoff,
}

/// What keys share, such as the cluster that they call; keys without one share a lane, too.
type Lane = Option<ClusterName>;

struct State<K> {
    lane_of: fn(&K) -> Lane,
    /// How many keys of a lane are worked on at once.
    lane_width: usize,
    ready: BTreeMap<Lane, VecDeque<(u64, K)>>,
    busy: BTreeMap<Lane, usize>,
    /// What is in `ready`.
    waiting: HashSet<K>,
    working: HashSet<K>,
    /// Keys that were added while they were worked on.
    again: HashSet<K>,
    /// Keys by the time when they are due.
    due: BTreeMap<(Instant, u64), K>,
    due_of: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    sequence: u64,
    closed: bool,
}

impl<K> Clone for KeyedQueue<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K> fmt::Debug for KeyedQueue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("KeyedQueue")
            .field("ready", &state.waiting.len())
            .field("working", &state.working.len())
            .field("due", &state.due.len())
            .finish_non_exhaustive()
    }
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> KeyedQueue<K> {
    /// An empty queue.
    pub fn new(backoff: Backoff) -> Self {
        let state = State {
            lane_of: |_| None,
            lane_width: usize::MAX,
            ready: BTreeMap::new(),
            busy: BTreeMap::new(),
            waiting: HashSet::new(),
            working: HashSet::new(),
            again: HashSet::new(),
            due: BTreeMap::new(),
            due_of: HashMap::new(),
            failures: HashMap::new(),
            sequence: 0,
            closed: false,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), backoff }) }
    }

    /// With at most `width` keys of a lane worked on at once: keys of a cluster share a lane, and so do those of none. A lane
    /// that is full holds up no other.
    #[must_use]
    pub fn with_lanes(self, width: usize, lane_of: fn(&K) -> Option<ClusterName>) -> Self {
        let mut state = self.shared.lock();
        (state.lane_width, state.lane_of) = (width.max(1), lane_of);
        drop(state);
        self
    }

    /// Adds a key.
    pub fn add(&self, key: K) {
        let mut state = self.shared.lock();
        state.add(key);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Adds a key at `at`, unless it is due earlier anyway.
    pub fn add_at(&self, key: K, at: Instant) {
        self.shared.lock().add_at(key, at);
        self.shared.changed.notify_one();
    }

    /// How many failures in a row a key has had.
    pub fn failures(&self, key: &K) -> u32 {
        self.shared.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// How many keys wait now, without those that are due later.
    pub fn waiting(&self) -> usize {
        self.shared.lock().waiting.len()
    }

    /// Whether any key is being worked on.
    pub fn is_busy(&self) -> bool {
        !self.shared.lock().working.is_empty()
    }

    /// The next key to be worked on, as soon as there is one; nothing once the queue is closed.
    pub async fn next(&self) -> Option<Work<K>> {
        loop {
            // Enabled before looking, so that a change between looking and waiting is not missed.
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let due = {
                let mut state = self.shared.lock();
                if state.closed {
                    return None;
                }
                state.promote(Instant::now());
                if let Some(key) = state.take() {
                    // Another worker sees to the rest, and to what is due.
                    if !state.waiting.is_empty() || !state.due.is_empty() {
                        self.shared.changed.notify_one();
                    }
                    return Some(Work { queue: self.clone(), key });
                }
                state.due.first_key_value().map(|((at, _), _)| *at)
            };
            match due {
                Some(at) => tokio::select! {
                    () = &mut changed => {}
                    () = sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Lets every worker end after what it works on.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_waiters();
        self.shared.changed.notify_one();
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        if self.working.contains(&key) {
            self.again.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.cancel(&key);
            self.sequence += 1;
            let place = (self.sequence, key);
            self.ready.entry((self.lane_of)(&place.1)).or_default().push_back(place);
        }
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if self.waiting.contains(&key) || self.due_of.get(&key).is_some_and(|(known, _)| *known <= at) {
            return;
        }
        self.cancel(&key);
        self.sequence += 1;
        let entry = (at, self.sequence);
        self.due.insert(entry, key.clone());
        self.due_of.insert(key, entry);
    }

    fn cancel(&mut self, key: &K) {
        if let Some(entry) = self.due_of.remove(key) {
            self.due.remove(&entry);
        }
    }

    /// Moves what is due to the others that are ready.
    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let key = entry.remove();
            self.due_of.remove(&key);
            self.add(key);
        }
    }

    /// The key that has waited longest in a lane that is not full.
    fn take(&mut self) -> Option<K> {
        let open = self
            .ready
            .iter()
            .filter(|(lane, _)| self.busy.get(*lane).is_none_or(|busy| *busy < self.lane_width));
        let (_, lane) = open.filter_map(|(lane, keys)| Some((keys.front()?.0, lane))).min()?;
        let lane = lane.clone();
        let keys = self.ready.get_mut(&lane)?;
        let (_, key) = keys.pop_front()?;
        if keys.is_empty() {
            self.ready.remove(&lane);
        }
        *self.busy.entry(lane).or_default() += 1;
        self.waiting.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }

    /// A key is not worked on any more.
    fn done(&mut self, key: &K) {
        self.working.remove(key);
        let lane = (self.lane_of)(key);
        if let Some(busy) = self.busy.get_mut(&lane) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&lane);
            }
        }
    }
}

/// A key that is being worked on. Dropping it ends the work, also when the worker is aborted.
pub struct Work<K: Clone + Eq + Hash> {
    queue: KeyedQueue<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> Work<K> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// It went well: earlier failures are forgotten.
    pub fn succeeded(self) {
        self.queue.shared.lock().failures.remove(&self.key);
    }

    /// It failed: the key comes again after a pause, which is returned, or when it is added again.
    pub fn failed(self) -> Duration {
        let mut state = self.queue.shared.lock();
        let failures = state.failures.entry(self.key.clone()).or_default();
        *failures = failures.saturating_add(1);
        let pause = self.queue.shared.backoff.after(*failures);
        state.add_at(self.key.clone(), Instant::now() + pause);
        drop(state);
        pause
    }
}

impl<K: Clone + Eq + Hash> Drop for Work<K> {
    fn drop(&mut self) {
        let mut state = self.queue.shared.lock();
        state.done(&self.key);
        if state.again.remove(&self.key) {
            state.add(self.key.clone());
        }
        drop(state);
        self.queue.shared.changed.notify_one();
    }
}

impl<K: Clone + Eq + Hash + fmt::Debug> fmt::Debug for Work<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Work").field(&self.key).finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    fn queue() -> KeyedQueue<&'static str> {
        KeyedQueue::new(Backoff::default())
    }

    async fn nothing(queue: &KeyedQueue<&'static str>) -> bool {
        timeout(Duration::from_millis(1), queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_keys_come_in_order() {
        let queue = queue();
        for key in ["a", "b", "a", "c", "b"] {
            queue.add(key);
        }
        for expected in ["a", "b", "c"] {
            assert_eq!(queue.next().await.unwrap().key(), &expected);
        }
        assert!(nothing(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_worked_on_once_at_a_time_and_comes_again_when_it_was_added_meanwhile() {
        let queue = queue();
        queue.add("a");
        let work = queue.next().await.unwrap();
        queue.add("a");
        queue.add("a");
        assert!(nothing(&queue).await, "it is being worked on");
        drop(work);
        queue.next().await.unwrap().succeeded();
        assert!(nothing(&queue).await, "it was added while it was worked on, but waits once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_aborted_worker_gives_its_key_back() {
        let queue = queue();
        queue.add("a");
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move {
                let _work = queue.next().await;
                std::future::pending::<()>().await;
            }
        });
        sleep(Duration::from_millis(1)).await;
        queue.add("a");
        worker.abort();
        assert_eq!(queue.next().await.unwrap().key(), &"a");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_comes_when_it_is_due_and_the_earlier_time_wins() {
        let queue = queue();
        let start = Instant::now();
        queue.add_at("a", start + Duration::from_mins(1));
        queue.add_at("a", start + Duration::from_secs(10));
        queue.add_at("a", start + Duration::from_secs(30));
        queue.next().await.unwrap().succeeded();
        assert_eq!(start.elapsed().as_secs(), 10);
        assert!(nothing(&queue).await, "the later times are gone");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_until_a_success() {
        let queue = queue();
        queue.add("a");
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let before = Instant::now();
            let work = queue.next().await.unwrap();
            pauses.push(before.elapsed());
            work.failed();
        }
        let pauses: Vec<u128> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(pauses[..5], [0, 50, 100, 200, 400]);
        assert_eq!(pauses[11], 30_000, "the pause is bounded");
        queue.next().await.unwrap().succeeded();
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_full_holds_up_no_other() {
        let lane = |key: &&'static str| key.split_once('@').and_then(|(_, cluster)| cluster.parse().ok());
        let queue = KeyedQueue::new(Backoff::default()).with_lanes(2, lane);
        for key in ["a@west", "b@west", "c@west", "d@west", "a@east", "none"] {
            queue.add(key);
        }
        let mut under_way = Vec::new();
        for expected in ["a@west", "b@west", "a@east", "none"] {
            let work = queue.next().await.unwrap();
            assert_eq!(work.key(), &expected);
            under_way.push(work);
        }
        assert!(nothing(&queue).await, "the others are of a lane that is full");
        under_way.remove(0).succeeded();
        let next = queue.next().await.unwrap();
        assert_eq!(next.key(), &"c@west");
        assert!(nothing(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn many_workers_take_every_key() {
        let queue = KeyedQueue::new(Backoff::default());
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut done = 0;
                    while let Some(work) = queue.next().await {
                        tokio::task::yield_now().await;
                        work.succeeded();
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        for key in 0..1000 {
            queue.add(key);
        }
        while queue.waiting() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        queue.close();
        let mut total = 0;
        for worker in workers {
            total += timeout(Duration::from_secs(1), worker).await.expect("workers end").unwrap();
        }
        assert_eq!(total, 1000);
    }
}
