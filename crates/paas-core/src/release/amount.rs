//! Amounts of instances for a declared count, and spans of time in policies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Amount;

impl Amount {
    /// No instance at all.
    pub const ZERO: Self = Self::Count(0);

    /// The amount for `n` declared instances, rounded up. A count is returned as it is, even above `n`.
    ///
    /// ```
    /// use paas_core::model::Amount;
    ///
    /// let third: Amount = "30%".parse().unwrap();
    /// assert_eq!((third.ceil_of(10), third.ceil_of(4), third.floor_of(4)), (3, 2, 1));
    /// ```
    pub fn ceil_of(self, n: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => narrow((u64::from(n) * u64::from(percent.get())).div_ceil(100)),
        }
    }

    /// The amount for `n` declared instances, rounded down. A count is returned as it is, even above `n`.
    pub fn floor_of(self, n: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => narrow(u64::from(n) * u64::from(percent.get()) / 100),
        }
    }

    /// Whether it is a percentage below 100, which always leaves at least one old instance.
    pub fn is_partial_percentage(self) -> bool {
        matches!(self, Self::Percent(percent) if percent.get() < 100)
    }
}

/// At most 100 % of a 32-bit count fits 32 bits.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A span of whole seconds, as users write it in policies and plans.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Seconds(pub u32);

impl Seconds {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// As a duration.
    pub fn duration(self) -> jiff::SignedDuration {
        jiff::SignedDuration::from_secs(i64::from(self.0))
    }

    /// The instant this long after `start`; the end of time if there is none.
    pub fn after(self, start: jiff::Timestamp) -> jiff::Timestamp {
        start.saturating_add(self.duration()).unwrap_or(jiff::Timestamp::MAX)
    }
}
