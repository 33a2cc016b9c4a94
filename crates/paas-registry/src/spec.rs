//! The documents of an image: index, manifest, configuration, and the layout around them.
//!
//! Sources: OCI image specification 1.1 (`image-index.md`, `manifest.md`, `config.md`, `image-layout.md`) and Docker's
//! "Image Manifest V 2, Schema 2". The types are our own and not `oci-spec`'s because what we write must have the same
//! digest each time, and its hash maps are written in random order; only what this crate uses is modelled, and what a
//! base image has besides is carried along.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::platform::OfferedPlatform;
use crate::{Digest, Error, ErrorKind, Limits, Result};

/// The annotation that names a manifest within a layout.
pub(crate) const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which containerd and Docker write the full reference.
pub(crate) const ANNOTATION_CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The media type of a piece of content, as its registry or document states it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

/// What a media type means to this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Index,
    Manifest,
    Config,
    Layer,
}

impl MediaType {
    /// An OCI image index.
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// A Docker manifest list.
    pub const DOCKER_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// A Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// An OCI image configuration.
    pub const OCI_CONFIG: &'static str = "application/vnd.oci.image.config.v1+json";
    /// A Docker image configuration.
    pub const DOCKER_CONFIG: &'static str = "application/vnd.docker.container.image.v1+json";
    /// An OCI layer that is not compressed.
    pub const OCI_LAYER: &'static str = "application/vnd.oci.image.layer.v1.tar";
    /// An OCI layer, compressed by gzip.
    pub const OCI_LAYER_GZIP: &'static str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// An OCI layer, compressed by zstd.
    pub const OCI_LAYER_ZSTD: &'static str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// A Docker layer that is not compressed.
    pub const DOCKER_LAYER: &'static str = "application/vnd.docker.image.rootfs.diff.tar";
    /// A Docker layer, compressed by gzip.
    pub const DOCKER_LAYER_GZIP: &'static str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// A layer compressed by zstd with Docker's prefix, as some tools write it.
    pub const DOCKER_LAYER_ZSTD: &'static str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

    /// A media type by its text; parameters (`; charset=…`) are cut off.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        Self(text.split(';').next().unwrap_or(text).trim().to_ascii_lowercase())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn role(&self) -> Option<Role> {
        Some(match self.0.as_str() {
            Self::OCI_INDEX | Self::DOCKER_LIST => Role::Index,
            Self::OCI_MANIFEST | Self::DOCKER_MANIFEST => Role::Manifest,
            Self::OCI_CONFIG | Self::DOCKER_CONFIG => Role::Config,
            Self::OCI_LAYER
            | Self::OCI_LAYER_GZIP
            | Self::OCI_LAYER_ZSTD
            | Self::DOCKER_LAYER
            | Self::DOCKER_LAYER_GZIP
            | Self::DOCKER_LAYER_ZSTD => Role::Layer,
            _ => return None,
        })
    }

    /// The error for a media type in a place where another was needed.
    pub(crate) fn unsupported(&self, wanted: &'static str) -> Error {
        let text = self.0.as_str();
        let shown: String = text.chars().take(120).collect();
        let error = Error::new(
            ErrorKind::Unsupported,
            "read image",
            format!("{} is not {wanted} that can be used", shown.escape_debug()),
        );
        if text.starts_with("application/vnd.docker.distribution.manifest.v1") {
            error
                .with_remedy("the image has the retired manifest schema 1; push it again with a current tool")
        } else if text.contains("foreign") || text.contains("nondistributable") {
            error.with_remedy(
                "layers that are kept outside of the registry are not fetched; use an image without them",
            )
        } else if text.contains("encrypted") {
            error.with_remedy("encrypted layers are not supported; use an image without them")
        } else {
            error.with_remedy(
                "this may be an artifact, such as a chart or a signature, and no container image",
            )
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a document says about another piece of content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: MediaType,
    /// Its address.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<OfferedPlatform>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor of these bytes.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: MediaType(media_type.to_owned()),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// `index.json` of a layout, an OCI index or a Docker manifest list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<MediaType>,
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Index {
    pub(crate) fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType(MediaType::OCI_INDEX.to_owned())),
            manifests,
            annotations: BTreeMap::new(),
        }
    }
}

/// An OCI or Docker image manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<MediaType>,
    pub(crate) config: Descriptor,
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Manifest {
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType(MediaType::OCI_MANIFEST.to_owned())),
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }

    /// Whether everything that this manifest refers to is within bounds and of a type that can be used.
    pub(crate) fn check(&self, limits: &Limits) -> Result<()> {
        let large = |message: String| Err(Error::new(ErrorKind::TooLarge, "read manifest", message));
        if self.config.media_type.role() != Some(Role::Config) {
            return Err(self.config.media_type.unsupported("an image configuration"));
        }
        if self.config.size > limits.config_bytes {
            return large(format!(
                "the configuration has {} bytes, {} are accepted",
                self.config.size, limits.config_bytes
            ));
        }
        if self.layers.len() > limits.layers {
            return large(format!("{} layers, {} are accepted", self.layers.len(), limits.layers));
        }
        let mut total = 0_u64;
        for layer in &self.layers {
            if layer.media_type.role() != Some(Role::Layer) {
                return Err(layer.media_type.unsupported("a layer").with("layer", layer.digest));
            }
            if layer.size > limits.layer_bytes {
                return large(format!(
                    "layer {} has {} bytes, {} are accepted",
                    layer.digest, layer.size, limits.layer_bytes
                ));
            }
            total = total.saturating_add(layer.size);
        }
        if total > limits.image_bytes {
            return large(format!("the layers have {total} bytes, {} are accepted", limits.image_bytes));
        }
        Ok(())
    }
}

/// An OCI or Docker image configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) platform: OfferedPlatform,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) config: ContainerConfig,
    pub(crate) rootfs: RootFs,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

/// What a container of the image runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ContainerConfig {
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) exposed_ports: BTreeMap<String, Value>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub(crate) cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) volumes: BTreeMap<String, Value>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub(crate) working_dir: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub(crate) stop_signal: String,
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

/// Which layers, uncompressed, make the file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// Parses a document; `what` names it in the error.
pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::new(ErrorKind::Invalid, "read image", format!("its {what} is malformed: {error}"))
            .with_source(error)
            .with_remedy("the image is damaged or no container image; build or push it again")
    })
}

/// Whether a document is an index or a manifest, by what it says and, failing that, by what it has.
pub(crate) fn manifest_role(media_type: &MediaType, bytes: &[u8]) -> Result<Role> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Probe {
        schema_version: Option<u32>,
        media_type: Option<MediaType>,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
    }
    if matches!(media_type.role(), Some(Role::Config | Role::Layer)) {
        return Err(media_type.unsupported("an image manifest"));
    }
    let probe: Probe = parse("manifest", bytes)?;
    if probe.schema_version == Some(1) {
        return Err(
            MediaType::new("application/vnd.docker.distribution.manifest.v1+json").unsupported("a manifest")
        );
    }
    let stated = probe.media_type.as_ref().and_then(MediaType::role).or(media_type.role());
    // One document that reads as both an index and a manifest is the confusion of CVE-2021-41190.
    let shape = match (probe.manifests.is_some(), probe.config.is_some() || probe.layers.is_some()) {
        (true, false) => Role::Index,
        (false, true) => Role::Manifest,
        _ => {
            return Err(match probe.media_type.as_ref().unwrap_or(media_type) {
                other if other.role().is_none() => other.unsupported("an image manifest"),
                _ => Error::new(
                    ErrorKind::Invalid,
                    "read image",
                    "its manifest has both or neither of the parts of an index and of an image",
                ),
            });
        }
    };
    match stated {
        Some(stated) if stated != shape => Err(Error::new(
            ErrorKind::Invalid,
            "read image",
            "its manifest has another shape than its media type says",
        )),
        None if media_type.as_str().is_empty() || media_type.as_str() == "application/json" => Ok(shape),
        None => Err(probe.media_type.as_ref().unwrap_or(media_type).unsupported("an image manifest")),
        Some(_) => Ok(shape),
    }
}

/// Reads JSON's `null` as the default value: Go writes it for an empty list or map.
fn null_is_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
