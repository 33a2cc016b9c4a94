//! A value of the file with its path, read in the forms that Compose allows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::report::Report;

/// A value of the file with its path, such as `services.web.ports[0]`.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> Node<'a> {
    pub(super) fn new(path: impl Into<String>, value: &'a Value) -> Self {
        Self { path: path.into(), value }
    }

    /// The value under a key, if there is one; null is none.
    pub(super) fn field(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Self::new(joined(&self.path, key), value))
    }

    /// The entries of a mapping; anything else is a fault.
    pub(super) fn entries(&self, report: &mut Report) -> Vec<(&'a str, Self)> {
        match self.value {
            Value::Null => Vec::new(),
            Value::Object(fields) => {
                let entry = |(key, value)| (String::as_str(key), Self::new(joined(&self.path, key), value));
                fields.iter().map(entry).collect()
            }
            _ => {
                report.fault(&self.path, "is not a mapping; write KEY: VALUE");
                Vec::new()
            }
        }
    }

    /// The elements of a list; anything else is a fault.
    pub(super) fn items(&self, report: &mut Report) -> Vec<Self> {
        match self.value {
            Value::Null => Vec::new(),
            Value::Array(items) => {
                let item = |(i, value)| Self::new(format!("{}[{i}]", self.path), value);
                items.iter().enumerate().map(item).collect()
            }
            _ => {
                report.fault(&self.path, "is not a list");
                Vec::new()
            }
        }
    }

    /// The elements of the list under a key, if there is one.
    pub(super) fn each(&self, key: &str, report: &mut Report) -> Vec<Self> {
        self.field(key).map(|list| list.items(report)).unwrap_or_default()
    }

    /// The elements of the list under a key, or the one value that stands there without a list.
    pub(super) fn each_or_one(&self, key: &str, report: &mut Report) -> Vec<Self> {
        match self.field(key) {
            Some(one) if !one.value.is_array() => vec![one],
            _ => self.each(key, report),
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self, report: &mut Report) -> Option<String> {
        let text = scalar(self.value);
        if text.is_none() {
            report.fault(&self.path, "is not a text");
        }
        text
    }

    /// A whole number.
    pub(super) fn number<T: std::str::FromStr>(&self, report: &mut Report) -> Option<T> {
        let text = self.text(report)?;
        let number = text.trim().parse().ok();
        if number.is_none() {
            report.fault(&self.path, format!("{text:?} is not a whole number that is allowed here"));
        }
        number
    }

    /// `true` or `false`.
    pub(super) fn truth(&self, report: &mut Report) -> Option<bool> {
        let text = self.text(report)?;
        let truth = text.parse().ok();
        if truth.is_none() {
            report.fault(&self.path, format!("{text:?} is neither true nor false"));
        }
        truth
    }

    /// Words: a list of them, or a text that is split as a shell does.
    pub(super) fn words(&self, report: &mut Report) -> Option<Vec<String>> {
        if self.value.is_array() {
            return Some(self.items(report).iter().filter_map(|item| item.text(report)).collect());
        }
        let text = self.text(report)?;
        let words = shlex::split(&text);
        if words.is_none() {
            report.fault(&self.path, format!("{text:?} has a quote that is not closed"));
        }
        words
    }

    /// Names with values: a mapping, or a list of `NAME=VALUE`. A name without a value has none.
    pub(super) fn pairs(&self, report: &mut Report) -> BTreeMap<String, Option<String>> {
        let mut pairs = BTreeMap::new();
        if self.value.is_array() {
            for item in self.items(report) {
                let Some(text) = item.text(report) else { continue };
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (text, None),
                };
                pairs.insert(name, value);
            }
            return pairs;
        }
        for (name, node) in self.entries(report) {
            let value = if node.value.is_null() { None } else { node.text(report) };
            pairs.insert(name.to_owned(), value);
        }
        pairs
    }

    /// Refuses every key that is not among `known`; keys that begin with `x-` are anybody's.
    pub(super) fn only(&self, known: &[&str], report: &mut Report) {
        for (key, node) in self.entries(report) {
            if !known.contains(&key) && !key.starts_with("x-") {
                report.fault(&node.path, format!("is not known here; use one of {}", known.join(", ")));
            }
        }
    }
}

/// A scalar as its text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

pub(super) fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
