//! What users ask of a release that is under way, or was.

use crate::action::Work;
use crate::engine::{AbortRequest, AppEnvRecord, EventKind, RolloutRecord, RolloutState};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Release, ReleaseState};
use crate::name::AppEnv;
use crate::port::Scope;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::action) enum Steer {
    Abort { reason: String },
    Retry,
    Pause,
    Resume,
}

/// Notes what is asked in the rollout's record; its coordinator carries it out.
pub(in crate::action) async fn steer(work: &mut Work<'_>, at: &AppEnv, steer: Steer) -> Result<()> {
    let Some(mut rollout) = work.get::<RolloutRecord>(&RolloutRecord::key_of(at)).await? else {
        return match steer {
            // An abort with nothing under way does nothing.
            Steer::Abort { .. } => Ok(()),
            _ => Err(nothing_under_way(at)),
        };
    };
    let number = rollout.value.release;
    let running = matches!(rollout.value.state, RolloutState::Running);
    let message = match steer {
        Steer::Abort { reason } => {
            if rollout.value.state.is_terminal() || rollout.value.abort.is_some() {
                return Ok(());
            }
            let message = if reason.is_empty() {
                format!("the abort of release {number} was asked for")
            } else {
                format!("the abort of release {number} was asked for: {reason}")
            };
            rollout.value.abort =
                Some(AbortRequest { by: work.actor().id().to_owned(), at: work.now(), reason });
            rollout.value.paused = false;
            message
        }
        Steer::Retry => {
            let RolloutState::Aborted { .. } = rollout.value.state else {
                return Err(Error::new(ErrorKind::Conflict, "try a release again that was not aborted")
                    .with_context("application", at)
                    .with_context("release", number));
            };
            let place = work.need::<AppEnvRecord>(&AppEnvRecord::key_of(at), "application", at).await?;
            if place.value.last != number.0 {
                return Err(Error::new(ErrorKind::Conflict, "try a release again after a newer one")
                    .with_context("application", at)
                    .with_context("release", number)
                    .with_context("newest", place.value.last)
                    .with_remedy("Make a new release instead."));
            }
            let mut release = work.need::<Release>(&Release::key_of(at, number), "release", number).await?;
            release.value.state = ReleaseState::Running;
            work.changes().update(&release)?;
            rollout.value.attempt += 1;
            for track in &mut rollout.value.tracks {
                track.start.attempt = rollout.value.attempt;
            }
            rollout.value.abort = None;
            rollout.value.paused = false;
            rollout.value.from = place.value.current;
            rollout.value.state = RolloutState::Running;
            format!("release {number} is tried again, attempt {}", rollout.value.attempt)
        }
        Steer::Pause | Steer::Resume if !running => return Err(nothing_under_way(at)),
        Steer::Pause => {
            if std::mem::replace(&mut rollout.value.paused, true) {
                return Ok(());
            }
            format!("release {number} was paused")
        }
        Steer::Resume => {
            // A resume also ends a pause of the plan, so it is passed on though nobody paused.
            rollout.value.paused = false;
            rollout.value.resumed += 1;
            format!("release {number} may go on")
        }
    };
    work.changes().update(&rollout)?;
    work.event(EventKind::ReleaseProgressed, Scope::AppEnv(at.clone()), message).release = Some(number);
    Ok(())
}

fn nothing_under_way(at: &AppEnv) -> Error {
    Error::new(ErrorKind::Conflict, "steer a release when none is under way").with_context("application", at)
}
