//! Whether an object says what is wanted, although the server has filled in and rewritten some of it.

use paas_core::{Bytes, Cpu};
use serde_json::Value;

/// Whether everything that is wanted is there as wanted.
pub(super) fn covers(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        // What is empty is dropped by the server.
        (Value::Null, _) => true,
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(key, value)| match found.get(key) {
                Some(found) => covers(value, found),
                None => is_nothing(value),
            })
        }
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(a, b)| covers(a, b))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (wanted, found) => wanted == found || same_quantity(wanted, found),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(true) => false,
    }
}

/// The server writes `1000m` as `1`, and a number as a text.
fn same_quantity(wanted: &Value, found: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let (Some(wanted), Some(found)) = (text(wanted), text(found)) else { return false };
    let same = |a: Option<u64>, b: Option<u64>| a.is_some() && a == b;
    let cpu = |text: &str| text.parse().ok().map(Cpu::milli);
    let bytes = |text: &str| text.parse().ok().map(Bytes::get);
    same(cpu(&wanted), cpu(&found)) && same(bytes(&wanted), bytes(&found))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_fills_in_or_rewrites_is_no_difference() {
        let wanted = json!({ "a": 1, "cpu": "1000m", "memory": 1024, "off": false, "none": [], "list": [{ "x": "y" }] });
        let found =
            json!({ "a": 1, "cpu": "1", "memory": "1Ki", "list": [{ "x": "y", "z": 1 }], "more": true });
        assert!(covers(&wanted, &found));
        for other in [
            json!({ "a": 2 }),
            json!({ "cpu": "2" }),
            json!({ "list": [] }),
            json!({ "off": true }),
            json!({ "b": 1 }),
        ] {
            assert!(!covers(&other, &found), "{other}");
        }
    }
}
