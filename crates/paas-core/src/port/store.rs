//! Documents in transactions, with a feed of changes, in the manner of etcd.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::BoxStream;
use crate::error::{Error, ErrorKind, Fault, Result};

/// A point in a store's history: the number of the commit, from 1. Zero stands for "before everything".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The identity of a document: its kind, the parent that it belongs to, and its name there.
///
/// Keys sort by kind, parent, name, each bytewise; lists come in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocumentKey {
    /// The kind, such as `release`.
    pub kind: String,
    /// The parent, such as `shop/prod/web`; empty at the top.
    pub parent: String,
    /// The name, unique for this kind and parent.
    pub name: String,
}

impl DocumentKey {
    /// The document `name` of `kind` below `parent`.
    pub fn new(kind: impl Into<String>, parent: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), parent: parent.into(), name: name.into() }
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parent.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.parent, self.name)
        }
    }
}

/// A stored document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Its identity.
    pub key: DocumentKey,
    /// The version of the body's schema. A server that knows only older ones neither drops nor rewrites what
    /// it does not know.
    pub schema: u32,
    /// The content.
    pub body: serde_json::Value,
    /// Values that it can be found by, at most 16: name and value.
    pub index: BTreeMap<String, String>,
    /// The commit that created it.
    pub created: Revision,
    /// The commit that last wrote it.
    pub modified: Revision,
}

/// What must hold for a transaction to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// The document exists and was last written by this commit.
    Modified(DocumentKey, Revision),
    /// The document does not exist.
    Absent(DocumentKey),
    /// The document exists.
    Exists(DocumentKey),
}

/// One change of a transaction.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Write {
    /// Creates or replaces the document.
    Put {
        /// The identity.
        key: DocumentKey,
        /// The version of the body's schema.
        schema: u32,
        /// The content.
        body: serde_json::Value,
        /// Values that it can be found by.
        index: BTreeMap<String, String>,
    },
    /// Removes the document; nothing happens if it does not exist.
    Delete {
        /// The identity.
        key: DocumentKey,
    },
}

impl Write {
    /// The document that changes.
    pub fn key(&self) -> &DocumentKey {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

impl Expect {
    /// The document that is looked at.
    pub fn key(&self) -> &DocumentKey {
        match self {
            Self::Modified(key, _) | Self::Absent(key) | Self::Exists(key) => key,
        }
    }

    /// Whether it holds for the document as it is: the commit that last wrote it, if it exists.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`], naming the document and what was expected.
    pub fn check(&self, modified: Option<Revision>) -> Result<()> {
        let holds = match self {
            Self::Modified(_, expected) => modified == Some(*expected),
            Self::Absent(_) => modified.is_none(),
            Self::Exists(_) => modified.is_some(),
        };
        if holds {
            return Ok(());
        }
        let expected = match self {
            Self::Modified(_, revision) => format!("revision {revision}"),
            Self::Absent(_) => "absent".to_owned(),
            Self::Exists(_) => "present".to_owned(),
        };
        Err(Error::new(ErrorKind::Conflict, "commit a transaction")
            .with_context("document", self.key())
            .with_context("expected", expected)
            .with_context(
                "found",
                modified.map_or_else(|| "absent".to_owned(), |revision| format!("revision {revision}")),
            ))
    }
}

/// A transaction: either every expectation holds and all writes happen at one revision, or nothing does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Txn {
    /// What must hold.
    pub expect: Vec<Expect>,
    /// What changes. A key appears at most once.
    pub writes: Vec<Write>,
}

/// Which documents a list returns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListOptions {
    /// The kind; required.
    pub kind: String,
    /// Only those below exactly this parent.
    pub parent: Option<String>,
    /// Only those whose parent begins with this text.
    pub parent_prefix: Option<String>,
    /// Only those with this index value.
    pub index: Option<(String, String)>,
    /// Only those after this key, from [`Page::next`].
    pub after: Option<DocumentKey>,
    /// In descending order of keys instead of ascending; `after` then means "before".
    pub descending: bool,
    /// At most so many; the store's limit if absent or larger.
    pub limit: Option<usize>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The documents, in the order of their keys.
    pub documents: Vec<Document>,
    /// Where the next page begins; absent on the last page.
    pub next: Option<DocumentKey>,
    /// The revision that the page shows: a watch from here misses nothing.
    pub revision: Revision,
}

/// A change of one document, as the feed tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The commit. All changes of one commit carry the same revision and come together, in order of the writes.
    pub revision: Revision,
    /// The document's identity.
    pub key: DocumentKey,
    /// The document after the change; absent if it was removed.
    pub document: Option<Document>,
}

/// The feed of a store.
pub type ChangeStream = BoxStream<Change>;

/// The bounds of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// The most writes and expectations of one transaction.
    pub max_operations: usize,
    /// The largest body in bytes of JSON.
    pub max_body: usize,
    /// The largest page of a list.
    pub max_page: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self { max_operations: 512, max_body: 1 << 20, max_page: 500 }
    }
}

impl StoreLimits {
    /// The most values that a document can be found by.
    pub const MAX_INDEX: usize = 16;
    /// The longest kind, parent or name of a key in bytes.
    pub const MAX_KEY_PART: usize = 512;

    /// Checks a transaction against the bounds, before anything of it happens.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] beyond a bound, [`ErrorKind::Invalid`] for a key that is written twice, empty or
    /// too long, and for too many index values.
    pub fn check(&self, txn: &Txn) -> Result<()> {
        const OPERATION: &str = "commit a transaction";
        let operations = txn.expect.len() + txn.writes.len();
        if operations > self.max_operations {
            return Err(Error::new(ErrorKind::TooLarge, OPERATION)
                .with_context("operations", operations)
                .with_context("limit", self.max_operations));
        }
        let mut written = HashSet::new();
        for (i, write) in txn.writes.iter().enumerate() {
            let fault = |message: String| {
                Err(Error::invalid(OPERATION, vec![Fault::new(format!("writes[{i}]"), message)]))
            };
            let key = write.key();
            if !written.insert(key) {
                return fault(format!("{key} is written twice; write each document once"));
            }
            if key.kind.is_empty() || key.name.is_empty() {
                return fault(format!("{key:?} has no kind or no name"));
            }
            if [&key.kind, &key.parent, &key.name].iter().any(|part| part.len() > Self::MAX_KEY_PART) {
                return fault(format!("a part of the key has more than {} bytes", Self::MAX_KEY_PART));
            }
            let Write::Put { body, index, .. } = write else { continue };
            if index.len() > Self::MAX_INDEX {
                return fault(format!(
                    "{key} has {} index values; at most {} are allowed",
                    index.len(),
                    Self::MAX_INDEX
                ));
            }
            let size = body.to_string().len();
            if size > self.max_body {
                return Err(Error::new(ErrorKind::TooLarge, OPERATION)
                    .with_context("document", key)
                    .with_context("bytes", size)
                    .with_context("limit", self.max_body));
            }
        }
        Ok(())
    }

    /// How many documents a page has at the most, as `options` ask and the bounds allow.
    pub fn page(&self, options: &ListOptions) -> usize {
        options.limit.unwrap_or(self.max_page).clamp(1, self.max_page)
    }
}

/// Documents in transactions, with a feed of changes.
///
/// # Contract
/// - Each commit with at least one effective write takes the next revision, in commit order: whoever sees
///   revision *n* sees every commit up to *n*.
/// - A transaction whose expectation does not hold fails with
///   [`ErrorKind::Conflict`](crate::ErrorKind::Conflict), naming the document, and changes nothing.
/// - A transaction without writes checks its expectations and returns the current revision.
/// - A `Put` always counts as a write, also of equal content; a `Delete` of an absent document does not count.
/// - A transaction that exceeds [`Store::limits`] fails with
///   [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge); one that names a key twice fails with
///   [`ErrorKind::Invalid`](crate::ErrorKind::Invalid). Neither changes anything.
/// - A read after a commit returned sees that commit, in the same process.
/// - [`Store::watch`] delivers every change after `from`, without gaps, in order, or fails first with
///   [`ErrorKind::Compacted`](crate::ErrorKind::Compacted), whose context `floor` names the oldest revision that can
///   still be watched from.
/// - [`Store::compact`] gives up the feed up to a revision; documents stay.
/// - After a crash at any point, a commit has happened whole or not at all, and one that was reported as done
///   has happened.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The bounds of this store.
    fn limits(&self) -> StoreLimits;

    /// The document, or nothing.
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>>;

    /// A page of documents in the order of their keys.
    async fn list(&self, options: &ListOptions) -> Result<Page>;

    /// Commits a transaction and returns its revision.
    async fn commit(&self, txn: Txn) -> Result<Revision>;

    /// The newest revision.
    async fn revision(&self) -> Result<Revision>;

    /// Every change after `from`, then the new ones as they happen.
    async fn watch(&self, from: Revision) -> Result<ChangeStream>;

    /// Gives up the feed up to and including `up_to`.
    async fn compact(&self, up_to: Revision) -> Result<()>;
}
