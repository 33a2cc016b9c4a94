//! What a layout directory and an archive have in common: an index, and blobs by digest.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::blob::Located;
use crate::source::RawManifest;
use crate::spec::{self, ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME, Index, Role};
use crate::{Descriptor, Digest, Error, ErrorKind, Limits, MediaType, NamedImage, Reference, Result, Tag};

/// Where the blobs of a set of images are.
pub(crate) trait Blobs {
    /// The blob of this digest.
    fn locate(&self, digest: &Digest) -> Result<Located>;
}

/// The name of a manifest in an index.
fn name(descriptor: &Descriptor) -> Option<&str> {
    [ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME]
        .iter()
        .find_map(|key| descriptor.annotations.get(*key))
        .map(String::as_str)
        .filter(|name| !name.is_empty())
}

/// Whether a manifest is named so: by its full name, or by its bare tag.
fn is_named(descriptor: &Descriptor, reference: &Reference) -> bool {
    [ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME]
        .iter()
        .filter_map(|key| descriptor.annotations.get(*key))
        .any(|name| {
            reference.tag().is_some_and(|tag| tag.as_str() == name)
                || name.parse::<Reference>().is_ok_and(|named| named == *reference)
        })
}

fn is_image(descriptor: &&Descriptor) -> bool {
    matches!(descriptor.media_type.role(), Some(Role::Index | Role::Manifest))
}

pub(crate) fn images(index: &Index) -> Vec<NamedImage> {
    index
        .manifests
        .iter()
        .filter(is_image)
        .map(|descriptor| NamedImage { name: name(descriptor).map(str::to_owned), digest: descriptor.digest })
        .collect()
}

pub(crate) fn tags(index: &Index, repository: &Reference) -> Vec<Tag> {
    let mut tags: Vec<Tag> = index
        .manifests
        .iter()
        .filter(is_image)
        .filter_map(|descriptor| {
            let name = name(descriptor)?;
            if let Ok(tag) = name.parse::<Tag>() {
                return Some(tag);
            }
            let reference = name.parse::<Reference>().ok()?;
            let same = reference.registry() == repository.registry()
                && reference.repository() == repository.repository();
            reference.tag().filter(|_| same).cloned()
        })
        .collect();
    tags.sort();
    tags.dedup();
    tags
}

pub(crate) fn manifest(
    index: &Index,
    blobs: &impl Blobs,
    reference: &Reference,
    limits: &Limits,
) -> Result<RawManifest> {
    if let Some(digest) = reference.digest() {
        let media_type = index.manifests.iter().find(|d| d.digest == *digest).map(|d| d.media_type.clone());
        // Below an index the type is told by the document itself.
        return read(blobs, digest, media_type.unwrap_or_else(|| MediaType::new("")), limits);
    }
    let all: Vec<&Descriptor> = index.manifests.iter().filter(is_image).collect();
    let wanted = reference.at_tag(reference.tag().cloned().unwrap_or_else(Tag::latest));
    let mut found: Vec<&Descriptor> = all.iter().copied().filter(|d| is_named(d, &wanted)).collect();
    let names: BTreeSet<Option<&str>> = all.iter().map(|descriptor| name(descriptor)).collect();
    let is_the_only_one = match reference.tag() {
        Some(_) => all.len() == 1 && names.contains(&None),
        // One image for several platforms may be listed once for each.
        None => names.len() == 1,
    };
    if found.is_empty() && is_the_only_one {
        found.clone_from(&all);
    }
    found.dedup_by_key(|descriptor| descriptor.digest);
    match found.as_slice() {
        [] => {
            let names: Vec<&str> = all.iter().filter_map(|descriptor| name(descriptor)).take(20).collect();
            let message = match (all.is_empty(), names.is_empty()) {
                (true, _) => "there are no images in it".to_owned(),
                (false, true) => format!("there are {} images without a name in it", all.len()),
                (false, false) => format!("the images in it are {}", names.join(", ").escape_debug()),
            };
            Err(Error::new(ErrorKind::NotFound, "find image", message).with_remedy("name one that is there"))
        }
        [one] => read(blobs, &one.digest, one.media_type.clone(), limits),
        several => {
            // One name for several platforms without an index of their own: they become one.
            let index = Index::new(several.iter().map(|descriptor| (*descriptor).clone()).collect());
            let bytes = serde_json::to_vec(&index).expect("an index has only strings for keys");
            Ok(RawManifest::new(MediaType::new(MediaType::OCI_INDEX), bytes))
        }
    }
}

fn read(blobs: &impl Blobs, digest: &Digest, media_type: MediaType, limits: &Limits) -> Result<RawManifest> {
    let bytes = blobs.locate(digest)?.read_all("read image", limits.manifest_bytes)?;
    Ok(RawManifest::new(media_type, bytes))
}

/// Blobs that were found or made when an archive was opened.
#[derive(Debug, Default)]
pub(crate) struct BlobMap(pub(crate) BTreeMap<Digest, Located>);

impl BlobMap {
    pub(crate) fn add(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.0.insert(Digest::of(&bytes), Located::Memory(bytes));
    }
}

impl Blobs for BlobMap {
    fn locate(&self, digest: &Digest) -> Result<Located> {
        self.0.get(digest).cloned().ok_or_else(|| missing(digest))
    }
}

pub(crate) fn missing(digest: &Digest) -> Error {
    Error::new(ErrorKind::NotFound, "read image", format!("the blob {digest} is not there"))
        .with_remedy("the layout or archive is incomplete; write it again")
}

pub(crate) fn parse_index(bytes: &[u8]) -> Result<Index> {
    let index: Index = spec::parse("index", bytes)?;
    if index.schema_version != 2 {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "read image",
            format!("its index has schema version {}, not 2", index.schema_version),
        ));
    }
    Ok(index)
}
