//! Lists in pages.

use paas_core::action::PageOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which part of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// At most so many items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Where to go on: `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
}

impl From<Paging> for PageOptions {
    fn from(paging: Paging) -> Self {
        Self { limit: paging.limit.map(|limit| limit.0), after: paging.after.map(|cursor| cursor.0) }
    }
}

/// The number of items of a page, 1 to 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Limit(#[schemars(range(min = 1, max = 500))] pub u32);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            limit @ 1..=500 => Ok(Self(limit)),
            limit => Err(serde::de::Error::custom(format!("{limit} is not from 1 to 500"))),
        }
    }
}

/// Where a page goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Cursor(#[schemars(regex(pattern = r"^[A-Za-z0-9:/_.@-]{1,200}$"))] pub String);

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b":/_.@-".contains(&b);
        if (1..=200).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(serde::de::Error::custom("is not a cursor; pass `next` of the page before"))
        }
    }
}
