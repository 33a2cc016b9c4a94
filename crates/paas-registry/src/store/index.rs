//! Which images are in a store.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{Files, OPERATION};
use super::lock::Lock;
use crate::{Digest, Error, ErrorKind, Reference, Result};

const VERSION: u32 = 1;

/// `index.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    pub(super) images: Vec<Record>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) manifest: Digest,
    pub(super) config: Digest,
    /// Indexes through which it was found, outermost first of each way.
    pub(super) indexes: BTreeSet<Digest>,
    pub(super) references: BTreeSet<Reference>,
    /// Lowest first.
    pub(super) layers: Vec<RecordLayer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordLayer {
    pub(super) digest: Digest,
    pub(super) diff_id: Digest,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) opaque_root: bool,
}

impl Record {
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.manifest == *digest || self.indexes.contains(digest)
    }

    /// The blobs that the image needs, or may need if layers are kept packed.
    pub(super) fn blobs(&self) -> BTreeSet<Digest> {
        let documents = [self.manifest, self.config].into_iter().chain(self.indexes.iter().copied());
        documents.chain(self.layers.iter().map(|layer| layer.digest)).collect()
    }
}

impl Index {
    pub(super) fn load(files: &Files) -> Result<Self> {
        let path = files.index();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, images: Vec::new() });
            }
            Err(error) => return Err(super::files::failed(error, &path)),
        };
        let index: Self = serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::Corrupt, OPERATION, error.to_string())
                .with("path", path.display())
                .with_remedy("move the file away and pull the images again; their layers are still here")
        })?;
        if index.version != VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                OPERATION,
                format!("the store has version {}, this program knows {VERSION}", index.version),
            )
            .with("path", path.display()));
        }
        Ok(index)
    }

    /// Adds an image or what is new about it; its references name no other image any more.
    pub(super) fn add(&mut self, record: Record) {
        for other in &mut self.images {
            other.references.retain(|reference| !record.references.contains(reference));
        }
        match self.images.iter_mut().find(|known| known.manifest == record.manifest) {
            Some(known) => {
                known.indexes.extend(record.indexes);
                known.references.extend(record.references);
                known.layers = record.layers;
            }
            None => self.images.push(record),
        }
    }
}

/// Changes the index under its lock and gives the new one.
pub(super) fn change(
    files: &Files,
    timeout: Duration,
    change: impl FnOnce(&mut Index) -> Result<()>,
) -> Result<Index> {
    let _lock = Lock::index(files, timeout)?;
    let mut index = Index::load(files)?;
    let before = index.images.clone();
    change(&mut index)?;
    if index.images != before {
        let bytes = serde_json::to_vec_pretty(&index).expect("an index has only strings for keys");
        files.replace(&files.index(), &bytes)?;
    }
    Ok(index)
}
