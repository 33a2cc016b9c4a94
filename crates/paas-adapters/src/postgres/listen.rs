//! Hears of the commits of other servers.

use std::iter::repeat;
use std::sync::{Arc, Weak};
use std::time::Duration;

use paas_core::Result;
use paas_core::port::Revision;
use sqlx::postgres::PgListener;
use tokio::time::{sleep, timeout};

use super::lent::in_time;
use super::{Shared, failure};

/// How long nothing is heard before the newest revision is asked for: a connection may be dead without a sign.
const SILENCE: Duration = Duration::from_secs(5);
/// The pauses between attempts to listen again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// The channel of a schema.
pub(super) fn channel(schema: &str) -> String {
    format!("paas:{schema}")
}

/// Listens from now on, until the store is dropped or closed.
pub(super) async fn start(shared: &Arc<Shared>, schema: &str) -> Result<()> {
    let channel = channel(schema);
    let listener = listen(shared, &channel).await;
    let listener = listener.map_err(|error| failure("listen for commits", error))?;
    tokio::spawn(follow(Arc::downgrade(shared), channel, listener));
    Ok(())
}

async fn listen(shared: &Shared, channel: &str) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect_with(&shared.pool).await?;
    // A connection that was lost is seen here, because what was missed has to be asked for.
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    Ok(listener)
}

async fn follow(store: Weak<Shared>, channel: String, first: PgListener) {
    let mut listener = Some(first);
    let mut pauses = PAUSES.into_iter().chain(repeat(PAUSES[PAUSES.len() - 1]));
    loop {
        let heard = match &mut listener {
            Some(listener) => timeout(SILENCE, listener.try_recv()).await,
            None => {
                sleep(pauses.next().unwrap_or(SILENCE)).await;
                Ok(Ok(None))
            }
        };
        // Only now: while nothing is heard, nobody is kept from dropping the store.
        let Some(shared) = store.upgrade().filter(|shared| !shared.pool.is_closed()) else { return };
        match heard {
            Ok(Ok(Some(notice))) => {
                if let Ok(revision) = notice.payload().parse() {
                    shared.tell(Revision(revision));
                }
            }
            // Nothing for a while, on a connection that may be dead: what it did not tell is asked for.
            Err(_) => {
                if let Err(error) = ask(&shared).await {
                    tracing::debug!("{}", error.report());
                    listener = None;
                }
            }
            // The connection was lost, and what it would have told.
            Ok(Ok(None) | Err(_)) => {
                listener = Box::pin(again(&shared, &channel)).await;
                if listener.is_some() {
                    pauses = PAUSES.into_iter().chain(repeat(PAUSES[PAUSES.len() - 1]));
                }
            }
        }
    }
}

async fn ask(shared: &Shared) -> Result<()> {
    let meta = shared.meta("ask for the newest commit").await?;
    shared.tell(meta.revision);
    Ok(())
}

/// Listens again, then asks for what was missed.
async fn again(shared: &Shared, channel: &str) -> Option<PgListener> {
    let attempt = async {
        let listener = listen(shared, channel).await.map_err(|error| failure("listen for commits", error))?;
        ask(shared).await?;
        Ok(listener)
    };
    let outcome: Result<PgListener> = in_time("listen for commits", Box::pin(attempt)).await;
    outcome.inspect_err(|error| tracing::debug!("{}", error.report())).ok()
}
