//! Images by the references of templates, kept by digest.

use std::path::Path;
use std::sync::Arc;

use paas_core::model::Template;
use paas_registry::{Digest, Image, ImageStore, Location, PullOptions, Registries};

use crate::Host;

/// The images of the machine.
#[derive(Debug)]
pub(super) struct Images {
    store: ImageStore,
    registries: Registries,
}

impl Images {
    pub(super) fn open(directory: &Path, host: &Arc<Host>) -> Result<Self, paas_core::Error> {
        let store = ImageStore::open_with(directory, crate::unpacker::options(host)).map_err(|error| {
            paas_core::Error::new(paas_core::ErrorKind::Internal, "open the image store")
                .with_context("directory", directory.display())
                .with_source(error)
        })?;
        Ok(Self { store, registries: Registries::default() })
    }

    pub(super) fn store(&self) -> &ImageStore {
        &self.store
    }

    /// The image that a template was pinned to: from the store if it is there, else from where the template says.
    pub(super) async fn fetch(&self, template: &Template) -> paas_registry::Result<Image> {
        let digest: Digest = template.digest.parse()?;
        if let Some(image) = self.store.get(&digest)? {
            return Ok(image);
        }
        let location: Location = template.image.parse()?;
        let source = location.source(&self.registries)?;
        let pinned = location.reference().at_digest(digest);
        self.store.pull(&*source, &pinned, &PullOptions::default()).await
    }
}
