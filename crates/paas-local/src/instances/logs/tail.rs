//! A log that is read while it grows.

use std::{io, time::Duration};

use tokio::time::Instant;

use super::reader::{Reader, Record};
use crate::{
    instances::shim_client::{Ear, Heard},
    state::InstanceDir,
};

/// How often a log is looked at whose shim listens to nobody more.
const PAUSE: Duration = Duration::from_millis(500);

/// A log from its beginning, and the ear that hears it grow.
#[derive(Debug)]
pub(crate) struct Tail {
    dir: InstanceDir,
    reader: Reader,
    ear: Option<Ear>,
    /// When to look again without an ear.
    look_at: Instant,
    complete: bool,
}

impl Tail {
    /// What is there now.
    pub(crate) fn so_far(dir: &InstanceDir) -> io::Result<Self> {
        let mut reader = Reader::new(dir.logs());
        reader.stop_here()?;
        Ok(Self { dir: dir.clone(), reader, ear: None, look_at: Instant::now(), complete: true })
    }

    /// What is there, and what is to come. If the shim is gone, everything was said.
    pub(crate) fn following(dir: &InstanceDir) -> Self {
        // Before anything is read, so that nothing said meanwhile is missed.
        let ear = listen(dir);
        let reader = Reader::new(dir.logs());
        let mut tail = Self { dir: dir.clone(), reader, ear, look_at: Instant::now(), complete: false };
        if tail.ear.is_none() {
            tail.listen_again();
        }
        tail
    }

    /// Some records; none if there are no more for now.
    pub(crate) fn batch(&mut self) -> io::Result<Vec<Record>> {
        self.reader.batch()
    }

    /// Whether the log does not grow any more, so that it ends where [`batch`](Self::batch) gives nothing.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Waits until there may be more to read, or the log is complete.
    pub(crate) async fn grown(&mut self) {
        if self.complete {
            return;
        }
        let Some(ear) = &self.ear else {
            // A point in time, as this may be dropped and called again.
            tokio::time::sleep_until(self.look_at).await;
            self.listen_again();
            return;
        };
        if ear.hear().await == Heard::Closed {
            self.ear = None;
            self.listen_again();
        }
    }

    /// A shim closes a connection when its instance has ended, and when it has too many.
    fn listen_again(&mut self) {
        let ended = match self.dir.read_exit() {
            Ok(None) => self.dir.try_lock().is_ok_and(|lock| lock.is_some()),
            // The folder is gone, or damaged: nothing more will come.
            Ok(Some(_)) | Err(_) => true,
        };
        if ended || !self.dir.path().exists() {
            self.complete = true;
        } else {
            self.ear = listen(&self.dir);
            self.look_at = Instant::now() + PAUSE;
        }
    }
}

/// An ear at a shim; none if it is not there, or goes away just now.
fn listen(dir: &InstanceDir) -> Option<Ear> {
    let ear = Ear::connect(&dir.socket()).ok()?;
    ear.follow_log().ok()?;
    Some(ear)
}
