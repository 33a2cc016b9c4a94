//! Patterns of hosts and paths.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A host name, a wildcard `*.name`, or `*`; always in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct HostPattern(String);

impl HostPattern {
    /// The pattern with this text.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.make_ascii_lowercase();
        Self(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        if self.0 == "*" {
            return None;
        }
        let name = self.0.strip_prefix("*.").unwrap_or(&self.0);
        if name.parse::<std::net::IpAddr>().is_ok() && name == self.0 {
            return None;
        }
        if name.len() > 253 {
            return Some("a host name has 253 characters at most".into());
        }
        let good = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if name.split('.').all(good) {
            None
        } else {
            Some(format!(
                "{:?} is not a host: give a name such as shop.example.com, *.example.com or *",
                self.0
            ))
        }
    }
}

impl From<String> for HostPattern {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for HostPattern {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The beginning of a path, in whole segments; `/` is every path. A slash at the end means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct PathPrefix(String);

impl PathPrefix {
    /// The prefix with this text.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        while text.len() > 1 && text.ends_with('/') {
            text.pop();
        }
        Self(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path lies below it.
    pub fn holds(&self, path: &str) -> bool {
        self.0 == "/"
            || path.strip_prefix(self.0.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        let good = self.0.starts_with('/')
            && self.0.len() <= 2048
            && self.0.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
        (!good).then(|| format!("{:?} is not a path: it begins with / and holds no ?, # or blanks", self.0))
    }
}

impl Default for PathPrefix {
    fn default() -> Self {
        Self("/".into())
    }
}

impl From<String> for PathPrefix {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for PathPrefix {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<PathPrefix> for String {
    fn from(prefix: PathPrefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
