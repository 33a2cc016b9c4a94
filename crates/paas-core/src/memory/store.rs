//! A store in memory.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};
use crate::port::{
    Change, ChangeStream, Document, DocumentKey, FeedSource, ListOptions, Page, Revision, Store, StoreLimits,
    Txn, Write, follow_feed,
};

/// A store in memory. Clones share the content, as two servers share a database.
#[derive(Clone)]
pub struct MemoryStore {
    record: Arc<Record>,
    limits: StoreLimits,
}

struct Record {
    content: Mutex<Content>,
    newest: watch::Sender<Revision>,
}

struct Content {
    documents: BTreeMap<DocumentKey, Document>,
    revision: Revision,
    /// The changes after `floor`, oldest first.
    feed: VecDeque<Change>,
    floor: Revision,
    /// How many changes the feed keeps before it gives up the oldest commit.
    keep: usize,
}

impl MemoryStore {
    /// How many changes the feed keeps unless told otherwise.
    pub const DEFAULT_FEED: usize = 10_000;

    /// An empty store.
    pub fn new() -> Self {
        Self::with_feed(Self::DEFAULT_FEED)
    }

    /// An empty store whose feed keeps about `keep` changes.
    pub fn with_feed(keep: usize) -> Self {
        let content = Content {
            documents: BTreeMap::new(),
            revision: Revision(0),
            feed: VecDeque::new(),
            floor: Revision(0),
            keep,
        };
        let record = Record { content: Mutex::new(content), newest: watch::Sender::new(Revision(0)) };
        Self { record: Arc::new(record), limits: StoreLimits::default() }
    }

    /// Every document, for tests that search or compare the whole content.
    pub fn dump(&self) -> Vec<Document> {
        self.record.lock().documents.values().cloned().collect()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("revision", &self.record.lock().revision).finish_non_exhaustive()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").finish_non_exhaustive()
    }
}

impl Record {
    /// Nothing in this module panics while it holds the lock, so a poisoned one still holds whole commits.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn commit(&mut self, txn: Txn) -> Result<Revision> {
        for expect in &txn.expect {
            expect.check(self.documents.get(expect.key()).map(|document| document.modified))?;
        }
        let revision = Revision(self.revision.0 + 1);
        let before = self.feed.len();
        for write in txn.writes {
            match write {
                Write::Put { key, schema, body, index } => {
                    let created = self.documents.get(&key).map_or(revision, |document| document.created);
                    let document =
                        Document { key: key.clone(), schema, body, index, created, modified: revision };
                    self.documents.insert(key.clone(), document.clone());
                    self.feed.push_back(Change { revision, key, document: Some(document) });
                }
                Write::Delete { key } => {
                    if self.documents.remove(&key).is_some() {
                        self.feed.push_back(Change { revision, key, document: None });
                    }
                }
            }
        }
        if self.feed.len() > before {
            self.revision = revision;
        }
        while self.feed.len() > self.keep
            && self.feed.front().is_some_and(|change| change.revision < self.revision)
        {
            let oldest = self.feed.front().map_or(self.floor, |change| change.revision);
            self.give_up(oldest);
        }
        Ok(self.revision)
    }

    fn give_up(&mut self, up_to: Revision) {
        self.floor = self.floor.max(up_to.min(self.revision));
        while self.feed.front().is_some_and(|change| change.revision <= self.floor) {
            self.feed.pop_front();
        }
    }

    fn page(&self, options: &ListOptions, limit: usize) -> Page {
        let start = DocumentKey::new(&*options.kind, options.parent.clone().unwrap_or_default(), "");
        let matches = |document: &&Document| {
            document.key.kind == options.kind
                && options.parent.as_ref().is_none_or(|parent| document.key.parent == *parent)
                && options
                    .parent_prefix
                    .as_ref()
                    .is_none_or(|prefix| document.key.parent.starts_with(prefix.as_str()))
                && options.index.as_ref().is_none_or(|(name, value)| document.index.get(name) == Some(value))
        };
        let of_kind = |document: &&Document| document.key.kind == options.kind;
        let mut documents: Vec<Document> = if options.descending {
            let end = options.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
            self.documents
                .range((Bound::Included(start), end))
                .rev()
                .map(|(_, document)| document)
                .filter(matches)
                .take(limit + 1)
                .cloned()
                .collect()
        } else {
            let begin = options.after.clone().map_or(Bound::Included(start), Bound::Excluded);
            let rest = self.documents.range((begin, Bound::Unbounded)).map(|(_, document)| document);
            rest.take_while(of_kind).filter(matches).take(limit + 1).cloned().collect()
        };
        let more = documents.len() > limit;
        documents.truncate(limit);
        let next = if more { documents.last().map(|document| document.key.clone()) } else { None };
        Page { documents, next, revision: self.revision }
    }
}

#[async_trait]
impl FeedSource for Record {
    async fn read(&self, after: Revision, limit: usize) -> Result<Vec<Change>> {
        let content = self.lock();
        if after < content.floor {
            return Err(compacted(content.floor));
        }
        let from = content.feed.partition_point(|change| change.revision <= after);
        let mut changes: Vec<Change> = Vec::new();
        for change in content.feed.range(from..) {
            if changes.len() >= limit && changes.last().is_some_and(|last| last.revision != change.revision) {
                break;
            }
            changes.push(change.clone());
        }
        Ok(changes)
    }
}

fn compacted(floor: Revision) -> Error {
    Error::new(ErrorKind::Compacted, "read the feed").with_context("floor", floor)
}

#[async_trait]
impl Store for MemoryStore {
    fn limits(&self) -> StoreLimits {
        self.limits
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>> {
        Ok(self.record.lock().documents.get(key).cloned())
    }

    async fn list(&self, options: &ListOptions) -> Result<Page> {
        Ok(self.record.lock().page(options, self.limits.page(options)))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision> {
        self.limits.check(&txn)?;
        // The sender is told under the lock, so that readers never see the revisions go back.
        let mut content = self.record.lock();
        let revision = content.commit(txn)?;
        self.record.newest.send_if_modified(|newest| {
            let moved = *newest < revision;
            *newest = revision;
            moved
        });
        Ok(revision)
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(self.record.lock().revision)
    }

    async fn watch(&self, from: Revision) -> Result<ChangeStream> {
        let floor = self.record.lock().floor;
        if from < floor {
            return Err(compacted(floor));
        }
        let receiver = self.record.newest.subscribe();
        Ok(follow_feed(self.record.clone(), from, receiver))
    }

    async fn compact(&self, up_to: Revision) -> Result<()> {
        self.record.lock().give_up(up_to);
        Ok(())
    }
}
