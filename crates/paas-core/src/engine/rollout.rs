//! Carrying rollouts on: the coordinator and its tracks, changed together in one transaction.
//!
//! It decides nothing: [`coordinate`](crate::release::coordinate) and the commands of
//! [`TrackState`](crate::release::TrackState) do. It reads what they need, writes what they answer, and writes what that
//! means for the releases' records.

mod effect;
mod view;

pub use view::RolloutView;

use super::{Changes, Services, history};
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
/// tracks, lets dependent ones go on, writes the one commit, takes all back if one failed, begins the next in the queue, and
/// detaches the tracks of an application that is being deleted. `guard` is expected in the transaction. It writes nothing
/// if nothing is to be done.
///
/// # Errors
/// [`ErrorKind::Conflict`] if a document was changed meanwhile: call it again; and those of the store.
pub async fn advance(services: &Services, at: &AppEnv, guard: Option<&Expect>) -> Result<Advanced> {
    let Some(mut view) = RolloutView::load(services, at).await? else { return Ok(Advanced::Gone) };
    if view.is_deleting() {
        if view.tracks().next().is_none() {
            return Ok(Advanced::Removable);
        }
        view.detach();
    } else {
        view.follow_scale();
        view.coordinate();
    }
    let mut changes = Changes::new();
    let ended = view.has_ended_any();
    let events = view.store(services, &mut changes).await?;
    if changes.is_empty() {
        return Ok(Advanced::Unchanged);
    }
    if let Some(guard) = guard {
        changes.expect(guard.clone());
    }
    services.events().add(services, &mut changes, &events).await?;
    services.store().commit(changes.into_txn()).await?;
    services.events().trim(services, &events).await;
    if ended {
        match history::prune(services, at).await {
            Ok(()) => {}
            // A release began meanwhile; the next end cuts the history.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => tracing::warn!(%at, error = %error.report(), "the history was not cut"),
        }
    }
    Ok(Advanced::Changed)
}
