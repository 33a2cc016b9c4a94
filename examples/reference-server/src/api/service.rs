//! What the handlers work with.

use std::sync::Arc;

use paas_core::Result;
use paas_core::action::Status;
use paas_core::engine::{AppEnvRecord, AppState, Platform, Record as _};
use paas_core::port::{ListOptions, Store};
use paas_core::tenancy::Actor;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::metrics::Census;
use crate::server::accounts::Accounts;

/// What the handlers work with: cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Parts>);

struct Parts {
    platform: Platform,
    accounts: Accounts,
    metrics: Metrics,
    closing: CancellationToken,
}

impl Service {
    /// The interface of `platform`; its streams end when `closing` is cancelled.
    pub fn new(platform: Platform, accounts: Accounts, closing: CancellationToken) -> Self {
        Self(Arc::new(Parts { platform, accounts, metrics: Metrics::new(), closing }))
    }

    /// The platform.
    pub fn platform(&self) -> &Platform {
        &self.0.platform
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.0.platform.services().store()
    }

    /// Tokens.
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Cancelled when the server begins to stop.
    pub fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }
}

impl Service {
    /// Counts applications, instances and releases, as they are now.
    pub async fn census(&self) -> Result<Census> {
        let mut census = Census { revision: self.store().revision().await?.0, ..Census::default() };
        let session = self.platform().session(Actor::system());
        let collections = self.platform().services().collections();
        let options = ListOptions { kind: AppEnvRecord::KIND.to_owned(), ..ListOptions::default() };
        for place in collections.all::<AppEnvRecord>(options).await? {
            // One that was deleted meanwhile is not counted.
            let Ok(status) = session.perform(Status { at: place.value.at }).await else { continue };
            *census.apps.entry(status.state.as_str().to_owned()).or_default() += 1;
            census.rollouts += i64::from(status.state == AppState::Releasing);
            let tracks = status.components.iter().flat_map(|component| &component.tracks);
            for instance in tracks.flat_map(|track| &track.instances) {
                let phase = serde_json::to_value(instance.phase).ok();
                let phase =
                    phase.as_ref().and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
                *census.instances.entry(phase).or_default() += 1;
            }
        }
        Ok(census)
    }
}
