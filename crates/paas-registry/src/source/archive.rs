//! Archives: a layout in a tar, or what `docker save` writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::documents::{self, BlobMap, Blobs};
use super::layout::NamedImage;
use super::{RawManifest, Source};
use crate::blob::Located;
use crate::digest::Hasher;
use crate::spec::{self, ANNOTATION_CONTAINERD_NAME, Index, Manifest};
use crate::tarball::{EntryKind, TarReader};
use crate::{BlobReader, Descriptor, Digest, Error, ErrorKind, Limits, MediaType, Reference, Result, Tag};

const OPERATION: &str = "read image archive";
/// Entries of an archive: a few for each layer.
const ENTRIES_MAX: usize = 10_000;

/// A file with images: a tar of an OCI layout, or what `docker save` (of any version) or `podman save` writes; plain or
/// compressed by gzip or zstd.
///
/// The file is read through once when it is opened; a compressed one is unpacked into an unnamed temporary file then.
/// References are found as in a [`Layout`](crate::Layout).
#[derive(Debug, Clone)]
pub struct Archive {
    path: PathBuf,
    contents: Arc<Contents>,
}

#[derive(Debug)]
struct Contents {
    index: Index,
    blobs: BlobMap,
}

impl Archive {
    /// Opens an archive with the default [`Limits`].
    ///
    /// This reads a file of any size: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such file or no image in it, [`ErrorKind::Corrupt`] if it is no archive.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path, &Limits::default())
    }

    /// Opens an archive with other limits.
    ///
    /// # Errors
    /// As [`Archive::open`].
    pub fn open_with(path: impl Into<PathBuf>, limits: &Limits) -> Result<Self> {
        let path = path.into();
        let contents = open(&path, limits).map_err(|error| error.with("archive", path.display()))?;
        Ok(Self { path, contents: Arc::new(contents) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The images in it.
    pub fn images(&self) -> Vec<NamedImage> {
        documents::images(&self.contents.index)
    }
}

#[async_trait]
impl Source for Archive {
    async fn manifest(&self, reference: &Reference, limits: &Limits) -> Result<RawManifest> {
        let (contents, reference, limits) = (Arc::clone(&self.contents), reference.clone(), limits.clone());
        crate::store::blocking(OPERATION, move || {
            documents::manifest(&contents.index, &contents.blobs, &reference, &limits)
        })
        .await
        .map_err(|error| error.with("archive", self.path.display()))
    }

    async fn blob(&self, _reference: &Reference, descriptor: &Descriptor) -> Result<BlobReader> {
        let located = self.contents.blobs.locate(&descriptor.digest);
        Ok(located.map_err(|error| error.with("archive", self.path.display()))?.into_async())
    }

    async fn tags(&self, repository: &Reference) -> Result<Vec<Tag>> {
        Ok(documents::tags(&self.contents.index, repository))
    }
}

fn open(path: &Path, limits: &Limits) -> Result<Contents> {
    let file = File::open(path).map_err(|error| Error::io(OPERATION, error))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(Error::new(ErrorKind::Invalid, OPERATION, "it is no plain file"));
    }
    let file = Arc::new(decompressed(file, limits)?);
    let members = Members::read(&file)?;
    if let Some(index) = members.get("index.json") {
        let index = documents::parse_index(&index.read_all(OPERATION, limits.manifest_bytes)?)?;
        return Ok(Contents { index, blobs: members.layout_blobs() });
    }
    if let Some(list) = members.get("manifest.json") {
        return docker_save(&members, &list.read_all(OPERATION, limits.manifest_bytes)?, limits);
    }
    Err(Error::new(ErrorKind::NotFound, OPERATION, "it has neither index.json nor manifest.json")
        .with_remedy("give an archive that was written by `docker save`, `podman save` or as an OCI archive"))
}

/// The file itself, or its content in a temporary file if it is compressed.
fn decompressed(mut file: File, limits: &Limits) -> Result<File> {
    let failed = |error| Error::io(OPERATION, error);
    let mut magic = [0; 4];
    let mut filled = 0;
    while filled < magic.len() {
        match file.read(&mut magic[filled..]).map_err(failed)? {
            0 => break,
            count => filled += count,
        }
    }
    file.rewind().map_err(failed)?;
    let mut reader: Box<dyn Read> = match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::new(file).map_err(failed)?),
        _ => return Ok(file),
    };
    let mut plain = tempfile::tempfile().map_err(failed)?;
    let limit = limits.image_bytes.saturating_add(limits.manifest_bytes);
    let copied =
        io::copy(&mut reader.by_ref().take(limit + 1), &mut plain).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
                Error::new(ErrorKind::Corrupt, OPERATION, format!("its compressed data is damaged: {error}"))
            }
            _ => failed(error),
        })?;
    if copied > limit {
        return Err(Error::new(ErrorKind::TooLarge, OPERATION, format!("more than {limit} bytes unpacked")));
    }
    Ok(plain)
}

/// The files of an archive by name.
struct Members {
    files: BTreeMap<String, Located>,
    links: BTreeMap<String, String>,
}

impl Members {
    fn read(file: &Arc<File>) -> Result<Self> {
        let reader =
            io::BufReader::with_capacity(64 * 1024, PositionedReader { file: Arc::clone(file), position: 0 });
        let length = file.metadata().map_err(|error| Error::io(OPERATION, error))?.len();
        let mut tar = TarReader::new(reader, OPERATION);
        let mut members = Self { files: BTreeMap::new(), links: BTreeMap::new() };
        while let Some(entry) = tar.next_entry()? {
            let Some(name) = normalise(&entry.path) else { continue };
            match entry.kind {
                EntryKind::File => {
                    if entry.offset.checked_add(entry.size).is_none_or(|end| end > length) {
                        return Err(Error::new(ErrorKind::Corrupt, OPERATION, "the archive is cut off"));
                    }
                    let located =
                        Located::File { file: Arc::clone(file), offset: entry.offset, size: entry.size };
                    members.files.insert(name, located);
                }
                // Old versions of Docker write a repeated layer as a link to the first one.
                EntryKind::Symlink | EntryKind::HardLink => {
                    let base = match (entry.kind, name.rsplit_once('/')) {
                        (EntryKind::Symlink, Some((directory, _))) => format!("{directory}/"),
                        _ => String::new(),
                    };
                    let target = [base.as_bytes(), entry.link.as_slice()].concat();
                    if let Some(target) = normalise(&target) {
                        members.links.insert(name, target);
                    }
                }
                _ => {}
            }
            if members.files.len() + members.links.len() > ENTRIES_MAX {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    OPERATION,
                    format!("more than {ENTRIES_MAX} entries"),
                ));
            }
        }
        Ok(members)
    }

    fn get(&self, name: &str) -> Option<&Located> {
        self.files.get(name).or_else(|| self.files.get(self.links.get(name)?))
    }

    fn layout_blobs(&self) -> BlobMap {
        let digest = |name: &str| format!("sha256:{}", name.strip_prefix("blobs/sha256/")?).parse().ok();
        let blobs = self.files.keys().chain(self.links.keys());
        BlobMap(blobs.filter_map(|name| Some((digest(name)?, self.get(name)?.clone()))).collect())
    }
}

/// A name without `.` and empty parts, `..` resolved; `None` if it leads out or is not UTF-8, which no member that is
/// looked for is.
fn normalise(path: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    for part in std::str::from_utf8(path).ok()?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Makes manifests for what `docker save` wrote without an index.
fn docker_save(members: &Members, list: &[u8], limits: &Limits) -> Result<Contents> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Saved {
        config: String,
        #[serde(default)]
        repo_tags: Option<Vec<String>>,
        #[serde(default)]
        layers: Option<Vec<String>>,
    }
    let saved: Vec<Saved> = spec::parse("manifest list", list)?;
    let mut blobs = BlobMap::default();
    let mut hashed: BTreeMap<String, Descriptor> = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in saved {
        let find = |name: &str| {
            let located = normalise(name.as_bytes()).and_then(|name| members.get(&name)).cloned();
            located.ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, OPERATION, "a file that its manifest.json names is not in it")
                    .with("file", name.chars().take(200).collect::<String>().escape_debug())
            })
        };
        let config = find(&image.config)?.read_all(OPERATION, limits.config_bytes)?;
        let names = image.layers.unwrap_or_default();
        if names.len() > limits.layers {
            return Err(Error::new(ErrorKind::TooLarge, OPERATION, format!("{} layers", names.len())));
        }
        let mut layers = Vec::with_capacity(names.len());
        for name in names {
            let descriptor = if let Some(known) = hashed.get(&name) {
                known.clone()
            } else {
                let located = find(&name)?;
                let descriptor = describe_layer(&located, limits)?;
                blobs.0.insert(descriptor.digest, located);
                hashed.insert(name, descriptor.clone());
                descriptor
            };
            layers.push(descriptor);
        }
        let manifest = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, &config), layers);
        blobs.add(config);
        let manifest = serde_json::to_vec(&manifest).expect("a manifest has only strings for keys");
        let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &manifest);
        blobs.add(manifest);
        let tags = image.repo_tags.unwrap_or_default();
        if tags.is_empty() {
            manifests.push(descriptor.clone());
        }
        for tag in tags {
            let mut named = descriptor.clone();
            named.annotations.insert(ANNOTATION_CONTAINERD_NAME.to_owned(), tag);
            manifests.push(named);
        }
    }
    Ok(Contents { index: Index::new(manifests), blobs })
}

fn describe_layer(located: &Located, limits: &Limits) -> Result<Descriptor> {
    if located.size() > limits.layer_bytes {
        return Err(Error::new(
            ErrorKind::TooLarge,
            OPERATION,
            format!("a layer has {} bytes", located.size()),
        ));
    }
    let mut hasher = Hasher::default();
    let mut reader = located.reader();
    let mut buffer = vec![0; 256 * 1024];
    let mut magic = Vec::new();
    loop {
        let count = reader.read(&mut buffer).map_err(|error| Error::io(OPERATION, error))?;
        if count == 0 {
            break;
        }
        if magic.is_empty() {
            magic = buffer[..count.min(4)].to_vec();
        }
        hasher.update(&buffer[..count]);
    }
    let media_type = match magic.as_slice() {
        [0x1f, 0x8b, ..] => MediaType::OCI_LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => MediaType::OCI_LAYER_ZSTD,
        _ => MediaType::OCI_LAYER,
    };
    let (digest, size): (Digest, u64) = hasher.finish();
    Ok(Descriptor::new(media_type, digest, size))
}

/// Reads a shared file from a position of its own.
struct PositionedReader {
    file: Arc<File>,
    position: u64,
}

impl Read for PositionedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
