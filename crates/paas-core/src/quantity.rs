//! Amounts of compute, written as Kubernetes writes them (`250m`, `512Mi`) and computed exactly in integers.
//!
//! Source of the notation: Kubernetes API, `k8s.io/apimachinery/pkg/api/resource.Quantity`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Fault;

const SUFFIXES: [(&str, u128); 13] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];

/// Parses `value` and returns it in thousandths, rounded up.
fn parse_milli(value: &str) -> Option<u128> {
    if let Some(number) = value.strip_suffix('m') {
        return decimal(number, 1);
    }
    let (suffix, factor) =
        SUFFIXES.iter().find(|(suffix, _)| !suffix.is_empty() && value.ends_with(suffix)).unwrap_or(&("", 1));
    decimal(&value[..value.len() - suffix.len()], factor.checked_mul(1000)?)
}

/// `number` (digits with at most one point) times `factor`, rounded up.
fn decimal(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || fraction.len() > 18
    {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(factor)?.checked_add(part.checked_mul(factor)?.div_ceil(scale))
}

/// An amount of processor time in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cpu(u64);

impl Cpu {
    /// `milli` thousandths of a core.
    pub const fn from_milli(milli: u64) -> Self {
        Self(milli)
    }

    /// The amount in thousandths of a core.
    pub const fn milli(self) -> u64 {
        self.0
    }
}

/// An amount of memory or storage in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(u64);

impl Bytes {
    /// `bytes` bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `mebibytes` × 2^20 bytes.
    pub const fn from_mebi(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// The amount in bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Cpu {
    type Err = Fault;
    fn from_str(value: &str) -> Result<Self, Fault> {
        parse_milli(value.trim())
            .and_then(|milli| u64::try_from(milli).ok())
            .map(Self)
            .ok_or_else(|| Fault::new("", format!("{value:?} is not an amount of CPU; write 250m or 1.5")))
    }
}

impl FromStr for Bytes {
    type Err = Fault;
    fn from_str(value: &str) -> Result<Self, Fault> {
        parse_milli(value.trim())
            .and_then(|milli| u64::try_from(milli.div_ceil(1000)).ok())
            .map(Self)
            .ok_or_else(|| Fault::new("", format!("{value:?} is not an amount of bytes; write 512Mi or 2Gi")))
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, shift) in [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{suffix}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

macro_rules! quantity_serde {
    ($name:ident, $example:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("an amount such as ", $example))
                    }
                    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<$name, E> {
                        value.parse().map_err(|fault: Fault| E::custom(fault.message))
                    }
                    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<$name, E> {
                        self.visit_str(&value.to_string())
                    }
                    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<$name, E> {
                        self.visit_str(&value.to_string())
                    }
                    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<$name, E> {
                        self.visit_str(&value.to_string())
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": ["string", "integer", "number"],
                    "description": concat!("An amount such as ", $example, ", as Kubernetes writes quantities."),
                    "pattern": "^[0-9]*\\.?[0-9]+(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
                    "minimum": 0
                })
            }
        }
    };
}

quantity_serde!(Cpu, "250m");
quantity_serde!(Bytes, "512Mi");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_parse_as_kubernetes_writes_them() {
        let cpu = |text: &str| text.parse::<Cpu>().map(Cpu::milli).ok();
        assert_eq!(cpu("250m"), Some(250));
        assert_eq!(cpu("1.5"), Some(1500));
        assert_eq!(cpu("2"), Some(2000));
        assert_eq!(cpu("0.0001"), Some(1), "a fraction of a thousandth rounds up");
        assert_eq!(cpu("-1"), None);
        assert_eq!(cpu("1e"), None);
        let bytes = |text: &str| text.parse::<Bytes>().map(Bytes::get).ok();
        assert_eq!(bytes("512Mi"), Some(512 << 20));
        assert_eq!(bytes("1G"), Some(1_000_000_000));
        assert_eq!(bytes("1.5Ki"), Some(1536));
        assert_eq!(bytes("99999999999Ei"), None, "an overflow is an error, not a wrap");
        assert_eq!(bytes("."), None);
    }

    #[test]
    fn quantities_print_what_they_parse() {
        for text in ["250m", "3", "512Mi", "1Gi", "1000", "0"] {
            if text.ends_with('m') {
                assert_eq!(text.parse::<Cpu>().unwrap().to_string(), text);
            } else {
                assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
            }
        }
    }
}
