//! Writing built images as layouts and archives.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::{BuiltImage, OPERATION};
use crate::blob::Located;
use crate::digest::Hasher;
use crate::spec::{ANNOTATION_REF_NAME, Index};
use crate::{Descriptor, Digest, Error, ErrorKind, Layout, Result, Tag};

const LAYOUT_HEADER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The manifest as the index lists it: once for each tag.
fn listed(image: &BuiltImage, tags: &[Tag]) -> Vec<Descriptor> {
    if tags.is_empty() {
        return vec![image.descriptor.clone()];
    }
    let named = tags.iter().map(|tag| {
        let mut descriptor = image.descriptor.clone();
        descriptor.annotations.insert(ANNOTATION_REF_NAME.to_owned(), tag.to_string());
        descriptor
    });
    named.collect()
}

pub(super) fn layout(directory: &Path, image: &BuiltImage, tags: &[Tag]) -> Result<()> {
    let failed = |error| Error::io(OPERATION, error);
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed)?;
    for (digest, located) in &image.blobs {
        let path = blobs.join(digest.hex());
        if path.exists() {
            continue;
        }
        let mut file = NamedTempFile::new_in(&blobs).map_err(failed)?;
        copy(located, digest, file.as_file_mut())?;
        persist(file, &path)?;
    }
    let index = if directory.join("index.json").exists() {
        let mut index = Layout::open(directory)?.index()?;
        let taken = |descriptor: &Descriptor| match descriptor.annotations.get(ANNOTATION_REF_NAME) {
            Some(name) => tags.iter().any(|tag| tag.as_str() == name),
            None => tags.is_empty() && descriptor.digest == image.descriptor.digest,
        };
        index.manifests.retain(|descriptor| !taken(descriptor));
        index.manifests.extend(listed(image, tags));
        index
    } else {
        replace(directory, "oci-layout", LAYOUT_HEADER)?;
        Index::new(listed(image, tags))
    };
    let index = serde_json::to_vec(&index).expect("an index has only strings for keys");
    replace(directory, "index.json", &index)
}

fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = NamedTempFile::new_in(directory).map_err(|error| Error::io(OPERATION, error))?;
    file.write_all(bytes).map_err(|error| Error::io(OPERATION, error))?;
    persist(file, &directory.join(name))
}

/// Gives a temporary file its name, and the rights of an ordinary file instead of those of a secret one.
fn persist(file: NamedTempFile, path: &Path) -> Result<()> {
    rustix::fs::fchmod(file.as_file(), rustix::fs::Mode::from_raw_mode(0o644))
        .map_err(|errno| Error::io(OPERATION, errno.into()))?;
    file.persist(path).map_err(|error| Error::io(OPERATION, error.error))?;
    Ok(())
}

pub(super) fn archive(path: &Path, image: &BuiltImage, tags: &[Tag]) -> Result<()> {
    let failed = |error| Error::io(OPERATION, error);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(failed)?;
    let file = NamedTempFile::new_in(directory).map_err(failed)?;
    let mut tar = tar::Builder::new(BufWriter::new(file));
    append(&mut tar, "oci-layout", LAYOUT_HEADER.len() as u64, LAYOUT_HEADER)?;
    let index =
        serde_json::to_vec(&Index::new(listed(image, tags))).expect("an index has only strings for keys");
    append(&mut tar, "index.json", index.len() as u64, index.as_slice())?;
    for (digest, located) in &image.blobs {
        let reader = Verified { reader: located.reader(), hasher: Hasher::default(), wanted: *digest };
        append(&mut tar, &format!("blobs/sha256/{}", digest.hex()), located.size(), reader)?;
    }
    let file = tar.into_inner().map_err(failed)?.into_inner().map_err(|error| failed(error.into_error()))?;
    persist(file, path)
}

fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, size: u64, content: impl Read) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    tar.append_data(&mut header, name, content).map_err(|error| Error::io(OPERATION, error))
}

fn copy(located: &Located, digest: &Digest, file: &mut File) -> Result<()> {
    let mut reader = Verified { reader: located.reader(), hasher: Hasher::default(), wanted: *digest };
    io::copy(&mut reader, file).map(drop).map_err(|error| Error::io(OPERATION, error))
}

/// Fails at the end if what was read is not what it should be: the layers of a base are copied unseen.
struct Verified<R> {
    reader: R,
    hasher: Hasher,
    wanted: Digest,
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() && self.hasher.clone().finish().0 != self.wanted {
            let error = Error::new(ErrorKind::Corrupt, OPERATION, "a layer of the base is damaged");
            return Err(error.with("layer", self.wanted).into_io());
        }
        Ok(count)
    }
}
