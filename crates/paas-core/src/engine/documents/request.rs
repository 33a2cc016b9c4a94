//! Requests that were answered, so that a repeated one gets the same answer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::Record;
use crate::port::DocumentKey;

/// A request that was carried out, with its answer. It is written in the transaction of what it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Who sent it.
    pub actor: String,
    /// The id that the sender gave it.
    pub id: String,
    /// The action.
    pub action: String,
    /// A hash of the action's input; another input under the same id is a conflict.
    pub input: String,
    /// The answer.
    pub answer: Value,
    /// When it was answered.
    pub at: Timestamp,
}

impl RequestRecord {
    /// The key of an actor's request.
    pub fn key_of(actor: &str, id: &str) -> DocumentKey {
        DocumentKey::new(Self::KIND, actor, id)
    }
}

impl Record for RequestRecord {
    const KIND: &'static str = "request";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.actor, &self.id)
    }
}
