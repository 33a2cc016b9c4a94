//! Locks between tasks and processes, which die with their holders.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::files::{Files, OPERATION, failed};
use crate::{Digest, Error, ErrorKind, Result};

/// How often a lock that somebody else has is tried again.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(100);

/// A `flock` on a file of its own. Each holder has its own open file, so that tasks of one process exclude each other as
/// processes do.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// The exclusive lock of a digest, if nobody has it.
    pub(super) fn try_exclusive(files: &Files, digest: &Digest) -> Result<Option<Self>> {
        Self::attempt(&files.lock(&digest.hex()), FlockOperation::NonBlockingLockExclusive)
    }

    /// A shared lock of a digest, if nobody has the exclusive one.
    pub(super) fn try_shared(files: &Files, digest: &Digest) -> Result<Option<Self>> {
        Self::attempt(&files.lock(&digest.hex()), FlockOperation::NonBlockingLockShared)
    }

    /// The lock of the index, which is held for moments only. Blocks.
    pub(super) fn index(files: &Files, timeout: Duration) -> Result<Self> {
        let path = files.lock("index");
        let mut wait = Wait::new(timeout);
        loop {
            if let Some(lock) = Self::attempt(&path, FlockOperation::NonBlockingLockExclusive)? {
                return Ok(lock);
            }
            std::thread::sleep(wait.next(&path)?);
        }
    }

    fn attempt(path: &Path, operation: FlockOperation) -> Result<Option<Self>> {
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
            let file = file.map_err(|error| failed(error, path))?;
            match flock(&file, operation) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(failed(errno.into(), path)),
            }
            // The file may have been removed between opening and locking; then the lock is on nothing.
            let own = file.metadata().map_err(|error| failed(error, path))?;
            match std::fs::metadata(path) {
                Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => {
                    return Ok(Some(Self { file, path: path.to_owned() }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error, path)),
            }
        }
    }

    /// Turns an exclusive lock into a shared one. In between somebody else may have had it.
    pub(super) fn share(self) -> Result<Option<Self>> {
        match flock(&self.file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(self)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed(errno.into(), &self.path)),
        }
    }

    /// Gives an exclusive lock back together with its file.
    pub(super) fn remove(self) -> Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error, &self.path)),
            _ => Ok(()),
        }
    }
}

/// Waiting for a lock, ever longer, not for ever.
pub(super) struct Wait {
    deadline: Instant,
    delay: Duration,
}

impl Wait {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { deadline: Instant::now() + timeout, delay: POLL_MIN }
    }

    /// How long to wait before the next try.
    pub(super) fn next(&mut self, what: &Path) -> Result<Duration> {
        if Instant::now() >= self.deadline {
            return Err(Error::new(
                ErrorKind::Busy,
                OPERATION,
                "another process works on it and did not finish in time",
            )
            .with("lock", what.display()));
        }
        let delay = self.delay;
        self.delay = (delay * 2).min(POLL_MAX);
        Ok(delay)
    }
}
