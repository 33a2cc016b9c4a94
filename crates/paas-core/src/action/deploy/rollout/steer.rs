//! What users ask of a release that is under way, or was.

use crate::action::Work;
use crate::engine::{EventKind, RolloutView};
use crate::error::{Error, ErrorKind, Result};
use crate::name::AppEnv;
use crate::port::Scope;
use crate::release::{AbortReason, Command, Hold, TrackState};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::action) enum Steer {
    Abort { reason: String },
    Retry,
    Pause,
    Resume,
}

/// Does what is asked to the rollout and its tracks.
pub(in crate::action) async fn steer(work: &mut Work<'_>, at: &AppEnv, steer: Steer) -> Result<()> {
    let place = work.live_place(at).await?;
    let mut view = RolloutView::of(work.services(), place).await?;
    let active = view.active().map(|rollout| rollout.release);
    let refused = |operation: &'static str, why: String| {
        Error::new(ErrorKind::Conflict, operation).with_context("application", at).with_source(why)
    };
    let message = match (&steer, active) {
        // An abort with nothing under way does nothing.
        (Steer::Abort { .. }, None) => return Ok(()),
        (Steer::Abort { reason }, Some(number)) => {
            view.abort(AbortReason::User(reason.clone()))
                .map_err(|why| refused("abort the release", why.to_string()))?;
            view.coordinate();
            format!("{} aborts release {number}", work.actor())
        }
        (Steer::Retry, _) => {
            view.retry().map_err(|why| refused("try the release again", why.to_string()))?;
            view.coordinate();
            let number = view.active().map(|rollout| rollout.release.to_string()).unwrap_or_default();
            format!("{} tries release {number} again", work.actor())
        }
        (Steer::Pause | Steer::Resume, None) => {
            return Err(refused("steer a release", "none is under way".to_owned()));
        }
        (Steer::Pause, Some(number)) => {
            view.command(&Command::Pause, TrackState::is_rolling_out)
                .map_err(|why| refused("pause the release", why.to_string()))?;
            if !view.tracks().any(|track| track.holds.contains(&Hold::UserPause)) {
                let why = format!("release {number} is on its way back, or has committed");
                return Err(refused("pause the release", why));
            }
            format!("{} paused release {number}", work.actor())
        }
        (Steer::Resume, Some(number)) => {
            view.command(&Command::Resume, TrackState::is_rolling_out)
                .map_err(|why| refused("let the release go on", why.to_string()))?;
            format!("{} lets release {number} go on", work.actor())
        }
    };
    let number = view.active().map(|rollout| rollout.release).or(active);
    work.store_view(view).await?;
    work.event(EventKind::ReleaseProgressed, Scope::AppEnv(at.clone()), message).release = number;
    Ok(())
}
