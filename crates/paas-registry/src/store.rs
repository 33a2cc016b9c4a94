//! The image store: a directory with images, shared by processes and safe against their death.
//!
//! ```text
//! index.json               which images are here, by which references (replaced whole by rename)
//! blobs/sha256/<hex>       manifests and configurations, and layers if they are kept packed
//! layers/<hex>/fs          one unpacked layer, by its diff id; layer.json beside it
//! locks/<hex>              one lock file for each thing that is being made or used by a pull
//! tmp/<kind>-<hex>         what is being made, or being removed
//! ```
//!
//! Invariants: what is under its final name is complete, because it got there by `rename` after a sync; something
//! under `tmp` is made only under the exclusive lock of its digest, so whoever gets that lock may remove it; a pull holds
//! shared locks on the layers that it counts on until the index names them; and only what no image of the index names and
//! nobody locks is removed.

mod files;
mod index;
mod lock;
mod pull;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::progress::PullProgress;
use crate::spec::{self, Config};
use crate::unpack::{UnpackOptions, Unpacked};
use crate::{Digest, Error, ErrorKind, Image, ImageConfig, Limits, Platform, Reference, Result, Source};
use files::Files;
use index::{Index, Record};
use lock::Lock;
#[cfg(feature = "core")]
pub(crate) use pull::fetch_document;

/// How an [`ImageStore`] works.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Who unpacks layers; see [`LayerUnpacker`].
    pub unpacker: Arc<dyn LayerUnpacker>,
    /// Layers that are transferred and unpacked at the same time, over all pulls.
    pub concurrency: usize,
    /// Whether layers are also kept as they were transferred, so that they can be handed on.
    pub keep_packed_layers: bool,
    /// How long to wait for another process that works on the same layer.
    pub lock_timeout: Duration,
    /// Whether a finished layer is flushed to the disk, so that it survives a power cut. Only tests say no.
    pub sync: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            unpacker: Arc::new(InProcess(UnpackOptions::detect())),
            concurrency: 3,
            keep_packed_layers: false,
            lock_timeout: Duration::from_mins(15),
            sync: true,
        }
    }
}

/// How one image is pulled.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// For which platform; the one of this machine if nothing is said.
    pub platform: Platform,
    /// Bounds.
    pub limits: Limits,
    /// Where to tell how far it has come.
    pub progress: Option<watch::Sender<PullProgress>>,
}

/// Who unpacks and removes layers.
///
/// A store of an ordinary user who has subordinate ids needs another one than [`InProcess`]: one that runs
/// [`unpack_layer`](crate::unpack_layer) and [`remove_tree`](crate::remove_tree) in a helper process inside of a user
/// namespace into which the ids are mapped. Both calls may block.
pub trait LayerUnpacker: fmt::Debug + Send + Sync {
    /// Unpacks a layer, packed as it was transferred and verified, into the empty directory `root`.
    ///
    /// # Errors
    /// As [`unpack_layer`](crate::unpack_layer).
    fn unpack(&self, layer: File, root: &Path, limits: &Limits) -> Result<Unpacked>;

    /// Removes a directory in which [`LayerUnpacker::unpack`] has worked; it may be gone already.
    ///
    /// # Errors
    /// Those of the operating system.
    fn remove(&self, directory: &Path) -> Result<()>;
}

/// Unpacks in this process, with these options; their limits give way to those of the pull.
#[derive(Debug, Clone)]
pub struct InProcess(pub UnpackOptions);

impl LayerUnpacker for InProcess {
    fn unpack(&self, layer: File, root: &Path, limits: &Limits) -> Result<Unpacked> {
        let root = File::open(root).map_err(|error| Error::io("unpack layer", error))?;
        crate::unpack_layer(layer, root, &UnpackOptions { limits: limits.clone(), ..self.0.clone() })
    }

    fn remove(&self, directory: &Path) -> Result<()> {
        files::remove(directory)
    }
}

/// What a clean-up freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reclaimed {
    /// Images that were forgotten.
    pub images: usize,
    /// Unpacked layers that were removed.
    pub layers: usize,
    /// Blobs that were removed.
    pub blobs: usize,
}

/// A directory with images: content-addressed, each layer unpacked once and shared.
///
/// It may be used by several tasks and processes at once: of several that pull the same layer one does the work and
/// the others wait. A process that dies at any point leaves nothing incomplete under a final name. Clones share it.
#[derive(Debug, Clone)]
pub struct ImageStore {
    files: Files,
    options: StoreOptions,
    transfers: Arc<Semaphore>,
}

impl ImageStore {
    /// Opens a store, making it if the directory does not exist or is empty, and removes what killed processes left.
    ///
    /// # Errors
    /// If the directory cannot be made, written or is of a newer version.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(directory, StoreOptions::default())
    }

    /// Opens a store with options.
    ///
    /// # Errors
    /// As [`ImageStore::open`].
    pub fn open_with(directory: impl Into<PathBuf>, options: StoreOptions) -> Result<Self> {
        let files = Files::open(directory.into(), options.sync)?;
        Index::load(&files)?;
        let transfers = Arc::new(Semaphore::new(options.concurrency.max(1)));
        let store = Self { files, options, transfers };
        store.sweep()?;
        Ok(store)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.files.root()
    }

    /// All images, in no particular order.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        Index::load(&self.files)?.images.iter().map(|record| self.image(record)).collect()
    }

    /// The image with this digest: of its manifest, or of an index through which it was pulled.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn get(&self, digest: &Digest) -> Result<Option<Image>> {
        let index = Index::load(&self.files)?;
        index.images.iter().find(|record| record.has(digest)).map(|record| self.image(record)).transpose()
    }

    /// The image that was pulled last by this reference, if it is still here; by the digest, if it has one.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn find(&self, reference: &Reference) -> Result<Option<Image>> {
        if let Some(digest) = reference.digest() {
            return self.get(digest);
        }
        let index = Index::load(&self.files)?;
        index
            .images
            .iter()
            .find(|r| r.references.contains(reference))
            .map(|record| self.image(record))
            .transpose()
    }

    /// Brings an image here, or what of it is not here yet, and remembers the reference.
    ///
    /// A reference with a digest that is here for this platform costs no request to the source. Dropping the future is safe
    /// at any point.
    ///
    /// # Errors
    /// Those of the source; [`ErrorKind::Corrupt`] if content differs from its digest or size, [`ErrorKind::Hostile`] or
    /// [`ErrorKind::TooLarge`] for an image that must not be here, [`ErrorKind::WrongPlatform`],
    /// [`ErrorKind::DiskFull`], [`ErrorKind::Busy`]. After an error nothing incomplete is visible.
    pub async fn pull(
        &self,
        source: &dyn Source,
        reference: &Reference,
        options: &PullOptions,
    ) -> Result<Image> {
        pull::pull(self, source, reference, options).await.map_err(|error| error.with("image", reference))
    }

    /// Forgets all images but those with one of these digests (of manifests or of indexes), and removes the layers and
    /// blobs that none of the others needs. What a pull is just using stays until the next call.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn retain(&self, keep: &[Digest]) -> Result<Reclaimed> {
        let (store, keep) = (self.clone(), keep.to_vec());
        blocking("clean the image store", move || store.retain_blocking(&keep)).await
    }

    fn retain_blocking(&self, keep: &[Digest]) -> Result<Reclaimed> {
        let mut reclaimed = Reclaimed::default();
        let index = index::change(&self.files, self.options.lock_timeout, |index| {
            let before = index.images.len();
            index.images.retain(|record| keep.iter().any(|digest| record.has(digest)));
            reclaimed.images = before - index.images.len();
            Ok(())
        })?;
        let layers: BTreeSet<Digest> =
            index.images.iter().flat_map(|r| r.layers.iter().map(|l| l.diff_id)).collect();
        let blobs: BTreeSet<Digest> = index.images.iter().flat_map(Record::blobs).collect();
        for digest in self.files.layers()?.difference(&layers) {
            reclaimed.layers += usize::from(self.reclaim(digest, |files| files.discard_layer(digest))?);
        }
        for digest in self.files.blobs()?.difference(&blobs) {
            reclaimed.blobs +=
                usize::from(self.reclaim(digest, |files| files.remove_blob(digest).map(|()| true))?);
        }
        self.sweep()?;
        Ok(reclaimed)
    }

    /// Takes something away, unless somebody uses it or an image of this very moment needs it.
    fn reclaim(&self, digest: &Digest, discard: impl FnOnce(&Files) -> Result<bool>) -> Result<bool> {
        let Some(lock) = Lock::try_exclusive(&self.files, digest)? else { return Ok(false) };
        // A pull may have ended since the index was read; it held the lock until the index named the layer.
        let needed = Index::load(&self.files)?.images.iter().any(|record| {
            record.layers.iter().any(|l| l.diff_id == *digest) || record.blobs().contains(digest)
        });
        let done = if needed { false } else { discard(&self.files)? };
        lock.remove()?;
        Ok(done)
    }

    /// Removes what lies in `tmp` and belongs to nobody.
    fn sweep(&self) -> Result<()> {
        for (path, digest) in self.files.leftovers()? {
            let Some(lock) = Lock::try_exclusive(&self.files, &digest)? else { continue };
            self.options.unpacker.remove(&path)?;
            lock.remove()?;
        }
        Ok(())
    }

    fn image(&self, record: &Record) -> Result<Image> {
        let bytes = self.files.read_blob(&record.config)?.ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read image store", format!("the blob {} is gone", record.config))
                .with("store", self.files.root().display())
                .with_remedy("pull the image again")
        })?;
        let config: Config = spec::parse("configuration", &bytes)?;
        // What a layer hides altogether is left out; overlayfs has no mark for that.
        let first = record.layers.iter().rposition(|layer| layer.opaque_root).unwrap_or(0);
        Ok(Image {
            digest: record.manifest,
            config_digest: record.config,
            references: record.references.iter().cloned().collect(),
            layers: record.layers[first..].iter().map(|layer| self.files.layer(&layer.diff_id)).collect(),
            size: record.layers.iter().map(|layer| layer.size).sum(),
            config: ImageConfig::from_spec(&config)?,
        })
    }
}

/// Runs blocking work on the threads for it.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Io, operation, "the work was broken off").with_source(error)),
    }
}

#[cfg(test)]
mod tests;
