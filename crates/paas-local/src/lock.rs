//! One server to a state directory.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::{Error, ErrorKind, Result};

/// A hold on a state directory, released when it is dropped or its process ends, however that happens.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started may hold a copy of the descriptor for a moment.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl StateLock {
    /// Takes the lock of a directory, which must exist.
    ///
    /// # Errors
    /// `Busy` with the process that has it.
    pub fn acquire(dir: &Path) -> Result<Self> {
        let operation = "lock the state directory";
        let path = dir.join("server.lock");
        let fail = |source: std::io::Error| Error::io(operation, source).with("file", path.display());
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(fail)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let who = if pid.trim().is_empty() {
                    "another process".into()
                } else {
                    format!("process {}", pid.trim())
                };
                return Err(Error::new(ErrorKind::Busy, operation)
                    .with("directory", dir.display())
                    .with_detail(format!(
                        "{who} is using it; stop that one, or start this one with a directory of its own"
                    )));
            }
            Err(errno) => return Err(fail(errno.into())),
        }
        file.set_len(0).map_err(fail)?;
        file.rewind().map_err(fail)?;
        writeln!(file, "{}", std::process::id()).map_err(fail)?;
        Ok(Self { file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = StateLock::acquire(dir.path()).expect("it is free");
        let error = StateLock::acquire(dir.path()).expect_err("it is taken");
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        StateLock::acquire(dir.path()).expect("it is free again");
    }
}
