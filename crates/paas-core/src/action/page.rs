//! Lists in pages, and answers with the revision of their object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::port::{DocumentKey, ListOptions, Revision};

/// Which part of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PageOptions {
    /// Where to go on: [`ListPage::next`] of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many items, 1 to 500; 100 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl PageOptions {
    /// How many items a page has if nothing is said.
    pub const DEFAULT_LIMIT: u32 = 100;

    /// The most items of a page.
    pub const MAX_LIMIT: u32 = 500;

    /// The number of items.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT).clamp(1, Self::MAX_LIMIT) as usize
    }

    /// Options for a list of `kind` below exactly `parent`. The cursor is the last item's name.
    pub(crate) fn list(&self, kind: &str, parent: &str, descending: bool) -> Result<ListOptions> {
        let cursor = |name: &String| {
            if name.len() > 512 || name.chars().any(char::is_control) {
                return Err(Error::new(ErrorKind::Invalid, "read the cursor of a list")
                    .with_remedy("Pass `after` as the page before gave it in `next`."));
            }
            Ok(DocumentKey::new(kind, parent, name))
        };
        Ok(ListOptions {
            kind: kind.to_owned(),
            parent: Some(parent.to_owned()),
            after: self.after.as_ref().map(cursor).transpose()?,
            descending,
            limit: Some(self.limit()),
            ..ListOptions::default()
        })
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListPage<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An object with the commit that last changed it, for conditional requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versioned<T> {
    /// The object.
    #[serde(flatten)]
    pub value: T,
    /// The commit that last changed it.
    pub revision: Revision,
}
