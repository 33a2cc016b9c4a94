//! Images of the sample application: one binary, many versions.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use paas_registry::{FileMode, ImageBuilder, Platform};
use serde_json::Value;

use crate::platform::eventually;

/// The sample's static binary: what `cargo xtask test` built, or built now.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("PAAS_SAMPLE_BINARY") {
            return path.into();
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sample");
        let status = Command::new(env!("CARGO"))
            .current_dir(&workspace)
            .args([
                "rustc",
                "--quiet",
                "--locked",
                "--package",
                "sample-app",
                "--profile",
                "sample",
                "--target-dir",
            ])
            .arg(&target)
            .args(["--", "-C", "target-feature=+crt-static"])
            .status()
            .unwrap();
        assert!(status.success(), "the sample's binary could not be built");
        target.join("sample/sample-app")
    })
}

/// An image of the sample that calls itself `version`.
pub fn image(version: &str) -> ImageBuilder {
    let binary = std::fs::read(binary()).unwrap();
    ImageBuilder::scratch(Platform::host())
        .with_file("/sample-app", FileMode::PROGRAM, binary)
        .with_directory("/tmp", FileMode::new(0o1777))
        .with_entrypoint(["/sample-app"])
        .with_env("VERSION", version)
        .with_user("1000:1000")
}

/// A layout with the versions named, each under its own tag.
pub fn layout(directory: &Path, versions: &[&str]) {
    for version in versions {
        image(version).build().unwrap().write_layout(directory, &[version.parse().unwrap()]).unwrap();
    }
}

/// Debian's `docker-registry` on a port of its own.
pub struct Registry {
    process: Child,
    address: String,
    folder: PathBuf,
}

/// Starts a registry that keeps its content below `folder`.
pub fn registry(folder: &Path) -> Registry {
    let folder = folder.join("registry");
    std::fs::create_dir_all(&folder).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
        folder.join("content").display()
    );
    let file = folder.join("config.yml");
    std::fs::write(&file, config).unwrap();
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let process = Command::new("docker-registry")
        .arg("serve")
        .arg(&file)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("docker-registry starts");
    eventually("the registry listens", || TcpStream::connect(&address).ok());
    Registry { process, address, folder }
}

impl Registry {
    /// Makes an image of the sample and uploads it (OCI Distribution Specification 1.1, "Pushing manifests"); returns its
    /// reference.
    pub fn push(&self, repository: &str, tag: &str, version: &str) -> String {
        let layout = self.folder.join(version);
        self::layout(&layout, &[version]);
        let read = |file: PathBuf| std::fs::read(file).unwrap();
        let index: Value = serde_json::from_slice(&read(layout.join("index.json"))).unwrap();
        let blob = |digest: &str| read(layout.join("blobs").join(digest.replace(':', "/")));
        let manifest_descriptor = &index["manifests"][0];
        let manifest = blob(manifest_descriptor["digest"].as_str().unwrap());
        let parsed: Value = serde_json::from_slice(&manifest).unwrap();
        let base = format!("http://{}/v2/{repository}", self.address);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = reqwest::Client::new();
            let parts = parsed["layers"].as_array().unwrap().iter().chain([&parsed["config"]]);
            for part in parts {
                let digest = part["digest"].as_str().unwrap();
                let begun = client.post(format!("{base}/blobs/uploads/")).send().await.unwrap();
                let place = begun.headers()["location"].to_str().unwrap();
                let mut place =
                    reqwest::Url::parse(&format!("http://{}", self.address)).unwrap().join(place).unwrap();
                place.query_pairs_mut().append_pair("digest", digest);
                let put =
                    client.put(place).header("content-type", "application/octet-stream").body(blob(digest));
                assert_eq!(put.send().await.unwrap().status(), 201);
            }
            let kind = manifest_descriptor["mediaType"].as_str().unwrap();
            let put =
                client.put(format!("{base}/manifests/{tag}")).header("content-type", kind).body(manifest);
            assert_eq!(put.send().await.unwrap().status(), 201);
        });
        format!("{}/{repository}:{tag}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
