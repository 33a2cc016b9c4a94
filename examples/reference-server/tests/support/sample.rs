//! Images of the sample application: one binary, many versions.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use paas_cluster_harness::TestCluster;
use paas_registry::{ImageBuilder, Tag};
use serde_json::Value;

use crate::platform::{Platform, eventually};

/// The sample's static binary: what `cargo xtask test` built, or built now as `cargo xtask sample` does.
fn binary() -> &'static [u8] {
    static BINARY: OnceLock<Vec<u8>> = OnceLock::new();
    BINARY.get_or_init(|| {
        let path = match std::env::var_os(sample_images::BINARY_VARIABLE) {
            Some(path) => PathBuf::from(path),
            None => build(),
        };
        std::fs::read(path).unwrap()
    })
}

fn build() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(&workspace).args(["xtask", "sample"]);
    let output = command.output().unwrap();
    let failure = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the sample's binary could not be built:\n{failure}");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// An image of the sample that calls itself `version`.
pub fn image(version: &str) -> ImageBuilder {
    sample_images::image(binary(), version)
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

/// Writes an image into the layout `images` of a journey.
pub fn add(platform: &Platform, name: &str, image: ImageBuilder) {
    image.build().unwrap().write_layout(platform.folder().join("images"), &[tag(name)]).unwrap();
}

/// The layout `images` of a journey, with these versions.
pub fn versions(platform: &Platform, versions: &[&str]) {
    for version in versions {
        add(platform, version, image(version));
    }
}

/// Puts versions where the nodes of clusters find them; returns the reference of each.
pub fn pushed(platform: &Platform, cluster: &TestCluster, versions: &[&str]) -> Vec<String> {
    self::versions(platform, versions);
    let registry = cluster.registry.as_ref().expect("a registry that nodes pull from");
    let repository = platform.folder().file_name().unwrap().to_string_lossy().to_lowercase();
    let repository = format!("journey/{}", repository.trim_matches(|c: char| !c.is_ascii_alphanumeric()));
    cluster.push(&platform.folder().join("images"), &repository).unwrap();
    versions.iter().map(|version| format!("{}/{repository}:{version}", registry.pull)).collect()
}

/// An archive of one version.
pub fn archive(platform: &Platform, name: &str, version: &str) {
    image(version).build().unwrap().write_archive(platform.folder().join(name), &[tag(version)]).unwrap();
}

/// Debian's `docker-registry` on a port of its own.
pub struct Registry {
    process: Child,
    address: String,
    folder: PathBuf,
}

impl Registry {
    /// Starts a registry that keeps its content in the folder of a journey.
    pub fn start(platform: &Platform) -> Self {
        let folder = platform.folder().join("registry");
        std::fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{address}'}}\n",
            folder.join("content").display()
        );
        let file = folder.join("config.yml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().expect("docker-registry starts");
        eventually("the registry listens", || TcpStream::connect(&address).ok());
        Self { process, address, folder }
    }

    /// Makes an image of the sample and uploads it (OCI Distribution Specification 1.1, "Pushing manifests"); returns its
    /// reference.
    pub fn push(&self, repository: &str, version: &str) -> String {
        let layout = self.folder.join(version);
        image(version).build().unwrap().write_layout(&layout, &[tag(version)]).unwrap();
        let read = |file: PathBuf| std::fs::read(file).unwrap();
        let index: Value = serde_json::from_slice(&read(layout.join("index.json"))).unwrap();
        let blob = |digest: &str| read(layout.join("blobs").join(digest.replace(':', "/")));
        let listed = &index["manifests"][0];
        let manifest = blob(listed["digest"].as_str().unwrap());
        let parsed: Value = serde_json::from_slice(&manifest).unwrap();
        let base = format!("http://{}/v2/{repository}", self.address);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = reqwest::Client::new();
            for part in parsed["layers"].as_array().unwrap().iter().chain([&parsed["config"]]) {
                let digest = part["digest"].as_str().unwrap();
                let begun = client.post(format!("{base}/blobs/uploads/")).send().await.unwrap();
                let place = begun.headers()["location"].to_str().unwrap();
                let mut place = reqwest::Url::parse(&base).unwrap().join(place).unwrap();
                place.query_pairs_mut().append_pair("digest", digest);
                let put =
                    client.put(place).header("content-type", "application/octet-stream").body(blob(digest));
                assert_eq!(put.send().await.unwrap().status(), 201);
            }
            let kind = listed["mediaType"].as_str().unwrap();
            let put =
                client.put(format!("{base}/manifests/{version}")).header("content-type", kind).body(manifest);
            assert_eq!(put.send().await.unwrap().status(), 201);
        });
        format!("{}/{repository}:{version}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
