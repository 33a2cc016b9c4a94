//! Making images by appending one layer.
//!
//! What is built twice is the same to the last bit: files are sorted, have time 0 and belong to root, the compression
//! writes no time or name, and documents are written in a fixed order.

mod layer;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::blob::Located;
use crate::platform::OfferedPlatform;
use crate::source::documents::Blobs;
use crate::spec::{self, Config, Manifest};
use crate::{
    Descriptor, Digest, Error, ExposedPort, ImageConfig, Layout, Limits, MediaType, Platform, Reference,
    Result,
};
use layer::Node;

const OPERATION: &str = "build image";

/// The permissions of a file in an image, such as `0o755`; setuid, setgid and sticky bits included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(u32);

impl FileMode {
    /// A program: `rwxr-xr-x`.
    pub const PROGRAM: Self = Self(0o755);
    /// A file that everybody may read: `rw-r--r--`.
    pub const DATA: Self = Self(0o644);

    /// Permission bits; higher bits are cut off.
    pub const fn new(bits: u32) -> Self {
        Self(bits & 0o7777)
    }
}

/// Makes an image of files and a configuration, from nothing or on top of an image of a layout.
///
/// ```
/// use paas_registry::{ExposedPort, FileMode, ImageBuilder, Platform};
///
/// let image = ImageBuilder::scratch(Platform::host())
///     .with_file("/web", FileMode::PROGRAM, "#!/bin/false\n")
///     .with_entrypoint(["/web"])
///     .with_exposed_port(ExposedPort::tcp(8080))
///     .build()?;
/// let directory = tempfile::tempdir().unwrap();
/// image.write_layout(directory.path().join("web"), &["1".parse()?])?;
/// # Ok::<(), paas_registry::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    base: Base,
    nodes: BTreeMap<Vec<u8>, Node>,
    faults: Vec<String>,
}

#[derive(Debug, Clone)]
struct Base {
    config: Config,
    layers: Vec<Descriptor>,
    blobs: BTreeMap<Digest, Located>,
}

impl ImageBuilder {
    /// Starts from an empty file system.
    pub fn scratch(platform: Platform) -> Self {
        let Platform { os, architecture, variant } = platform;
        let config = Config { platform: OfferedPlatform { architecture, os, variant }, ..Config::default() };
        Self {
            base: Base { config, layers: Vec::new(), blobs: BTreeMap::new() },
            nodes: BTreeMap::new(),
            faults: Vec::new(),
        }
    }

    /// Starts from an image of a layout, for a platform; its configuration is kept where nothing else is set.
    ///
    /// # Errors
    /// As [`ImageStore::pull`](crate::ImageStore::pull) from a layout.
    pub async fn on(base: &Layout, reference: &Reference, platform: &Platform) -> Result<Self> {
        let limits = Limits::default();
        let selected = crate::source::select(base, reference, platform, &limits).await?;
        let manifest = selected.manifest;
        let (layout, platform) = (base.clone(), platform.clone());
        crate::store::blocking(OPERATION, move || {
            let bytes = layout.locate(&manifest.config.digest)?.read_all(OPERATION, limits.config_bytes)?;
            if Digest::of(&bytes) != manifest.config.digest {
                return Err(Error::new(
                    crate::ErrorKind::Corrupt,
                    OPERATION,
                    "the configuration of the base is damaged",
                ));
            }
            let config: Config = spec::parse("configuration", &bytes)?;
            crate::source::check_config(&config, &manifest, &platform)?;
            let blobs = manifest
                .layers
                .iter()
                .map(|layer| Ok((layer.digest, layout.locate(&layer.digest)?)))
                .collect::<Result<BTreeMap<_, _>>>()?;
            let base = Base { config, layers: manifest.layers, blobs };
            Ok(Self { base, nodes: BTreeMap::new(), faults: Vec::new() })
        })
        .await
        .map_err(|error| error.with("base", reference))
    }

    /// Adds a file. The directories above it are made with mode 0755 where nothing else is said.
    #[must_use]
    pub fn with_file(self, path: impl AsRef<str>, mode: FileMode, content: impl Into<Bytes>) -> Self {
        self.with_node(path.as_ref(), Node::File { mode: mode.0, content: content.into() })
    }

    /// Adds a directory, or sets the mode of one.
    #[must_use]
    pub fn with_directory(self, path: impl AsRef<str>, mode: FileMode) -> Self {
        self.with_node(path.as_ref(), Node::Directory { mode: mode.0 })
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn with_symlink(self, path: impl AsRef<str>, target: impl Into<String>) -> Self {
        self.with_node(path.as_ref(), Node::Symlink { target: target.into() })
    }

    fn with_node(mut self, path: &str, node: Node) -> Self {
        match layer::normalise(path) {
            Some(path) => drop(self.nodes.insert(path, node)),
            None => self
                .faults
                .push(format!("{:?} is no path of a file in an image", path.escape_debug().to_string())),
        }
        self
    }

    /// Sets the command that is always run, and takes the base's default arguments away, as Docker does.
    #[must_use]
    pub fn with_entrypoint<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.base.config.config.entrypoint = words.into_iter().map(Into::into).collect();
        self.base.config.config.cmd.clear();
        self
    }

    /// Sets the default arguments. After [`ImageBuilder::with_entrypoint`], which takes them away.
    #[must_use]
    pub fn with_cmd<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.base.config.config.cmd = words.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn with_env(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let start = format!("{}=", name.as_ref());
        let entry = format!("{start}{}", value.as_ref());
        let env = &mut self.base.config.config.env;
        match env.iter_mut().find(|known| known.starts_with(&start)) {
            Some(known) => *known = entry,
            None => env.push(entry),
        }
        self
    }

    /// Sets the user: `user`, `uid`, `user:group` or `uid:gid`.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.base.config.config.user = user.into();
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn with_working_dir(mut self, path: impl Into<String>) -> Self {
        self.base.config.config.working_dir = path.into();
        self
    }

    /// Adds a port that the image listens on.
    #[must_use]
    pub fn with_exposed_port(mut self, port: ExposedPort) -> Self {
        self.base.config.config.exposed_ports.insert(port.to_string(), Value::Object(Map::new()));
        self
    }

    /// Adds a path that wants a volume.
    #[must_use]
    pub fn with_volume(mut self, path: impl Into<String>) -> Self {
        self.base.config.config.volumes.insert(path.into(), Value::Object(Map::new()));
        self
    }

    /// Sets the signal that asks the process to stop, such as `SIGINT`.
    #[must_use]
    pub fn with_stop_signal(mut self, signal: impl Into<String>) -> Self {
        self.base.config.config.stop_signal = signal.into();
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.base.config.config.labels.insert(name.into(), value.into());
        self
    }

    /// Packs the layer and makes the documents. Without a single file no layer is appended.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a path or the configuration is not usable; all faults at once.
    pub fn build(self) -> Result<BuiltImage> {
        let Self { base: Base { mut config, mut layers, mut blobs }, nodes, mut faults } = self;
        if let Err(error) = ImageConfig::from_spec(&config) {
            faults.push(error.message().to_owned());
        }
        layer::check(&nodes, &mut faults);
        if !faults.is_empty() {
            return Err(Error::new(crate::ErrorKind::Invalid, OPERATION, faults.join("; ")));
        }
        if !nodes.is_empty() {
            let packed = layer::pack(&nodes)?;
            layers.push(Descriptor::of(MediaType::OCI_LAYER_GZIP, &packed.bytes));
            blobs.insert(Digest::of(&packed.bytes), Located::Memory(packed.bytes));
            config.rootfs.diff_ids.push(packed.diff_id);
            // A history that does not fit the layers is refused by some tools; one that is missing is not.
            if let Some(Value::Array(history)) = config.rest.get_mut("history") {
                history
                    .push(json!({ "created": "1970-01-01T00:00:00Z", "created_by": "paas-registry append" }));
            }
        }
        let config_bytes = serde_json::to_vec(&config).expect("a configuration has only strings for keys");
        let descriptor = Descriptor::of(MediaType::OCI_CONFIG, &config_bytes);
        blobs.insert(descriptor.digest, Located::Memory(config_bytes.into()));
        // Layers keep their types, which Docker's and OCI's tools both take.
        let manifest = serde_json::to_vec(&Manifest::new(descriptor, layers)).expect("strings for keys");
        let mut descriptor = Descriptor::of(MediaType::OCI_MANIFEST, &manifest);
        descriptor.platform = Some(config.platform);
        blobs.insert(descriptor.digest, Located::Memory(manifest.into()));
        Ok(BuiltImage { descriptor, blobs })
    }
}

/// An image that was built and is nowhere yet.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    descriptor: Descriptor,
    blobs: BTreeMap<Digest, Located>,
}

impl BuiltImage {
    /// The digest of the manifest.
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// Writes the image into a layout directory under these tags; the directory and its other images are kept if they
    /// exist. A tag that another image has goes over to this one.
    ///
    /// # Errors
    /// Those of the operating system; a blob of the base that is damaged.
    pub fn write_layout(&self, directory: impl AsRef<Path>, tags: &[crate::Tag]) -> Result<()> {
        let directory = directory.as_ref();
        write::layout(directory, self, tags).map_err(|error| error.with("layout", directory.display()))
    }

    /// Writes the image as an OCI archive under these tags, replacing the file.
    ///
    /// # Errors
    /// Those of the operating system; a blob of the base that is damaged.
    pub fn write_archive(&self, file: impl AsRef<Path>, tags: &[crate::Tag]) -> Result<()> {
        let file = file.as_ref();
        write::archive(file, self, tags).map_err(|error| error.with("archive", file.display()))
    }
}
