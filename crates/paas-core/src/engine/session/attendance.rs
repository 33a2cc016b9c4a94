//! Being attached to a run that lives with whoever is.
//!
//! The run's record says until when somebody is attached. It is moved on as long as the session is there, and no more
//! when that is dropped. The cluster then hangs the run up; if that does not end it, or nothing did because the server
//! died together with the session, a reconciler does.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::SignedDuration;
use tokio::sync::oneshot;

use crate::action::ATTENDED;
use crate::engine::{Changes, RunRecord, Services};
use crate::error::{ErrorKind, Result};
use crate::port::{DocumentKey, ExecSession};

/// How often the record is moved on: several times before it would be too late.
const MOVED_ON: Duration = Duration::from_secs(20);
/// How long the cluster may take to hang up.
const HUNG_UP: SignedDuration = SignedDuration::from_secs(40);
/// How often a write is tried that others got ahead of.
const ATTEMPTS: usize = 5;

/// The session, attended to for as long as its output is there.
pub(super) fn attended(services: Arc<Services>, key: DocumentKey, session: ExecSession) -> ExecSession {
    let (here, gone) = oneshot::channel();
    tokio::spawn(attend(services, key, gone));
    let output = session.output.map(move |piece| {
        // It goes with the stream.
        let _: &oneshot::Sender<()> = &here;
        piece
    });
    ExecSession { input: session.input, output: output.boxed() }
}

async fn attend(services: Arc<Services>, key: DocumentKey, mut gone: oneshot::Receiver<()>) {
    let mut is_here = true;
    while is_here {
        let still = tokio::select! {
            _ = &mut gone => {
                is_here = false;
                HUNG_UP
            }
            () = tokio::time::sleep(MOVED_ON) => ATTENDED,
        };
        match move_on(&services, &key, still).await {
            Ok(is_under_way) => is_here &= is_under_way,
            Err(error) => {
                tracing::warn!(run = %key.name, error = %error.report(), "cannot record who is attached to a run");
            }
        }
    }
}

/// Says that somebody is attached for so long; whether the run is still under way.
async fn move_on(services: &Services, key: &DocumentKey, still: SignedDuration) -> Result<bool> {
    let mut attempt = 1;
    loop {
        let Some(mut run) = services.collections().get::<RunRecord>(key).await? else { return Ok(false) };
        if run.value.ended_at.is_some() {
            return Ok(false);
        }
        let now = services.now();
        run.value.attended_until = Some(now.saturating_add(still).unwrap_or(now));
        let mut changes = Changes::new();
        changes.update(&run)?;
        match services.store().commit(changes.into_txn()).await {
            Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS => attempt += 1,
            other => return other.map(|_| true),
        }
    }
}
