//! An OCI layout directory.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::documents::{self, Blobs};
use super::{RawManifest, Source};
use crate::blob::Located;
use crate::spec::{self, Index};
use crate::{BlobReader, Descriptor, Digest, Error, ErrorKind, Limits, Reference, Result, Tag};

const OPERATION: &str = "read image layout";

/// An image of a layout or an archive, and its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// The name, a tag or a full reference; images may have none.
    pub name: Option<String>,
    /// The digest of its index or manifest.
    pub digest: Digest,
}

/// A directory with images, as the OCI image specification's `image-layout.md` has it.
///
/// A reference is found if a manifest is named by it or by its bare tag; so `localhost/web:1` is what the layout calls
/// `1`. The only image of a layout needs no name. The directory is read at each call, so later changes are seen.
#[derive(Debug, Clone)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the directory is no layout.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self { directory: directory.into() };
        layout.index().map_err(|error| error.with("layout", layout.directory.display()))?;
        Ok(layout)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The images that the layout lists.
    ///
    /// # Errors
    /// If the index cannot be read any more.
    pub fn images(&self) -> Result<Vec<NamedImage>> {
        Ok(documents::images(&self.index()?))
    }

    pub(crate) fn index(&self) -> Result<Index> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Header {
            image_layout_version: String,
        }
        let header = self.locate_file("oci-layout")?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, OPERATION, "the directory has no file oci-layout")
                .with("layout", self.directory.display())
                .with_remedy("give a directory that an image tool wrote as an OCI layout")
        })?;
        let header: Header = spec::parse("layout header", &header.read_all(OPERATION, 4096)?)?;
        if !header.image_layout_version.starts_with("1.") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                OPERATION,
                format!("layout version {} is not 1", header.image_layout_version.escape_debug()),
            ));
        }
        let index = self.locate_file("index.json")?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, OPERATION, "the directory has no index.json")
                .with("layout", self.directory.display())
        })?;
        documents::parse_index(&index.read_all(OPERATION, Limits::default().manifest_bytes)?)
    }

    fn locate_file(&self, name: &str) -> Result<Option<Located>> {
        let path = self.directory.join(name);
        // Without O_NONBLOCK a FIFO of that name would keep us waiting for ever.
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        let file: File = match OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(OPERATION, error).with("file", path.display())),
        };
        let metadata =
            file.metadata().map_err(|error| Error::io(OPERATION, error).with("file", path.display()))?;
        if !metadata.is_file() {
            return Err(
                Error::new(ErrorKind::Invalid, OPERATION, "it is no plain file").with("file", path.display())
            );
        }
        Ok(Some(Located::File { file: Arc::new(file), offset: 0, size: metadata.len() }))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let layout = self.clone();
        let directory = self.directory.display().to_string();
        super::super::store::blocking(OPERATION, move || work(&layout))
            .await
            .map_err(|error| error.with("layout", directory))
    }
}

impl Blobs for Layout {
    fn locate(&self, digest: &Digest) -> Result<Located> {
        self.locate_file(&format!("blobs/sha256/{}", digest.hex()))?.ok_or_else(|| documents::missing(digest))
    }
}

#[async_trait]
impl Source for Layout {
    async fn manifest(&self, reference: &Reference, limits: &Limits) -> Result<RawManifest> {
        let (reference, limits) = (reference.clone(), limits.clone());
        self.blocking(move |layout| documents::manifest(&layout.index()?, layout, &reference, &limits)).await
    }

    async fn blob(&self, _reference: &Reference, descriptor: &Descriptor) -> Result<BlobReader> {
        let digest = descriptor.digest;
        Ok(self.blocking(move |layout| layout.locate(&digest)).await?.into_async())
    }

    async fn tags(&self, repository: &Reference) -> Result<Vec<Tag>> {
        let repository = repository.clone();
        self.blocking(move |layout| Ok(documents::tags(&layout.index()?, &repository))).await
    }
}
