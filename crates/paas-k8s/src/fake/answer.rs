//! Answers of the fake API server.

use serde_json::{Value, json};

use super::objects::Key;

/// A refusal, as a `Status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) retry_after: Option<u64>,
}

impl Refused {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), retry_after: None }
    }

    pub(super) fn missing(key: &Key) -> Self {
        let message = format!("{} {:?} not found", resource(key), key.name);
        Self::new(404, "NotFound", message)
    }

    pub(super) fn missing_namespace(namespace: &str) -> Self {
        Self::new(404, "NotFound", format!("namespaces {namespace:?} not found"))
    }

    pub(super) fn exists(key: &Key) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {:?} already exists", resource(key), key.name))
    }

    pub(super) fn conflict(key: &Key, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {:?}: {why}", resource(key), key.name);
        Self::new(409, "Conflict", message)
    }

    pub(super) fn invalid(key: &Key, why: &str) -> Self {
        let message = format!("{} {:?} is invalid: {why}", key.kind.kind, key.name);
        Self::new(422, "Invalid", message)
    }

    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", why)
    }

    pub(super) fn expired() -> Self {
        Self::new(410, "Expired", "too old resource version")
    }

    pub(super) fn status(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        })
    }
}

fn resource(key: &Key) -> String {
    if key.kind.group.is_empty() {
        key.kind.plural.to_owned()
    } else {
        format!("{}.{}", key.kind.plural, key.kind.group)
    }
}
