//! Bringing an image into a store.

use std::collections::BTreeSet;
use std::io::Write;

use futures::stream::{FuturesOrdered, TryStreamExt};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::files::LayerInfo;
use super::index::{self, Record, RecordLayer};
use super::lock::{Lock, Wait};
use super::{ImageStore, PullOptions, blocking};
use crate::digest::Hasher;
use crate::progress::{LayerProgress, LayerState, PullProgress, Reporter};
use crate::source::{self, Selected};
use crate::spec::{self, Config};
use crate::{Descriptor, Digest, Error, ErrorKind, Image, ImageConfig, Limits, Reference, Result, Source};

const OPERATION: &str = "pull image";
/// How often a transfer is begun again that broke off or came out wrong.
const TRANSFER_ATTEMPTS: u32 = 3;
const CHUNK: usize = 128 * 1024;

pub(super) async fn pull(
    store: &ImageStore,
    source: &dyn Source,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Image> {
    if let Some(image) = already_here(store, reference, options).await? {
        return Ok(image);
    }
    let selected = source::select(source, reference, &options.platform, &options.limits).await?;
    let manifest = &selected.manifest;
    let config_bytes = fetch_document(source, reference, &manifest.config).await?;
    let config: Config = spec::parse("configuration", &config_bytes)?;
    source::check_config(&config, manifest, &options.platform)?;
    // What cannot run is refused before anything large is transferred.
    ImageConfig::from_spec(&config)?;

    if let Some(progress) = &options.progress {
        let layers = manifest.layers.iter().map(|layer| LayerProgress {
            digest: layer.digest,
            total_bytes: layer.size,
            done_bytes: 0,
            state: LayerState::Waiting,
        });
        progress.send_replace(PullProgress { layers: layers.collect() });
    }
    let work = manifest.layers.iter().zip(&config.rootfs.diff_ids).enumerate().map(
        |(position, (layer, diff_id))| {
            let reporter = Reporter::new(options.progress.clone(), position);
            async move {
                let task = LayerTask {
                    store,
                    source,
                    reference,
                    layer,
                    diff_id: *diff_id,
                    reporter,
                    limits: &options.limits,
                };
                task.ensure().await.map_err(|error| error.with("layer", layer.digest))
            }
        },
    );
    let layers: Vec<(Lock, LayerInfo)> = work.collect::<FuturesOrdered<_>>().try_collect().await?;

    let record = record(reference, &selected, &config, &layers);
    let documents: Vec<(Digest, bytes::Bytes)> = selected
        .documents
        .iter()
        .map(|document| (document.digest(), document.bytes().clone()))
        .chain([(manifest.config.digest, config_bytes)])
        .collect();
    let (worker, timeout) = (store.clone(), store.options.lock_timeout);
    blocking(OPERATION, move || {
        // The locks on the layers are held until the index names them.
        let _layers = layers;
        let _documents = documents
            .iter()
            .map(|(digest, bytes)| put_document(&worker, digest, bytes))
            .collect::<Result<Vec<Lock>>>()?;
        index::change(&worker.files, timeout, |index| {
            index.add(record.clone());
            Ok(())
        })?;
        let known = index::Index::load(&worker.files)?;
        worker.image(known.images.iter().find(|known| known.manifest == record.manifest).unwrap_or(&record))
    })
    .await
}

/// The image, if it is here by its digest and the layers too.
async fn already_here(
    store: &ImageStore,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Option<Image>> {
    let Some(digest) = reference.digest().copied() else { return Ok(None) };
    let (store, reference, platform) = (store.clone(), reference.clone(), options.platform.clone());
    blocking(OPERATION, move || {
        let mut found = None;
        let index = index::Index::load(&store.files)?;
        for record in index.images.iter().filter(|record| record.has(&digest)) {
            let Some(bytes) = store.files.read_blob(&record.config)? else { continue };
            let offered = spec::parse::<Config>("configuration", &bytes)?.platform;
            let fits = offered.os.is_empty() || platform.rank(&offered).is_some();
            let complete = record.layers.iter().all(|layer| store.files.layer(&layer.diff_id).is_dir());
            if fits && complete {
                found = Some(record.clone());
            }
        }
        let Some(mut record) = found else { return Ok(None) };
        if !record.references.contains(&reference) {
            record.references = BTreeSet::from([reference]);
            let manifest = record.manifest;
            let index = index::change(&store.files, store.options.lock_timeout, |index| {
                // It may have been forgotten meanwhile; then it is pulled like any other.
                if index.images.iter().any(|known| known.manifest == manifest) {
                    index.add(record);
                }
                Ok(())
            })?;
            let Some(known) = index.images.iter().find(|known| known.manifest == manifest) else {
                return Ok(None);
            };
            return store.image(known).map(Some);
        }
        store.image(&record).map(Some)
    })
    .await
}

fn record(
    reference: &Reference,
    selected: &Selected,
    config: &Config,
    layers: &[(Lock, LayerInfo)],
) -> Record {
    let manifest = selected.digest();
    let parts = selected.manifest.layers.iter().zip(&config.rootfs.diff_ids).zip(layers);
    debug_assert!(selected.documents.first().is_some_and(|document| document.digest() == selected.root()));
    Record {
        manifest,
        config: selected.manifest.config.digest,
        indexes: selected
            .documents
            .iter()
            .map(source::RawManifest::digest)
            .filter(|d| *d != manifest)
            .collect(),
        references: BTreeSet::from([reference.clone()]),
        layers: parts
            .map(|((layer, diff_id), (_, info))| RecordLayer {
                digest: layer.digest,
                diff_id: *diff_id,
                size: layer.size,
                opaque_root: info.unpacked.opaque_root,
            })
            .collect(),
    }
}

/// Writes a manifest or configuration, which is in memory and verified. The lock keeps it from being cleaned up.
fn put_document(store: &ImageStore, digest: &Digest, bytes: &[u8]) -> Result<Lock> {
    let mut wait = Wait::new(store.options.lock_timeout);
    let files = &store.files;
    loop {
        if let Some(lock) = Lock::try_shared(files, digest)?
            && files.has_blob(digest)
        {
            return Ok(lock);
        }
        if let Some(lock) = Lock::try_exclusive(files, digest)? {
            if !files.has_blob(digest) {
                let mut file = files.create_temporary_blob(digest)?;
                file.write_all(bytes).map_err(|error| Error::io(OPERATION, error))?;
                files.publish_blob(digest, file)?;
            }
            if let Some(lock) = lock.share()?
                && files.has_blob(digest)
            {
                return Ok(lock);
            }
        }
        std::thread::sleep(wait.next(&files.lock(&digest.hex()))?);
    }
}

/// Reads a small blob into memory and verifies it.
/// A document's bytes, verified.
pub(crate) async fn fetch_document(
    source: &dyn Source,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<bytes::Bytes> {
    let mut attempt = 1;
    loop {
        let mut bytes = Vec::new();
        let fetched = async {
            let mut reader = source.blob(reference, descriptor).await?;
            copy_verified(&mut reader, descriptor, |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })
            .await
        };
        match fetched.await {
            Ok(()) => return Ok(bytes.into()),
            Err(error) if attempt < TRANSFER_ATTEMPTS && worth_another_try(&error) => attempt += 1,
            Err(error) => return Err(error.with("blob", descriptor.digest)),
        }
    }
}

/// Whether a transfer that failed so may end well if it is begun again: it broke off, or came out wrong.
fn worth_another_try(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Io)
}

/// Hands on what the reader gives, not more than the descriptor says, and checks size and digest at the end.
async fn copy_verified<R: AsyncRead + Unpin>(
    reader: &mut R,
    descriptor: &Descriptor,
    mut write: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let corrupt = |message: String| Error::new(ErrorKind::Corrupt, OPERATION, message);
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = reader.read(&mut buffer).await.map_err(|error| Error::io(OPERATION, error))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        if hasher.bytes() > descriptor.size {
            return Err(corrupt(format!(
                "there is more of it than the {} bytes that it should have",
                descriptor.size
            )));
        }
        write(&buffer[..count])?;
    }
    let (digest, size) = hasher.finish();
    if size != descriptor.size {
        return Err(corrupt(format!("it ended after {size} of {} bytes", descriptor.size)));
    }
    if digest != descriptor.digest {
        return Err(corrupt(format!("its digest should be {} and is {digest}", descriptor.digest)));
    }
    Ok(())
}

/// One layer on its way.
struct LayerTask<'a> {
    store: &'a ImageStore,
    source: &'a dyn Source,
    reference: &'a Reference,
    layer: &'a Descriptor,
    diff_id: Digest,
    reporter: Reporter,
    limits: &'a Limits,
}

impl LayerTask<'_> {
    /// Sees to it that the layer is unpacked; the lock keeps it so.
    async fn ensure(self) -> Result<(Lock, LayerInfo)> {
        let files = &self.store.files;
        let mut wait = Wait::new(self.store.options.lock_timeout);
        loop {
            if let Some(lock) = Lock::try_shared(files, &self.diff_id)?
                && let Some(info) = files.layer_info(&self.diff_id)?
            {
                if self.store.options.keep_packed_layers {
                    self.transfer().await?;
                }
                self.reporter.state(LayerState::Done);
                return Ok((lock, info));
            }
            if let Some(lock) = Lock::try_exclusive(files, &self.diff_id)? {
                let lock = self.make(lock).await?;
                if let Some(lock) = lock.share()?
                    && let Some(info) = files.layer_info(&self.diff_id)?
                {
                    self.reporter.state(LayerState::Done);
                    return Ok((lock, info));
                }
            }
            tokio::time::sleep(wait.next(&files.lock(&self.diff_id.hex()))?).await;
        }
    }

    /// Transfers and unpacks, under the exclusive lock.
    async fn make(&self, lock: Lock) -> Result<Lock> {
        let _turn = self.store.transfers.acquire().await.expect("the semaphore is never closed");
        let blob_lock = self.transfer().await?;
        if self.store.files.layer_info(&self.diff_id)?.is_some() {
            return Ok(lock);
        }
        self.reporter.state(LayerState::Unpacking);
        let (store, limits) = (self.store.clone(), self.limits.clone());
        let (digest, diff_id) = (self.layer.digest, self.diff_id);
        blocking(OPERATION, move || {
            // The locks go with the work: it is not broken off when the pull is.
            let unpacked = unpack(&store, &digest, &diff_id, &limits);
            // A layer that does not unpack is no use either.
            if !store.options.keep_packed_layers || unpacked.is_err() {
                store.files.remove_blob(&digest)?;
                if let Some(blob_lock) = blob_lock {
                    blob_lock.remove()?;
                }
            }
            unpacked.map(|()| lock)
        })
        .await
    }

    /// Brings the packed layer here. Gives its lock, or nothing if blob and layer have the same digest, and lock.
    async fn transfer(&self) -> Result<Option<Lock>> {
        let files = &self.store.files;
        let blob_lock = if self.layer.digest == self.diff_id {
            None
        } else {
            let mut wait = Wait::new(self.store.options.lock_timeout);
            loop {
                if let Some(lock) = Lock::try_exclusive(files, &self.layer.digest)? {
                    break Some(lock);
                }
                tokio::time::sleep(wait.next(&files.lock(&self.layer.digest.hex()))?).await;
            }
        };
        if files.has_blob(&self.layer.digest) {
            return Ok(blob_lock);
        }
        let mut attempt = 1;
        loop {
            self.reporter.state(LayerState::Transferring);
            match self.transfer_once().await {
                Ok(()) => return Ok(blob_lock),
                Err(error) if attempt < TRANSFER_ATTEMPTS && worth_another_try(&error) => {
                    tracing::debug!(layer = %self.layer.digest, attempt, %error, "transfer broke off, begun again");
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn transfer_once(&self) -> Result<()> {
        let files = &self.store.files;
        let mut reader = self.source.blob(self.reference, self.layer).await?;
        let mut file = files.create_temporary_blob(&self.layer.digest)?;
        let mut done = 0;
        // Written at once, without the detour over another thread: it goes into the page cache.
        copy_verified(&mut reader, self.layer, |chunk| {
            file.write_all(chunk).map_err(|error| Error::io(OPERATION, error))?;
            done += chunk.len() as u64;
            self.reporter.transferred(done);
            Ok(())
        })
        .await?;
        let (store, digest) = (self.store.clone(), self.layer.digest);
        blocking(OPERATION, move || store.files.publish_blob(&digest, file)).await
    }
}

fn unpack(store: &ImageStore, digest: &Digest, diff_id: &Digest, limits: &Limits) -> Result<()> {
    let (files, unpacker) = (&store.files, &store.options.unpacker);
    let holder = files.temporary_layer_holder(diff_id);
    unpacker.remove(&holder)?;
    let attempt = || {
        let root = files.create_temporary_layer(diff_id)?;
        let path = files.blob(digest);
        let layer = std::fs::File::open(&path).map_err(|error| super::files::failed(error, &path))?;
        let unpacked = unpacker.unpack(layer, &root, limits)?;
        if unpacked.diff_id != *diff_id {
            return Err(Error::new(
                ErrorKind::Corrupt,
                OPERATION,
                format!("the layer unpacked should have the digest {diff_id} and has {}", unpacked.diff_id),
            ));
        }
        files.publish_layer(diff_id, &LayerInfo { unpacked })
    };
    attempt().inspect_err(|_| {
        if let Err(error) = unpacker.remove(&holder) {
            tracing::warn!(path = %holder.display(), %error, "a layer that failed to unpack stays until the next sweep");
        }
    })
}
