//! The [`Registry`](paas_core::port::Registry) port of `paas-core`, over every place that a [`Location`] names.

use async_trait::async_trait;
use paas_core::Error as PortError;
use paas_core::ErrorKind as PortKind;
use paas_core::port::{ImageQuery, Registry, ResolvedImage};

use crate::{ErrorKind, ImageConfig, Limits, Location, Platform, Registries};

/// Images in registries, layouts and archives, as the platform resolves them.
///
/// An image is resolved only if it can run here: its configuration is read, and an image for another platform is refused
/// before a release is made of it. Paths of layouts and archives must be absolute: a release is made once and carried out
/// later, by a process that may have another current folder.
#[derive(Debug, Clone, Default)]
pub struct OciImages {
    registries: Registries,
    platform: Platform,
    limits: Limits,
}

impl OciImages {
    /// Images of these registries, for this machine's platform.
    pub fn new(registries: Registries) -> Self {
        Self { registries, ..Self::default() }
    }

    async fn read(&self, location: &Location) -> crate::Result<ResolvedImage> {
        let source = location.source(&self.registries)?;
        let reference = location.reference();
        let selected = crate::source::select(&*source, reference, &self.platform, &self.limits).await?;
        let manifest = &selected.manifest;
        let bytes = crate::store::fetch_document(&*source, reference, &manifest.config).await?;
        let config: crate::spec::Config = crate::spec::parse("configuration", &bytes)?;
        crate::source::check_config(&config, manifest, &self.platform)?;
        let config = ImageConfig::from_spec(&config)?;
        let tcp = config.exposed_ports.iter().filter(|port| port.protocol == crate::Protocol::Tcp);
        Ok(ResolvedImage {
            reference: location.to_string(),
            digest: selected.root().to_string(),
            size: manifest
                .layers
                .iter()
                .try_fold(manifest.config.size, |sum, layer| sum.checked_add(layer.size)),
            exposed_ports: tcp.map(|exposed| exposed.port).collect(),
            has_command: !config.command().is_empty(),
        })
    }
}

#[async_trait]
impl Registry for OciImages {
    async fn resolve(&self, query: &ImageQuery) -> Result<ResolvedImage, PortError> {
        let failed = |error| port_error("resolve an image", &query.reference, error);
        let location: Location = query.reference.parse().map_err(failed)?;
        location.check_absolute().map_err(failed)?;
        let image = self.read(&location).await.map_err(failed)?;
        Ok(ResolvedImage { reference: query.reference.clone(), ..image })
    }

    async fn list(
        &self,
        query: &ImageQuery,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, PortError> {
        let failed = |error| port_error("list the tags of an image", &query.reference, error);
        let location: Location = query.reference.parse().map_err(failed)?;
        let source = location.source(&self.registries).map_err(failed)?;
        let tags = source.tags(location.reference()).await.map_err(failed)?;
        let names = tags.into_iter().map(|tag| tag.to_string());
        Ok(names.filter(|tag| after.is_none_or(|after| tag.as_str() > after)).take(limit).collect())
    }
}

/// An error of this crate in the words of the port.
fn port_error(operation: &'static str, reference: &str, error: crate::Error) -> PortError {
    let kind = match error.kind() {
        ErrorKind::NotFound => PortKind::NotFound,
        ErrorKind::Denied => PortKind::Denied,
        ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::DiskFull => {
            PortKind::Unavailable
        }
        ErrorKind::TooLarge => PortKind::TooLarge,
        ErrorKind::Unsupported => PortKind::Unsupported,
        ErrorKind::Io => PortKind::Internal,
        _ => PortKind::Invalid,
    };
    let mut translated = PortError::new(kind, operation).with_context("image", reference);
    if let Some(remedy) = error.remedy() {
        translated = translated.with_remedy(remedy.to_owned());
    }
    translated.with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_relative_path_is_refused_with_the_remedy() {
        for image in ["oci:images:1", "oci-archive:./web.tar"] {
            let query = ImageQuery { reference: image.to_owned(), org: None };
            let error = OciImages::default().resolve(&query).await.unwrap_err();
            assert_eq!(error.kind(), PortKind::Invalid, "{}", error.report());
            assert!(
                error.remedy().is_some_and(|remedy| remedy.contains("from the root")),
                "{}",
                error.report()
            );
        }
    }
}
