//! The state of an application, each time it changes: woken by the store's feed and by the clusters.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream, Stream};
use paas_core::action::Status;
use paas_core::engine::{AppStatus, Session};
use paas_core::port::RuntimeEvent;
use paas_core::{AppEnv, Result};

use super::Service;

/// The shortest time between two looks, so that a burst of changes is one.
const PACE: Duration = Duration::from_millis(20);
/// The longest time between two looks, in case a change was missed.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// `first`, then the state whenever it is another one.
pub async fn states(
    service: &Service,
    session: Session,
    at: AppEnv,
    first: AppStatus,
) -> Result<impl Stream<Item = Result<AppStatus>> + Send + use<>> {
    let changes = changes(service, &at).await?;
    let later = stream::unfold(
        (changes, session, at, first.clone()),
        |(mut changes, session, at, last)| async move {
            loop {
                // An end of the changes is a reader that was too slow: the heartbeat goes on showing the state.
                let _ = tokio::time::timeout(HEARTBEAT, next(&mut changes)).await;
                tokio::time::sleep(PACE).await;
                let status = match session.perform(Status { at: at.clone() }).await {
                    Ok(status) => status,
                    Err(error) => return Some((Err(error), (changes, session, at, last))),
                };
                if (AppStatus { revision: last.revision, ..status.clone() }) != last {
                    return Some((Ok(status.clone()), (changes, session, at, status)));
                }
            }
        },
    );
    Ok(stream::once(async { Ok(first) }).chain(later))
}

async fn next(changes: &mut BoxStream<'static, ()>) {
    if changes.next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Something about the application changed.
async fn changes(service: &Service, at: &AppEnv) -> Result<BoxStream<'static, ()>> {
    let services = service.platform().services();
    let store = services.store();
    let below = at.to_string();
    let documents = store.watch(store.revision().await?).await?.filter_map(move |change| {
        let concerns = change.is_ok_and(|change| change.key.parent == below);
        std::future::ready(concerns.then_some(()))
    });
    let mut sources = vec![documents.boxed()];
    for ports in services.clusters().values() {
        // A cluster that cannot be watched now shows in the status itself.
        let Ok(events) = ports.runtime.watch().await else { continue };
        let at = at.clone();
        let of_app = events.filter_map(move |event| {
            let concerns = matches!(event, Ok(RuntimeEvent::Track(track)) if track.component.at == at);
            std::future::ready(concerns.then_some(()))
        });
        sources.push(of_app.boxed());
    }
    Ok(stream::select_all(sources).boxed())
}
