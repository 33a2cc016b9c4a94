//! Keeps the routes of the Gateway API as they follow from what is declared, whatever happens to pods and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use paas_core::AppEnv;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cluster::Shared;
use crate::trouble::Trouble;

/// Changes within this time are looked at together.
const TOGETHER: Duration = Duration::from_millis(5);
/// The pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Begins to keep the routes.
pub(crate) fn keep(shared: &Arc<Shared>) -> JoinHandle<()> {
    let stale = shared.events.stale();
    let shared = Arc::downgrade(shared);
    tokio::spawn(run(shared, stale))
}

async fn run(shared: Weak<Shared>, mut stale: tokio::sync::broadcast::Receiver<AppEnv>) {
    let mut failed: BTreeMap<AppEnv, Trouble> = BTreeMap::new();
    loop {
        let mut due: BTreeSet<AppEnv> = failed.keys().cloned().collect();
        let mut missed = false;
        let first = if due.is_empty() {
            stale.recv().await
        } else {
            match tokio::time::timeout(AGAIN, stale.recv()).await {
                Ok(first) => first,
                Err(_) => Err(RecvError::Lagged(0)), // nothing new, and something to try again
            }
        };
        match first {
            Ok(at) => drop(due.insert(at)),
            Err(RecvError::Lagged(count)) => missed |= count > 0,
            Err(RecvError::Closed) => return,
        }
        sleep(TOGETHER).await;
        loop {
            match stale.try_recv() {
                Ok(at) => drop(due.insert(at)),
                Err(TryRecvError::Lagged(_)) => missed = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let Some(shared) = shared.upgrade() else { return };
        if missed {
            // Where one revision has everything, pods change nothing; where several share, they may have.
            due.extend(Shared::lock(&shared.shared_traffic).iter().map(|track| track.component.at.clone()));
        }
        for at in due {
            let Err(error) = shared.write_routes(&at).await else {
                failed.remove(&at);
                continue;
            };
            if let Some(why) = failed.entry(at.clone()).or_default().news(&error) {
                tracing::warn!(application = %at, error = why, "cannot write routes");
            }
        }
    }
}
