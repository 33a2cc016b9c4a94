//! How a new release replaces the old one, as users declare it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Fault;

/// How a new release replaces the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum StrategySpec {
    /// Batch after batch: new instances up, ready, old ones down.
    Rolling {
        /// The batches, each a number of instances or a share of them; the last one is always the rest.
        /// Without batches it proceeds as fast as `max_surge` and `max_unavailable` allow.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        batches: Vec<Amount>,
        /// The pause between two batches in seconds.
        #[serde(default)]
        pause_seconds: u32,
        /// Instances above the declared number; a share rounds up.
        #[serde(default = "StrategySpec::default_surge")]
        max_surge: Amount,
        /// Instances that may be missing; a share rounds down.
        #[serde(default = "StrategySpec::default_unavailable")]
        max_unavailable: Amount,
        /// How long without progress until the release is aborted, in seconds.
        #[serde(default = "StrategySpec::default_deadline")]
        progress_deadline_seconds: u32,
        /// How long an instance must have been ready to count, in seconds.
        #[serde(default)]
        min_ready_seconds: u32,
    },
    /// All old instances down, then all new ones up. It interrupts service.
    Recreate {
        /// How long without progress until the release is aborted, in seconds.
        #[serde(default = "StrategySpec::default_deadline")]
        progress_deadline_seconds: u32,
        /// How long an instance must have been ready to count, in seconds.
        #[serde(default)]
        min_ready_seconds: u32,
    },
}

impl StrategySpec {
    fn default_surge() -> Amount {
        Amount::Count(1)
    }

    fn default_unavailable() -> Amount {
        Amount::Count(0)
    }

    fn default_deadline() -> u32 {
        600
    }
}

impl Default for StrategySpec {
    fn default() -> Self {
        Self::Rolling {
            batches: Vec::new(),
            pause_seconds: 0,
            max_surge: Self::default_surge(),
            max_unavailable: Self::default_unavailable(),
            progress_deadline_seconds: Self::default_deadline(),
            min_ready_seconds: 0,
        }
    }
}

/// A share in whole percent, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

impl Percent {
    /// All of it.
    pub const ALL: Self = Self(100);

    /// `value` percent, or nothing above 100.
    pub const fn new(value: u8) -> Option<Self> {
        if value <= 100 { Some(Self(value)) } else { None }
    }

    /// The number of percent.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// A number of instances or a share of them: `3` or `"30%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Amount {
    /// So many instances.
    Count(u32),
    /// Such a share of the declared instances.
    Percent(Percent),
}

impl FromStr for Amount {
    type Err = Fault;
    fn from_str(value: &str) -> Result<Self, Fault> {
        let fault = || {
            Fault::new("", format!("{value:?} is neither a number of instances nor a share; write 3 or 30%"))
        };
        match value.trim().strip_suffix('%') {
            Some(share) => {
                share.trim().parse().ok().and_then(Percent::new).map(Self::Percent).ok_or_else(fault)
            }
            None => value.trim().parse().map(Self::Count).map_err(|_| fault()),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{}%", percent.0),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Amount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of instances such as 3, or a share such as \"30%\"")
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Amount, E> {
                u32::try_from(value)
                    .map(Amount::Count)
                    .map_err(|_| E::custom(format!("{value} is too many instances")))
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Amount, E> {
                u32::try_from(value)
                    .map(Amount::Count)
                    .map_err(|_| E::custom(format!("{value} is not a number of instances")))
            }
            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Amount, E> {
                value.parse().map_err(|fault: Fault| E::custom(fault.message))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number of instances, or a share of them such as \"30%\".",
            "oneOf": [
                { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 },
                { "type": "string", "pattern": "^(100|[0-9]{1,2})%$|^[0-9]+$" }
            ]
        })
    }
}
