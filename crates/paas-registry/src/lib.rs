//! OCI images: layouts, archives, registries, an image store on disk, and layer append.
//!
//! Three ideas make up the crate:
//!
//! - a [`Source`] is a place where images are: a [`Layout`] directory, an [`Archive`] file, or a registry;
//! - an [`ImageStore`] is a directory into which images are pulled: content-addressed, every byte verified, every
//!   layer unpacked once and shared by all images that have it;
//! - an [`ImageBuilder`] makes small images by appending one reproducible layer to nothing or to a base.
//!
//! Whatever comes out of a source is treated as hostile: sizes, counts and digests are checked before anything
//! becomes visible in the store, and a layer can write nowhere but below its own directory (see [`unpack_layer`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), paas_registry::Error> {
//! use paas_registry::{Archive, ImageStore, PullOptions, Reference};
//!
//! let store = ImageStore::open("/var/lib/example/images")?;
//! let archive = Archive::open("web.tar")?;
//! let reference: Reference = "localhost/web:1".parse()?;
//! let image = store.pull(&archive, &reference, &PullOptions::default()).await?;
//! println!("{:?} {:?}", image.config().entrypoint, image.layers());
//! # Ok(())
//! # }
//! ```

mod append;
mod blob;
mod digest;
mod error;
mod image;
mod limits;
mod location;
mod platform;
#[cfg(feature = "core")]
mod port;
mod progress;
mod reference;
mod registry;
mod source;
mod spec;
mod store;
mod tarball;
mod unpack;

#[cfg(test)]
mod testing;

pub use append::{BuiltImage, FileMode, ImageBuilder};
pub use blob::BlobReader;
pub use digest::Digest;
pub use error::{Error, ErrorKind, Result};
pub use image::{ExposedPort, Image, ImageConfig, Protocol};
pub use limits::Limits;
pub use location::Location;
pub use platform::Platform;
#[cfg(feature = "core")]
pub use port::OciImages;
pub use progress::{LayerProgress, LayerState, PullProgress};
pub use reference::{Reference, Tag};
pub use registry::{Credentials, Registries};
pub use source::archive::Archive;
pub use source::layout::{Layout, NamedImage};
pub use source::{RawManifest, Source};
pub use spec::{Descriptor, MediaType};
pub use store::{ImageStore, InProcess, LayerUnpacker, PullOptions, Reclaimed, StoreOptions};
pub use unpack::{Ownership, UnpackOptions, Unpacked, WhiteoutForm, remove_tree, unpack_layer};
