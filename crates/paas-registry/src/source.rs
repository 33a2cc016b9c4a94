//! Places where images are.

pub(crate) mod archive;
pub(crate) mod documents;
pub(crate) mod layout;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::spec::{self, Config, Index, Manifest, Role};
use crate::{
    BlobReader, Descriptor, Digest, Error, ErrorKind, Limits, MediaType, Platform, Reference, Result, Tag,
};

/// How deep indexes may be nested.
const NESTING_MAX: usize = 4;

/// A manifest or index, byte for byte.
#[derive(Debug, Clone)]
pub struct RawManifest {
    media_type: MediaType,
    digest: Digest,
    bytes: Bytes,
}

impl RawManifest {
    /// Computes the digest of the bytes.
    pub fn new(media_type: MediaType, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type, digest: Digest::of(&bytes), bytes }
    }

    /// What the source says that it is.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// A place where images are: a layout, an archive, a registry.
///
/// Nothing that a source gives is trusted: callers check sizes and digests. A dropped future leaves nothing behind.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync {
    /// The manifest or index under the reference's digest or, without one, its tag.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none, [`ErrorKind::TooLarge`] if it exceeds [`Limits::manifest_bytes`].
    async fn manifest(&self, reference: &Reference, limits: &Limits) -> Result<RawManifest>;

    /// The content of a blob of the reference's repository.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none.
    async fn blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<BlobReader>;

    /// The tags of the reference's repository, sorted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such repository.
    async fn tags(&self, repository: &Reference) -> Result<Vec<Tag>>;
}

/// An image of a source, for one platform.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The documents that led to the image, the root first and the image's manifest last.
    pub(crate) documents: Vec<RawManifest>,
    pub(crate) manifest: Manifest,
}

impl Selected {
    /// The digest of what the reference names: an index or the manifest.
    pub(crate) fn root(&self) -> Digest {
        self.documents.first().expect("there is at least the manifest").digest
    }

    /// The digest of the image's manifest.
    pub(crate) fn digest(&self) -> Digest {
        self.documents.last().expect("there is at least the manifest").digest
    }
}

/// Finds the manifest for a platform, through indexes, and checks it.
pub(crate) async fn select(
    source: &dyn Source,
    reference: &Reference,
    platform: &Platform,
    limits: &Limits,
) -> Result<Selected> {
    let mut documents: Vec<RawManifest> = Vec::new();
    let mut next = reference.clone();
    let mut size = None;
    loop {
        let document = source.manifest(&next, limits).await?;
        verify(&document, next.digest(), size, limits)?;
        let role = spec::manifest_role(&document.media_type, &document.bytes)?;
        documents.push(document);
        let document = documents.last().expect("just pushed");
        if role == Role::Manifest {
            let manifest: Manifest = spec::parse("manifest", &document.bytes)?;
            manifest.check(limits)?;
            return Ok(Selected { documents, manifest });
        }
        if documents.len() > NESTING_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "read image", "its indexes are nested too deeply"));
        }
        let index: Index = spec::parse("index", &document.bytes)?;
        let chosen = choose(&index, platform)?;
        size = Some(chosen.size);
        next = reference.at_digest(chosen.digest);
    }
}

/// Checks that an image of the manifest is for the platform and that its layers are as many as its configuration has.
pub(crate) fn check_config(config: &Config, manifest: &Manifest, platform: &Platform) -> Result<()> {
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Error::new(
            ErrorKind::Invalid,
            "read image",
            format!(
                "its manifest has {} layers and its configuration {}",
                manifest.layers.len(),
                config.rootfs.diff_ids.len()
            ),
        ));
    }
    // Images without a platform exist; they are for whoever takes them.
    let stated = &config.platform;
    if !stated.os.is_empty() && !stated.architecture.is_empty() && platform.rank(stated).is_none() {
        return Err(wrong_platform(platform, [stated.to_string()]));
    }
    Ok(())
}

fn verify(document: &RawManifest, digest: Option<&Digest>, size: Option<u64>, limits: &Limits) -> Result<()> {
    let bytes = document.bytes.len() as u64;
    if bytes > limits.manifest_bytes {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "read image",
            format!("its manifest has {bytes} bytes, {} are accepted", limits.manifest_bytes),
        ));
    }
    if let Some(digest) = digest
        && *digest != document.digest
    {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "read image",
            format!("its manifest should be {digest} and is {}", document.digest),
        ));
    }
    if let Some(size) = size
        && size != bytes
    {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "read image",
            format!("its manifest should have {size} bytes and has {bytes}"),
        ));
    }
    Ok(())
}

fn choose<'a>(index: &'a Index, platform: &Platform) -> Result<&'a Descriptor> {
    let usable =
        |descriptor: &&Descriptor| matches!(descriptor.media_type.role(), Some(Role::Index | Role::Manifest));
    let candidates: Vec<&Descriptor> = index.manifests.iter().filter(usable).collect();
    let mut best: Option<(u8, &Descriptor)> = None;
    for candidate in &candidates {
        let rank = match &candidate.platform {
            Some(offered) => platform.rank(offered),
            // An index within an index rarely states a platform: it is looked into if nothing else fits.
            None => Some(0),
        };
        if let Some(rank) = rank
            && best.is_none_or(|(highest, _)| rank > highest)
        {
            best = Some((rank, candidate));
        }
    }
    best.map(|(_, descriptor)| descriptor).ok_or_else(|| {
        wrong_platform(platform, candidates.iter().filter_map(|c| Some(c.platform.as_ref()?.to_string())))
    })
}

fn wrong_platform(wanted: &Platform, offered: impl IntoIterator<Item = String>) -> Error {
    let mut offered: Vec<String> = offered
        .into_iter()
        .map(|text| text.chars().take(60).collect())
        .filter(|text| text != "unknown/unknown")
        .collect();
    offered.sort();
    offered.dedup();
    offered.truncate(20);
    let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
    Error::new(ErrorKind::WrongPlatform, "read image", format!("wanted is {wanted}, there is {offered}"))
        .with_remedy("build the image for this platform, or run it on another machine")
}
