//! The directory that holds everything, and the lock that keeps a second server out of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::rest::address::{self, Address};

/// The directory of a server, held by this process alone.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Makes the directory if it does not exist, and takes it for this process.
    ///
    /// # Errors
    /// If another server has it, naming that server's process; if others may enter it or it belongs to somebody else.
    pub fn take(path: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("failed to make the directory {}", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("failed to open the directory {}", path.display()))?;
        check(&path)?;
        let file = path.join("server.lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .with_context(|| format!("failed to open {}", file.display()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                bail!(
                    "{} is in use by {holder}: one directory has one server. Stop that one first, or name another \
                     directory with --dir",
                    path.display()
                );
            }
            Err(error) => {
                return Err(io::Error::from(error))
                    .with_context(|| format!("failed to lock {}", file.display()));
            }
        }
        if let Err(error) = sign(&lock, &std::process::id().to_string()) {
            // Whoever comes second is refused all the same, without the name of the first.
            tracing::warn!("failed to write {}: {error}", file.display());
        }
        Ok(Self { path, lock })
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells where the server is. A full disk does not keep it from being there.
    pub fn announce(&self, address: &Address) -> Result<()> {
        let file = self.path.join(address::FILE);
        let text = serde_json::to_vec_pretty(address)?;
        let outcome = match replace(&file, &text) {
            // What a server that was killed has left takes no more space.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => overwrite(&file, &text),
            other => other,
        };
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!("the disk is full: {} does not tell where the server is", file.display());
                Ok(())
            }
            other => other.with_context(|| format!("failed to write {}", file.display())),
        }
    }

    /// Takes back what [`Directory::announce`] told, and lets the directory go.
    pub fn leave(self) {
        let _ = fs::remove_file(self.path.join(address::FILE));
        let _ = sign(&self.lock, "");
    }
}

/// Writes who holds the lock, always at the same length: a full disk has room for what is there already.
fn sign(lock: &File, holder: &str) -> io::Result<()> {
    lock.write_all_at(format!("{holder:<10}\n").as_bytes(), 0)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let draft = file.with_extension("json.draft");
    let outcome = options()
        .truncate(true)
        .open(&draft)
        .and_then(|mut out| out.write_all(text))
        .and_then(|()| fs::rename(&draft, file));
    if outcome.is_err() {
        let _ = fs::remove_file(&draft);
    }
    outcome
}

fn overwrite(file: &Path, text: &[u8]) -> io::Result<()> {
    let out = options().truncate(false).open(file)?;
    out.write_all_at(text, 0)?;
    out.set_len(text.len() as u64)
}

/// Nobody else may own the directory or enter it: it holds keys and what they protect.
fn check(path: &Path) -> Result<()> {
    let metadata = fs::metadata(path)?;
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me {
        bail!("{} belongs to user {}, and the server runs as user {me}", path.display(), metadata.uid());
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let empty = fs::read_dir(path)?.next().is_none();
        if !empty {
            bail!(
                "others may enter {} (mode {mode:04o}), and it holds keys. Run: chmod 700 {}",
                path.display(),
                path.display()
            );
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_for_its_owner_and_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/paas");
        let first = Directory::take(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let error = Directory::take(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        first.leave();
        Directory::take(&path).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused_if_it_holds_anything() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("something"), "").unwrap();
        let error = Directory::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
}
