//! Images of a layout keep the promises of the `Registry` port, and of several platforms the host's is found.
#![cfg(feature = "core")]
#![allow(clippy::unwrap_used)] // tests may panic

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use paas_core::ErrorKind;
use paas_core::conformance::registry::RegistryFixture;
use paas_core::port::{ImageQuery, Registry};
use paas_registry::{BuiltImage, ExposedPort, ImageBuilder, OciImages, Platform};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

struct Layout {
    folder: TempDir,
    pushed: AtomicU32,
}

impl Layout {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), pushed: AtomicU32::new(0) }
    }
}

#[async_trait]
impl RegistryFixture for Layout {
    fn registry(&self) -> Arc<dyn Registry> {
        Arc::new(OciImages::default())
    }

    fn name(&self) -> String {
        format!("oci:{}", self.folder.path().display())
    }

    async fn push(&self, tag: &str) -> String {
        let number = self.pushed.fetch_add(1, Ordering::Relaxed);
        let image = image(&Platform::host(), 8080).with_env("NUMBER", number.to_string()).build().unwrap();
        image.write_layout(self.folder.path(), &[tag.parse().unwrap()]).unwrap();
        image.digest().to_string()
    }

    /// Nobody is refused a file of their own.
    async fn denied(&self) -> Option<String> {
        None
    }

    /// Nobody listens on port 1 of this machine.
    async fn unreachable(&self) -> Option<String> {
        Some("127.0.0.1:1/team/web:1".to_owned())
    }
}

mod layout {
    use super::Layout;
    paas_core::registry_conformance!(#[tokio::test] => Layout::new());
}

fn image(platform: &Platform, port: u16) -> ImageBuilder {
    ImageBuilder::scratch(platform.clone()).with_cmd(["/web"]).with_exposed_port(ExposedPort::tcp(port))
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Puts an index over images of several platforms into a layout, under the tag `many`.
fn write_index(folder: &Path, media_type: &str, images: &[(&Platform, &BuiltImage)]) {
    let blob =
        |digest: &str| -> PathBuf { folder.join("blobs/sha256").join(digest.trim_start_matches("sha256:")) };
    let manifests = images.iter().enumerate().map(|(number, (platform, image))| {
        image.write_layout(folder, &[format!("of-{number}").parse().unwrap()]).unwrap();
        let digest = image.digest().to_string();
        let content = fs::read(blob(&digest)).unwrap();
        let kind = serde_json::from_slice::<Value>(&content).unwrap()["mediaType"].clone();
        json!({ "mediaType": kind, "digest": digest, "size": content.len(),
            "platform": { "os": platform.os, "architecture": platform.architecture } })
    });
    let index =
        json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests.collect::<Vec<_>>() });
    let content = index.to_string();
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&content)));
    fs::write(blob(&digest), &content).unwrap();
    let entry = json!({ "mediaType": media_type, "digest": digest, "size": content.len(),
        "annotations": { "org.opencontainers.image.ref.name": "many" } });
    let file = folder.join("index.json");
    let mut root: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    root["manifests"].as_array_mut().unwrap().push(entry);
    fs::write(file, root.to_string()).unwrap();
}

fn other() -> Platform {
    let other = if Platform::host().architecture == "s390x" { "linux/riscv64" } else { "linux/s390x" };
    other.parse().unwrap()
}

#[tokio::test]
async fn of_an_index_the_image_for_this_machine_is_taken() {
    for media_type in [INDEX, LIST] {
        let folder = TempDir::new().unwrap();
        let (host, other) = (Platform::host(), other());
        let (ours, theirs) = (image(&host, 8080).build().unwrap(), image(&other, 9090).build().unwrap());
        write_index(folder.path(), media_type, &[(&other, &theirs), (&host, &ours)]);
        let reference = format!("oci:{}:many", folder.path().display());
        let found = OciImages::default().resolve(&ImageQuery { reference, org: None }).await.unwrap();
        assert_eq!(found.exposed_ports, [8080], "{media_type}");
    }
}

#[tokio::test]
async fn an_index_without_one_names_what_it_has() {
    let folder = TempDir::new().unwrap();
    let other = other();
    let theirs = image(&other, 9090).build().unwrap();
    write_index(folder.path(), INDEX, &[(&other, &theirs)]);
    let reference = format!("oci:{}:many", folder.path().display());
    let error = OciImages::default().resolve(&ImageQuery { reference, org: None }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.report());
    for platform in [other, Platform::host()] {
        assert!(error.report().contains(&platform.to_string()), "{}", error.report());
    }
}
