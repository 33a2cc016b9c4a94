//! Keeps the routes of the Gateway API as they follow from what is declared, whatever happens to pods and routes.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use paas_core::AppEnv;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::cluster::Shared;

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
    let mut failed: BTreeSet<AppEnv> = BTreeSet::new();
    loop {
        let mut due = std::mem::take(&mut failed);
        let first = if due.is_empty() {
            stale.recv().await
        } else {
            match tokio::time::timeout(AGAIN, stale.recv()).await {
                Ok(first) => first,
                Err(_) => Err(RecvError::Lagged(0)),
            }
        };
        match first {
            Ok(at) => drop(due.insert(at)),
            // What was missed is told again: whatever is wrong then changes once more, or is looked at by the engine.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        sleep(TOGETHER).await;
        loop {
            match stale.try_recv() {
                Ok(at) => drop(due.insert(at)),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let Some(shared) = shared.upgrade() else { return };
        for at in due {
            if let Err(error) = shared.write_routes(&at).await {
                tracing::warn!(application = %at, error = %error.report(), "cannot write routes");
                failed.insert(at);
            }
        }
    }
}
