//! Appending to the audit trail.
//!
//! Each chain has a head, which every append expects unchanged. Appends of one process take turns, so they never
//! conflict with each other; when another process was faster, only the append is repeated, not the action, unless what
//! the action had read was changed as well.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::Mutex as AsyncMutex;

use crate::engine::{Changes, Services, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Organization;
use crate::port::{DocumentKey, Expect, Revision, Scope, Store};
use crate::tenancy::{Actor, AuditHead, AuditRecord, AuditResult, chain_of};

/// How often an append is repeated because another process was faster.
const APPENDS: usize = 32;

/// What is to be recorded.
pub(crate) struct Entry {
    pub(crate) scope: Scope,
    pub(crate) action: &'static str,
    pub(crate) detail: Value,
    pub(crate) result: AuditResult,
    pub(crate) request_id: Option<String>,
}

/// The audit trail of a platform.
#[derive(Debug, Default)]
pub(crate) struct AuditTrail {
    turns: Mutex<BTreeMap<String, Arc<AsyncMutex<()>>>>,
}

impl AuditTrail {
    fn turn(&self, chain: &str) -> Arc<AsyncMutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(chain.to_owned()).or_default())
    }

    /// Commits `changes` together with an entry; nothing if an expectation of `changes` does not hold.
    pub(crate) async fn commit(
        &self,
        services: &Services,
        actor: &Actor,
        changes: Changes,
        entry: Entry,
    ) -> Result<Option<Revision>> {
        let chain = chain_of(&entry.scope);
        self.append(services, actor, changes, &entry, chain).await
    }

    /// Records something that changes nothing else. What concerns an organisation that does not exist is recorded in
    /// the platform's chain.
    pub(crate) async fn record(&self, services: &Services, actor: &Actor, entry: Entry) -> Result<()> {
        let mut chain = chain_of(&entry.scope);
        if let Ok(org) = chain.parse()
            && services.store().get(&Organization::key_of(&org)).await?.is_none()
        {
            chain.clear();
        }
        self.append(services, actor, Changes::new(), &entry, chain).await?;
        Ok(())
    }

    async fn append(
        &self,
        services: &Services,
        actor: &Actor,
        changes: Changes,
        entry: &Entry,
        chain: String,
    ) -> Result<Option<Revision>> {
        let turn = self.turn(&chain);
        let _turn = turn.lock().await;
        let key = AuditHead::key_of(&chain);
        for _ in 0..APPENDS {
            let head =
                services.collections().get::<AuditHead>(&key).await?.unwrap_or_else(|| {
                    Stored::new(AuditHead { chain: chain.clone(), ..AuditHead::default() })
                });
            let mut txn = changes.clone();
            append_to(&mut txn, head, actor, entry, services.now())?;
            match services.store().commit(txn.into_txn()).await {
                Ok(revision) => return Ok(Some(revision)),
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    if !holds(services.store().as_ref(), &changes).await? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "append to the audit trail, which others keep writing to")
            .with_context("organisation", chain)
            .with_remedy("Try again."))
    }
}

fn append_to(
    changes: &mut Changes,
    mut head: Stored<AuditHead>,
    actor: &Actor,
    entry: &Entry,
    now: Timestamp,
) -> Result<()> {
    let mut record = AuditRecord {
        chain: head.value.chain.clone(),
        sequence: head.value.sequence + 1,
        at: now,
        actor: actor.id().to_owned(),
        on_behalf_of: actor.principal().map(str::to_owned),
        action: entry.action.to_owned(),
        scope: entry.scope.clone(),
        result: entry.result.clone(),
        detail: entry.detail.clone(),
        request_id: entry.request_id.clone(),
        previous: head.value.hash.clone(),
        hash: String::new(),
    };
    record.hash = record.expected_hash()?;
    head.value.sequence = record.sequence;
    head.value.hash.clone_from(&record.hash);
    changes.create(&record)?;
    changes.update(&head)
}

/// Whether every expectation still holds.
async fn holds(store: &dyn Store, changes: &Changes) -> Result<bool> {
    for expect in changes.expectations() {
        let (key, wanted): (&DocumentKey, Option<Option<Revision>>) = match expect {
            Expect::Modified(key, revision) => (key, Some(Some(*revision))),
            Expect::Absent(key) => (key, Some(None)),
            Expect::Exists(key) => (key, None),
        };
        let found = store.get(key).await?.map(|document| document.modified);
        if wanted.map_or(found.is_none(), |wanted| wanted != found) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Bounds how many denials of one actor are recorded: some at once, then one a minute, which counts the rest.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    actors: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    refilled: Timestamp,
    suppressed: u64,
}

impl Denials {
    const BURST: u32 = 20;
    const PERIOD: SignedDuration = SignedDuration::from_secs(60);
    const ACTORS: usize = 10_000;

    /// Whether a denial may be recorded now: how many were not since the last one, or nothing.
    pub(crate) fn admit(&self, actor: &str, now: Timestamp) -> Option<u64> {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if actors.len() >= Self::ACTORS && !actors.contains_key(actor) {
            actors.retain(|_, bucket| bucket.left < Self::BURST && bucket.suppressed > 0);
            if actors.len() >= Self::ACTORS {
                return None;
            }
        }
        let bucket = actors.entry(actor.to_owned()).or_insert(Bucket {
            left: Self::BURST,
            refilled: now,
            suppressed: 0,
        });
        let periods = now.duration_since(bucket.refilled).as_secs() / Self::PERIOD.as_secs();
        if periods > 0 {
            let refill = u32::try_from(periods).unwrap_or(Self::BURST);
            bucket.left = bucket.left.saturating_add(refill).min(Self::BURST);
            bucket.refilled = now;
        }
        if bucket.left == 0 {
            bucket.suppressed += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_beyond_the_burst_are_counted_in_the_next_record() {
        let denials = Denials::default();
        let start = Timestamp::UNIX_EPOCH;
        let recorded = (0..50).filter(|_| denials.admit("user:mallory", start).is_some()).count();
        assert_eq!(recorded, 20);
        assert_eq!(denials.admit("user:alice", start), Some(0), "each actor has their own measure");
        let later = start + SignedDuration::from_secs(61);
        assert_eq!(denials.admit("user:mallory", later), Some(30));
        assert_eq!(denials.admit("user:mallory", later), None);
    }
}
