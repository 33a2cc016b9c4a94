//! Who reconciles: a lease per shard, kept in the store, and the epoch that fences everybody before.
//!
//! Two documents make a lease. `lease SHARD` says who has it and is renewed, the only write of an idle platform.
//! `epoch SHARD` is written only when the lease changes hands: the commit that wrote it *is* the [`Epoch`]. Each
//! transaction of a reconciler expects it unchanged, so a holder that was paused, and wakes up after another one took
//! over, changes nothing; backends reject its calls by the number.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Changes, Collections, Record, Stored};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::port::{DocumentKey, Epoch, Expect, Revision, Store, Txn};

/// Who has a shard, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseRecord {
    shard: String,
    /// Empty once it was given back.
    holder: String,
    until: Timestamp,
}

impl Record for LeaseRecord {
    const KIND: &'static str = "lease";

    fn key(&self) -> DocumentKey {
        DocumentKey::new(Self::KIND, "", &self.shard)
    }
}

/// Who got a shard last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EpochRecord {
    shard: String,
    holder: String,
}

impl Record for EpochRecord {
    const KIND: &'static str = "epoch";

    fn key(&self) -> DocumentKey {
        DocumentKey::new(Self::KIND, "", &self.shard)
    }
}

/// What to do about a lease that another server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnHeld {
    /// Take it at once, when the platform is built: the newest server reconciles, and the one that had the lease is fenced
    /// and stands by. A server that was killed and started again goes on without waiting for its own lease to end.
    #[default]
    TakeOver,
    /// Wait until it ends, and stand by meanwhile: of several servers on one store the one that was there first goes on.
    /// Right where a backend is not fenced.
    Wait,
    /// Fail with [`ErrorKind::Conflict`].
    Refuse,
}

/// How a lease is held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseOptions {
    /// How long it lasts without being renewed; it is renewed three times as often.
    pub duration: Duration,
    /// What to do about one that another server has.
    pub on_held: OnHeld,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self { duration: Duration::from_secs(15), on_held: OnHeld::default() }
    }
}

/// A shard that is held.
#[derive(Debug)]
pub(super) struct Lease {
    collections: Collections,
    clock: Arc<dyn Clock>,
    options: LeaseOptions,
    record: Stored<LeaseRecord>,
    epoch: Epoch,
    epoch_key: DocumentKey,
    /// When it was last renewed, by a clock that nobody sets.
    renewed: Instant,
}

impl Lease {
    /// Acquires a shard, or waits for it.
    pub(super) async fn acquire(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        shard: &str,
        holder: &str,
        options: &LeaseOptions,
    ) -> Result<Self> {
        let collections = Collections::new(store);
        // A holder that renews changes the document; one that is silent for the whole duration has ended. Its wall
        // clock does not matter.
        let mut seen: Option<(Revision, Instant)> = None;
        loop {
            let record = LeaseRecord {
                shard: shard.to_owned(),
                holder: holder.to_owned(),
                until: until(clock.now(), options.duration),
            };
            let stored = collections.get::<LeaseRecord>(&record.key()).await?;
            let free = match &stored {
                None => true,
                Some(stored) => {
                    let same = seen.filter(|(revision, _)| *revision == stored.modified);
                    let (_, since) = *seen.insert(same.unwrap_or((stored.modified, Instant::now())));
                    stored.value.holder.is_empty()
                        || stored.value.holder == holder
                        || stored.value.until < clock.now()
                        || since.elapsed() >= options.duration
                }
            };
            if !free && options.on_held == OnHeld::Refuse {
                let holder = stored.map(|stored| stored.value.holder).unwrap_or_default();
                return Err(Error::new(ErrorKind::Conflict, "acquire the lease of the reconcilers")
                    .with_context("shard", shard)
                    .with_context("holder", holder)
                    .with_remedy("Another server works on this store: stop it, or let this one stand by."));
            }
            if free || options.on_held == OnHeld::TakeOver {
                let taken = Self::take(&collections, record, stored).await;
                match taken {
                    Ok((record, epoch)) => {
                        let epoch_key = DocumentKey::new(EpochRecord::KIND, "", shard);
                        return Ok(Self {
                            collections,
                            clock,
                            options: options.clone(),
                            record,
                            epoch,
                            epoch_key,
                            renewed: Instant::now(),
                        });
                    }
                    // Somebody else was quicker.
                    Err(error) if error.kind() == ErrorKind::Conflict => {}
                    Err(error) => return Err(error),
                }
            }
            sleep(options.duration / 10).await;
        }
    }

    async fn take(
        collections: &Collections,
        record: LeaseRecord,
        stored: Option<Stored<LeaseRecord>>,
    ) -> Result<(Stored<LeaseRecord>, Epoch)> {
        let epoch = EpochRecord { shard: record.shard.clone(), holder: record.holder.clone() };
        let known = collections.get::<EpochRecord>(&epoch.key()).await?;
        let mut lease = stored.unwrap_or_else(|| Stored::new(record.clone()));
        lease.value = record;
        let mut fence = known.unwrap_or_else(|| Stored::new(epoch.clone()));
        fence.value = epoch;
        let mut changes = Changes::new();
        changes.update(&lease)?;
        changes.update(&fence)?;
        let revision = collections.store().commit(changes.into_txn()).await?;
        lease.modified = revision;
        Ok((lease, Epoch(revision.0)))
    }

    /// The epoch that backends know this holder by.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What every transaction expects: nobody has taken the shard since.
    pub(super) fn guard(&self) -> Expect {
        Expect::Modified(self.epoch_key.clone(), Revision(self.epoch.0))
    }

    /// Renews the lease for ever; returns once it is lost, with why.
    pub(super) async fn keep(&mut self) -> Error {
        loop {
            sleep(self.options.duration / 3).await;
            match self.renew().await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    return Error::new(ErrorKind::Fenced, "renew the lease of the reconcilers")
                        .with_context("shard", &self.record.value.shard)
                        .with_context("epoch", self.epoch)
                        .with_source(error);
                }
                // The store cannot be asked: another server may take over once the time has passed.
                Err(error) if self.renewed.elapsed() >= self.options.duration => return error,
                Err(error) => {
                    tracing::warn!(error = %error.report(), "the lease of the reconcilers was not renewed");
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<()> {
        let asked = Instant::now();
        let mut record = self.record.clone();
        record.value.until = until(self.clock.now(), self.options.duration);
        self.write(record).await?;
        self.renewed = asked;
        Ok(())
    }

    /// Gives the lease back, so that another server need not wait for its end.
    pub(super) async fn release(mut self) -> Result<()> {
        let mut record = self.record.clone();
        record.value.holder = String::new();
        self.write(record).await
    }

    async fn write(&mut self, mut record: Stored<LeaseRecord>) -> Result<()> {
        let txn = Txn { expect: vec![record.unchanged(), self.guard()], writes: vec![record.write()?] };
        match self.collections.store().commit(txn).await {
            Ok(revision) => {
                record.modified = revision;
                self.record = record;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                // The answer to an earlier renewal may have been lost: then the document is this holder's own.
                let current = self.collections.get::<LeaseRecord>(record.key()).await?;
                match current.filter(|current| current.value.holder == self.record.value.holder) {
                    Some(current) if current.modified > self.record.modified => {
                        self.record = current;
                        self.collections
                            .store()
                            .commit(Txn { expect: vec![self.guard()], writes: Vec::new() })
                            .await?;
                        Ok(())
                    }
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} in epoch {}", self.record.value.shard, self.epoch)
    }
}

fn until(now: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    now.checked_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryStore, TokioClock};
    use crate::port::Write;

    struct Servers {
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    }

    impl Servers {
        fn new() -> Self {
            Self { store: Arc::new(MemoryStore::new()), clock: Arc::new(TokioClock::default()) }
        }

        async fn acquire(&self, holder: &str, on_held: OnHeld) -> Result<Lease> {
            let options = LeaseOptions { on_held, ..LeaseOptions::default() };
            Lease::acquire(self.store.clone(), self.clock.clone(), "all", holder, &options).await
        }

        async fn write_as(&self, lease: &Lease) -> Result<Revision> {
            let key = DocumentKey::new("note", "", "a");
            let write = Write::Put {
                key,
                schema: 1,
                body: serde_json::json!({}),
                index: std::collections::BTreeMap::new(),
            };
            self.store.commit(Txn { expect: vec![lease.guard()], writes: vec![write] }).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_holder_has_a_higher_epoch_and_the_earlier_one_changes_nothing() {
        let servers = Servers::new();
        let mut first = servers.acquire("a", OnHeld::Wait).await.unwrap();
        servers.write_as(&first).await.unwrap();
        // The first one is paused for longer than its lease lasts.
        let second = servers.acquire("b", OnHeld::Wait).await.unwrap();
        assert!(second.epoch() > first.epoch());
        assert_eq!(servers.write_as(&first).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(first.keep().await.kind(), ErrorKind::Fenced, "it learns that it lost the lease");
        servers.write_as(&second).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_renews_keeps_the_lease() {
        let servers = Servers::new();
        let mut first = servers.acquire("a", OnHeld::Wait).await.unwrap();
        tokio::select! {
            lost = first.keep() => panic!("{}", lost.report()),
            _ = servers.acquire("b", OnHeld::Wait) => panic!("two have the lease"),
            () = sleep(Duration::from_hours(1)) => {}
        }
        servers.write_as(&first).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_given_back_is_free_at_once() {
        let servers = Servers::new();
        let first = servers.acquire("a", OnHeld::Wait).await.unwrap();
        first.release().await.unwrap();
        let start = Instant::now();
        servers.acquire("b", OnHeld::Refuse).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_lease_is_refused_or_taken_over_as_asked() {
        let servers = Servers::new();
        let first = servers.acquire("a", OnHeld::Wait).await.unwrap();
        let refused = servers.acquire("b", OnHeld::Refuse).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(refused.report().contains("holder a"), "{}", refused.report());
        let start = Instant::now();
        servers.acquire("b", OnHeld::TakeOver).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(1));
        assert!(servers.write_as(&first).await.is_err(), "who had it is fenced");
    }
}
