//! The audit trail as people read it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, Effect, PageOptions, Work};
use crate::engine::Record as _;
use crate::error::Result;
use crate::port::{Permission, Scope};
use crate::tenancy::{AuditRecord, chain_of, permissions, verify_chain};

/// A part of the audit trail, the newest entry first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditPage {
    /// The entries.
    pub items: Vec<AuditRecord>,
    /// Where the next page begins; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What is wrong with the chain of hashes in this page; absent if it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// Shows the audit trail of an organisation, or of what concerns a narrower scope; on the platform, its own.
#[derive(Debug, Clone)]
pub struct ReadAudit {
    /// The scope.
    pub scope: Scope,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ReadAudit {
    type Output = AuditPage;
    const NAME: &'static str = "audit.read";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::AUDIT_READ
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let options = self.page.list(AuditRecord::KIND, &chain_of(&self.scope), true)?;
        let page = work.collections().page::<AuditRecord>(options).await?;
        let records: Vec<AuditRecord> = page.items.into_iter().map(|record| record.value).collect();
        let broken = verify_chain(records.iter().rev())
            .err()
            .map(|fault| format!("entry {}: {}", fault.sequence, fault.message));
        Ok(AuditPage {
            items: records.into_iter().filter(|record| self.scope.contains(&record.scope)).collect(),
            next: page.next.map(|key| key.name),
            broken,
        })
    }
}
