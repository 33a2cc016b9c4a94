//! Storing events: each in the transaction of what it tells of, and a bounded number for each scope.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::{Changes, EventRecord, Record as _, Services};
use crate::error::Result;
use crate::port::ListOptions;

/// How events are stored.
#[derive(Debug, Default)]
pub struct EventLog {
    /// How many events were written below a parent since it was last trimmed.
    written: Mutex<HashMap<String, usize>>,
}

impl EventLog {
    /// How many events may be written below a parent before it is trimmed.
    const SLACK: usize = 50;

    /// How many surplus events one trim removes at the most.
    const BATCH: usize = 200;

    /// How many parents are remembered.
    const PARENTS: usize = 10_000;

    /// Adds events to a transaction. Their ids are given here: the store's revision, so that they sort by time, and a
    /// new identifier.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn add(
        &self,
        services: &Services,
        changes: &mut Changes,
        events: &[EventRecord],
    ) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let base = services.store().revision().await?;
        for event in events {
            let id = EventRecord::name_for(base, services.next_id());
            changes.put(&EventRecord { id, ..event.clone() })?;
        }
        Ok(())
    }

    /// Removes the oldest events of the scopes that have too many, after events were written. Failing at it harms
    /// nothing; the next one tries again.
    pub async fn trim(&self, services: &Services, events: &[EventRecord]) {
        let parents: BTreeSet<String> =
            events.iter().map(|event| EventRecord::parent_of(&event.scope)).collect();
        for parent in parents {
            let fresh = events.iter().filter(|event| EventRecord::parent_of(&event.scope) == parent).count();
            if self.is_due(&parent, fresh)
                && let Err(error) = trim(services, &parent).await
            {
                tracing::debug!(%parent, error = %error.report(), "old events were not removed");
            }
        }
    }

    /// The first write below a parent is always due, because nothing is known of it.
    fn is_due(&self, parent: &str, fresh: usize) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= Self::PARENTS {
            written.clear();
        }
        let count = written.entry(parent.to_owned()).or_insert(Self::SLACK);
        *count += fresh;
        let due = *count > Self::SLACK;
        if due {
            *count = 0;
        }
        due
    }
}

async fn trim(services: &Services, parent: &str) -> Result<()> {
    let keep = services.settings().events_kept;
    let mut options = ListOptions {
        kind: EventRecord::KIND.to_owned(),
        parent: Some(parent.to_owned()),
        descending: true,
        ..ListOptions::default()
    };
    let mut seen = 0;
    let mut changes = Changes::new();
    loop {
        let page = services.store().list(&options).await?;
        for document in page.documents {
            seen += 1;
            if seen > keep && changes.operations() < EventLog::BATCH {
                changes.delete(document.key);
            }
        }
        match page.next {
            Some(next) if changes.operations() < EventLog::BATCH => options.after = Some(next),
            _ => break,
        }
    }
    if !changes.is_empty() {
        services.store().commit(changes.into_txn()).await?;
    }
    Ok(())
}
