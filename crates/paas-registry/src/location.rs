//! Where an image is, as people write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Archive, Digest, Error, ErrorKind, Layout, Reference, Registries, Result, Source, Tag};

/// Where an image is: `name[:tag][@digest]` in a registry, `oci:DIRECTORY[:TAG][@DIGEST]` in a layout,
/// `oci-archive:FILE[:TAG][@DIGEST]` in an archive. Without a tag it is the only image of a layout or archive, or the one that
/// is called `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// In an OCI layout directory.
    Layout {
        /// The directory.
        directory: PathBuf,
        /// The image in it: `localhost/image:TAG`.
        reference: Reference,
    },
    /// In an OCI or Docker archive.
    Archive {
        /// The file.
        file: PathBuf,
        /// The image in it: `localhost/image:TAG`.
        reference: Reference,
    },
    /// In a registry.
    Registry(Reference),
}

impl Location {
    /// The image, by the name that it has where it is.
    pub fn reference(&self) -> &Reference {
        match self {
            Self::Layout { reference, .. } | Self::Archive { reference, .. } | Self::Registry(reference) => {
                reference
            }
        }
    }

    /// Refuses a path that means another place from another folder.
    #[cfg(feature = "core")]
    pub(crate) fn check_absolute(&self) -> Result<()> {
        let path = match self {
            Self::Layout { directory, .. } => directory,
            Self::Archive { file, .. } => file,
            Self::Registry(_) => return Ok(()),
        };
        if path.is_absolute() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Invalid,
            "find the image",
            format!("the path {} is relative", path.display()),
        )
        .with_remedy("write the path from the root on: it is read by another process, maybe later"))
    }

    /// The place, opened.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such directory or file; [`ErrorKind::Invalid`] if it holds no images.
    pub fn source(&self, registries: &Registries) -> Result<Arc<dyn Source>> {
        Ok(match self {
            Self::Layout { directory, .. } => Arc::new(Layout::open(directory)?),
            Self::Archive { file, .. } => Arc::new(Archive::open(file)?),
            Self::Registry(reference) => registries.source(reference)?,
        })
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (path, reference) = path_and_reference(text, rest)?;
            return Ok(Self::Archive { file: path, reference });
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, reference) = path_and_reference(text, rest)?;
            return Ok(Self::Layout { directory: path, reference });
        }
        text.parse().map(Self::Registry)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = self.reference().tag().map_or_else(String::new, |tag| format!(":{tag}"));
        let digest = self.reference().digest().map_or_else(String::new, |digest| format!("@{digest}"));
        match self {
            Self::Layout { directory, .. } => write!(f, "oci:{}{tag}{digest}", directory.display()),
            Self::Archive { file, .. } => write!(f, "oci-archive:{}{tag}{digest}", file.display()),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

/// `PATH[:TAG][@DIGEST]`, of which the digest decides. A colon that is followed by a slash belongs to the path.
fn path_and_reference(text: &str, rest: &str) -> Result<(PathBuf, Reference)> {
    let (rest, digest) = match rest.rsplit_once('@') {
        Some((rest, digest)) if digest.starts_with("sha256:") => (rest, Some(digest.parse::<Digest>()?)),
        _ => (rest, None),
    };
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    if path.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "read image location", format!("{text:?} names no path"))
            .with_remedy("write oci:DIRECTORY or oci-archive:FILE, with :TAG if it holds several images"));
    }
    let base: Reference = "localhost/image".parse()?;
    let reference = match tag {
        Some(tag) => base.at_tag(tag.parse::<Tag>()?),
        None => base.unnamed(),
    };
    let reference = match digest {
        Some(digest) => reference.at_digest(digest),
        None => reference,
    };
    Ok((PathBuf::from(path), reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_as_people_write_them() {
        let layout: Location = "oci:/srv/images:1.2".parse().unwrap();
        assert!(matches!(&layout, Location::Layout { directory, .. } if directory.ends_with("images")));
        assert_eq!(layout.to_string(), "oci:/srv/images:1.2");
        let archive: Location = "oci-archive:web.tar".parse().unwrap();
        assert!(matches!(&archive, Location::Archive { file, .. } if file.ends_with("web.tar")));
        assert_eq!(archive.to_string(), "oci-archive:web.tar", "no tag is made up");
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in [format!("oci:/srv/images@{digest}"), format!("oci-archive:web.tar@{digest}")] {
            let pinned: Location = text.parse().unwrap();
            assert_eq!(pinned.reference().digest().map(ToString::to_string), Some(digest.clone()));
            assert_eq!(pinned.to_string(), text);
        }
        let odd: Location = "oci:/srv/a:b/images".parse().unwrap();
        assert!(matches!(&odd, Location::Layout { directory, .. } if directory.ends_with("a:b/images")));
        assert!(matches!("shop/web:1".parse().unwrap(), Location::Registry(_)));
        for bad in ["oci:", "oci-archive::1", "oci:/a:b c", "oci:/a@sha256:short", "upper/Case"] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }
}
