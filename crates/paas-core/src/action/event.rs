//! Events that are kept.

use async_trait::async_trait;
use serde_json::Value;

use super::{Action, Effect, ListPage, PageOptions, Work};
use crate::engine::{EventRecord, Record as _};
use crate::error::Result;
use crate::port::{Permission, Scope};
use crate::tenancy::permissions;

/// Lists the events of a scope, the newest first. Those of an organisation are about itself, its environments and its
/// applications; those about an application in an environment are listed there.
#[derive(Debug, Clone)]
pub struct ListEvents {
    /// The scope.
    pub scope: Scope,
    /// Which part.
    pub page: PageOptions,
}

#[async_trait]
impl Action for ListEvents {
    type Output = ListPage<EventRecord>;
    const NAME: &'static str = "events.list";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::EVENTS_READ
    }

    fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Self::Output> {
        let options = self.page.list(EventRecord::KIND, &EventRecord::parent_of(&self.scope), true)?;
        let page = work.collections().page::<EventRecord>(options).await?;
        let items = page.items.into_iter().map(|event| event.value);
        Ok(ListPage {
            // Events of an environment or an application lie with those of their organisation.
            items: items.filter(|event| self.scope.contains(&event.scope)).collect(),
            next: page.next.map(|key| key.name),
        })
    }
}
