//! The audit trail: who did what, on which object, with what result; chained by hashes per organisation.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::engine::{Record, canonical_json, number_name};
use crate::error::{Error, ErrorKind, Result};
use crate::name::OrgName;
use crate::port::{DocumentKey, Scope};

/// One entry of the audit trail. It is written in the transaction of the change that it tells of, and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// The organisation whose chain it belongs to; empty for the platform's own.
    pub chain: String,
    /// Its number in the chain, from 1, without gaps.
    pub sequence: u64,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who, such as `user:alice`.
    pub actor: String,
    /// For whom, if not for themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// What, such as `app.deploy`.
    pub action: String,
    /// On what.
    pub scope: Scope,
    /// What came of it.
    pub result: AuditResult,
    /// The particulars, without any secret.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
    /// The id that the sender gave the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The hash of the entry before; empty for the first.
    pub previous: String,
    /// The SHA-256 of this entry's canonical JSON without this field, in hexadecimal.
    pub hash: String,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditResult {
    /// It was done.
    Done,
    /// It was refused.
    Denied {
        /// Why.
        reason: String,
        /// How many more denials of this actor are counted here instead of being recorded one by one.
        #[serde(default)]
        suppressed: u64,
    },
}

impl AuditRecord {
    /// The hash that the entry must have.
    pub fn expected_hash(&self) -> Result<String> {
        let mut body = serde_json::to_value(self)
            .map_err(|error| Error::new(ErrorKind::Internal, "hash an audit record").with_source(error))?;
        if let Value::Object(fields) = &mut body {
            fields.remove("hash");
        }
        Ok(hex::encode(Sha256::digest(canonical_json(&body))))
    }

    /// The key of an entry.
    pub fn key_of(chain: &str, sequence: u64) -> DocumentKey {
        DocumentKey::new(Self::KIND, chain, number_name(sequence))
    }
}

impl Record for AuditRecord {
    const KIND: &'static str = "audit";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.chain, self.sequence)
    }
}

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditHead {
    /// The organisation; empty for the platform's own chain.
    pub chain: String,
    /// The number of the newest entry; 0 if there is none.
    pub sequence: u64,
    /// The hash of the newest entry.
    pub hash: String,
}

impl AuditHead {
    /// The key of the end of a chain.
    pub fn key_of(chain: &str) -> DocumentKey {
        // A colon is in no organisation's name.
        DocumentKey::new(Self::KIND, "", if chain.is_empty() { ":platform" } else { chain })
    }
}

impl Record for AuditHead {
    const KIND: &'static str = "audit_head";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.chain)
    }
}

/// The chain that records about a scope belong to: that of its organisation, or the platform's.
pub fn chain_of(scope: &Scope) -> String {
    let org: Option<&OrgName> = match scope {
        Scope::Platform | Scope::Cluster { .. } => None,
        Scope::Org { org } => Some(org),
        Scope::Env(env) => Some(&env.org),
        Scope::App(app) => Some(&app.org),
        Scope::AppEnv(at) => Some(&at.org),
    };
    org.map(ToString::to_string).unwrap_or_default()
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFault {
    /// The number of the entry.
    pub sequence: u64,
    /// What is wrong with it.
    pub message: String,
}

/// Checks that entries follow each other without gaps and that each has the hash of its content and names the one
/// before. The first entry given may be anywhere in the chain.
pub fn verify_chain<'a>(records: impl IntoIterator<Item = &'a AuditRecord>) -> Result<(), ChainFault> {
    let mut previous: Option<&AuditRecord> = None;
    for record in records {
        let fault =
            |message: &str| Err(ChainFault { sequence: record.sequence, message: message.to_owned() });
        if record.expected_hash().ok().as_ref() != Some(&record.hash) {
            return fault("its content was changed");
        }
        match previous {
            Some(before) if record.sequence != before.sequence + 1 => {
                return fault("entries before it are missing");
            }
            Some(before) if record.previous != before.hash => {
                return fault("the entry before it was replaced");
            }
            None if record.sequence == 1 && !record.previous.is_empty() => {
                return fault("the first entry names one before it");
            }
            _ => {}
        }
        previous = Some(record);
    }
    Ok(())
}
