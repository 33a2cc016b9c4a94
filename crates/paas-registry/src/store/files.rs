//! The files of a store.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{Digest, Error, ErrorKind, Result, Unpacked};

pub(super) const OPERATION: &str = "use image store";

#[derive(Debug, Clone)]
pub(super) struct Files {
    root: PathBuf,
    sync: bool,
}

/// `layer.json`, beside an unpacked layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LayerInfo {
    #[serde(flatten)]
    pub(super) unpacked: Unpacked,
}

impl Files {
    pub(super) fn open(root: PathBuf, sync: bool) -> Result<Self> {
        // Absolute, because the paths of layers are handed to other processes.
        let root = std::path::absolute(&root).map_err(|error| failed(error, &root))?;
        let files = Self { root, sync };
        for part in ["blobs/sha256", "layers", "locks", "tmp"] {
            let directory = files.root.join(part);
            // Nobody but the owner: layers hold setuid programs, and nobody else has any business here.
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(|error| failed(error, &directory))?;
        }
        Ok(files)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    pub(super) fn lock(&self, name: &str) -> PathBuf {
        self.root.join("locks").join(name)
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// The root of an unpacked layer.
    pub(super) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layer_holder(diff_id).join("fs")
    }

    fn layer_holder(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    fn temporary_layer(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("tmp").join(format!("layer-{}", diff_id.hex()))
    }

    pub(super) fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.blob(digest);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error, &path)),
        }
    }

    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        self.blob(digest).is_file()
    }

    /// A file to write a blob into. It is of its writer alone, and gone if the writer drops it.
    pub(super) fn create_temporary_blob(&self, digest: &Digest) -> Result<NamedTempFile> {
        let directory = self.root.join("tmp");
        let suffix = format!("-{}", digest.hex());
        let created = tempfile::Builder::new().prefix("blob-").suffix(&suffix).tempfile_in(&directory);
        created.map_err(|error| failed(error, &directory))
    }

    /// Gives a complete and verified blob its final name.
    pub(super) fn publish_blob(&self, digest: &Digest, file: NamedTempFile) -> Result<()> {
        let path = self.blob(digest);
        if self.sync {
            file.as_file().sync_all().map_err(|error| failed(error, &path))?;
        }
        file.persist(&path).map_err(|error| failed(error.error, &path))?;
        self.sync_directory(&self.root.join("blobs/sha256"))
    }

    /// Removes a blob; the caller holds its lock.
    pub(super) fn remove_blob(&self, digest: &Digest) -> Result<()> {
        let path = self.blob(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error, &path)),
            _ => Ok(()),
        }
    }

    /// What is known of an unpacked layer, if it is here.
    pub(super) fn layer_info(&self, diff_id: &Digest) -> Result<Option<LayerInfo>> {
        let path = self.layer_holder(diff_id).join("layer.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                Error::new(ErrorKind::Corrupt, OPERATION, error.to_string()).with("file", path.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error, &path)),
        }
    }

    /// Makes an empty directory to unpack into; the caller holds the layer's lock and has removed leftovers.
    pub(super) fn create_temporary_layer(&self, diff_id: &Digest) -> Result<PathBuf> {
        let holder = self.temporary_layer(diff_id);
        let root = holder.join("fs");
        for directory in [&holder, &root] {
            fs::DirBuilder::new().mode(0o700).create(directory).map_err(|error| failed(error, directory))?;
        }
        Ok(root)
    }

    pub(super) fn temporary_layer_holder(&self, diff_id: &Digest) -> PathBuf {
        self.temporary_layer(diff_id)
    }

    /// Gives an unpacked and verified layer its final name.
    ///
    /// The holder is renamed and not the root within: a directory that its owner may not write cannot be moved.
    pub(super) fn publish_layer(&self, diff_id: &Digest, info: &LayerInfo) -> Result<()> {
        let holder = self.temporary_layer(diff_id);
        let path = holder.join("layer.json");
        let bytes = serde_json::to_vec(info).expect("plain data");
        fs::write(&path, bytes).map_err(|error| failed(error, &path))?;
        if self.sync {
            let file = File::open(&path).map_err(|error| failed(error, &path))?;
            rustix::fs::syncfs(&file).map_err(|errno| failed(errno.into(), &path))?;
        }
        let target = self.layer_holder(diff_id);
        fs::rename(&holder, &target).map_err(|error| failed(error, &target))?;
        self.sync_directory(&self.root.join("layers"))
    }

    /// Moves a layer to where the sweep removes it; whether it was there.
    pub(super) fn discard_layer(&self, diff_id: &Digest) -> Result<bool> {
        let path = self.layer_holder(diff_id);
        match fs::rename(&path, self.root.join("tmp").join(format!("gone-{}", diff_id.hex()))) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error, &path)),
        }
    }

    pub(super) fn layers(&self) -> Result<BTreeSet<Digest>> {
        self.digests("layers")
    }

    pub(super) fn blobs(&self) -> Result<BTreeSet<Digest>> {
        self.digests("blobs/sha256")
    }

    fn digests(&self, directory: &str) -> Result<BTreeSet<Digest>> {
        let names = Self::names(&self.root.join(directory))?;
        Ok(names.iter().filter_map(|name| format!("sha256:{name}").parse().ok()).collect())
    }

    /// What is in `tmp`, with the digest whose lock guards it.
    pub(super) fn leftovers(&self) -> Result<Vec<(PathBuf, Digest)>> {
        let directory = self.root.join("tmp");
        let names = Self::names(&directory)?;
        Ok(names
            .into_iter()
            .filter_map(|name| {
                let (_, hex) = name.rsplit_once('-')?;
                Some((directory.join(&name), format!("sha256:{hex}").parse().ok()?))
            })
            .collect())
    }

    fn names(directory: &Path) -> Result<Vec<String>> {
        let entries = fs::read_dir(directory).map_err(|error| failed(error, directory))?;
        entries
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect::<io::Result<_>>()
            .map_err(|error| failed(error, directory))
    }

    /// Replaces a file of the store's top directory whole.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let write = || {
            let mut file = tempfile::Builder::new().prefix(".index-").tempfile_in(&self.root)?;
            file.write_all(bytes)?;
            if self.sync {
                file.as_file().sync_all()?;
            }
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|error| failed(error, path))?;
        self.sync_directory(&self.root)
    }

    fn sync_directory(&self, directory: &Path) -> Result<()> {
        if !self.sync {
            return Ok(());
        }
        File::open(directory).and_then(|file| file.sync_all()).map_err(|error| failed(error, directory))
    }
}

/// Removes a file or a tree; it may be gone already.
pub(super) fn remove(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(ErrorKind::Invalid, OPERATION, "there is no such thing to remove"));
    };
    match File::open(parent) {
        Ok(parent) => crate::remove_tree(parent, name).map_err(|error| error.with("path", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error, parent)),
    }
}

pub(super) fn failed(error: io::Error, path: &Path) -> Error {
    // A missing file inside of the store is no missing image.
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(ErrorKind::Io, OPERATION, error.to_string()).with_source(error),
        _ => Error::io(OPERATION, error),
    }
    .with("path", path.display())
}
