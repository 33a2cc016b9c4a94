//! Carrying rollouts on: the coordinator and its tracks, changed together in one transaction.
//!
//! It decides nothing: [`coordinate`](crate::release::coordinate) and the commands of
//! [`TrackState`](crate::release::TrackState) do. It reads what they need, writes what they answer, and writes what that
//! means for the releases' records.

mod effect;
mod place;
mod view;

pub(super) use place::merge as merge_tombstone;
pub use view::RolloutView;

use jiff::Timestamp;

use super::{Changes, EventRecord, Services, history};
use crate::error::{ErrorKind, Result};
use crate::name::AppEnv;
use crate::port::Expect;

/// What came of [`advance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// There was nothing to do, and nothing was written.
    Unchanged,
    /// Something was written; tracks may have to be looked at.
    Changed,
    /// The application is being deleted and has no track left: remove its access points from the routers, then call
    /// [`remove_documents`](super::remove_documents).
    Removable,
    /// Nothing of the application is stored.
    Gone,
}

/// Carries the rollouts of an application in an environment on, as far as the stored states of its tracks allow: starts
/// tracks, lets dependent ones go on, writes the commits, takes back what failed, begins the next in the queue, brings clusters
/// that are behind to the current release, takes the tracks away from clusters that the environment does not have any more,
/// and detaches those of an application that is being deleted. `guard` is expected in the transaction. It writes nothing if
/// nothing is to be done.
///
/// # Errors
/// [`ErrorKind::Conflict`] if a document was changed meanwhile: call it again; and those of the store.
pub async fn advance(services: &Services, at: &AppEnv, guard: Option<&Expect>) -> Result<Advanced> {
    advance_until(services, at, guard).await.map(|(advanced, _)| advanced)
}

/// The same, with the time at which to call it again although nothing has changed.
pub(super) async fn advance_until(
    services: &Services,
    at: &AppEnv,
    guard: Option<&Expect>,
) -> Result<(Advanced, Option<Timestamp>)> {
    let Some(mut view) = RolloutView::load(services, at).await? else { return Ok((Advanced::Gone, None)) };
    let mut changes = Changes::new();
    if view.is_deleting() {
        if view.tracks().next().is_none() {
            return Ok((Advanced::Removable, None));
        }
        if place::bury(services, &view, &mut changes).await? {
            commit(services, changes, guard, &[]).await?;
            return Ok((Advanced::Changed, None));
        }
        view.detach();
    } else {
        view.follow_targets();
        view.follow_scale();
        view.coordinate();
        // What the end of a rollout means is stored first: until then the current release is not the one that it says.
        if view.is_unchanged() {
            place::catch_up(services, &mut view).await?;
        }
    }
    let ended = view.has_ended_any();
    let wake_at = view.wake_at();
    let events = view.store(services, &mut changes).await?;
    if changes.is_empty() {
        return Ok((Advanced::Unchanged, wake_at));
    }
    commit(services, changes, guard, &events).await?;
    if ended {
        match history::prune(services, at).await {
            Ok(()) => {}
            // A release began meanwhile; the next end cuts the history.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => tracing::warn!(%at, error = %error.report(), "the history was not cut"),
        }
    }
    Ok((Advanced::Changed, wake_at))
}

async fn commit(
    services: &Services,
    mut changes: Changes,
    guard: Option<&Expect>,
    events: &[EventRecord],
) -> Result<()> {
    if let Some(guard) = guard {
        changes.expect(guard.clone());
    }
    services.events().add(services, &mut changes, events).await?;
    services.store().commit(changes.into_txn()).await?;
    services.events().trim(services, events).await;
    Ok(())
}
