//! Pulling from Debian's `docker-registry`, a registry that is not ours.

#![allow(clippy::unwrap_used)] // a failure of what a test sets up is a failure of the test

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use paas_registry::{
    Credentials, ErrorKind, FileMode, ImageBuilder, ImageStore, Platform, PullOptions, Reference, Registries,
};
use tempfile::TempDir;

/// `ann` with the password `pw`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "ann:$2b$05$abcdefghijklmnopqrstuuHIrMEWpUCQe2YqFR3sXwQ75u4od..9q\n";

struct Server {
    process: Child,
    directory: TempDir,
    address: String,
    password: bool,
}

impl Server {
    async fn start(password: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            directory.path().join("data").display()
        );
        if password {
            let file = directory.path().join("htpasswd");
            fs::write(&file, HTPASSWD).unwrap();
            write!(config, "auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display()).unwrap();
        }
        let file = directory.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry starts");
        let server = Self { process, directory, address, password };
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.request(reqwest::Method::GET, "/v2/").send().await.is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not listen on {}", server.address);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let url =
            if path.starts_with("http") { path.to_owned() } else { format!("http://{}{path}", self.address) };
        let request = reqwest::Client::new().request(method, url);
        if self.password { request.basic_auth("ann", Some("pw")) } else { request }
    }

    /// Uploads the only image of a layout, each blob in one request.
    async fn push(&self, layout: &std::path::Path, repository: &str, tag: &str) {
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let manifest =
            index["manifests"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
        let mut document = Vec::new();
        for entry in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let (name, bytes) = (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
            if name == manifest {
                document = bytes;
                continue;
            }
            let start = self.request(reqwest::Method::POST, &format!("/v2/{repository}/blobs/uploads/"));
            let started = start.send().await.unwrap().error_for_status().unwrap();
            let location = started.headers()["location"].to_str().unwrap().to_owned();
            let join = if location.contains('?') { '&' } else { '?' };
            let put = self.request(reqwest::Method::PUT, &format!("{location}{join}digest=sha256:{name}"));
            put.body(bytes).send().await.unwrap().error_for_status().unwrap();
        }
        let put = self.request(reqwest::Method::PUT, &format!("/v2/{repository}/manifests/{tag}"));
        put.header("content-type", "application/vnd.oci.image.manifest.v1+json")
            .body(document)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn pull_from(server: &Server, registries: &Registries) {
    let image = ImageBuilder::scratch(Platform::host())
        .with_file("/hello", FileMode::DATA, vec![b'x'; 3 << 20])
        .with_entrypoint(["/hello"])
        .build()
        .unwrap();
    let layout = server.directory.path().join("layout");
    image.write_layout(&layout, &["1".parse().unwrap()]).unwrap();
    server.push(&layout, "shop/web", "1").await;
    server.push(&layout, "shop/web", "2").await;

    let reference: Reference = format!("{}/shop/web:1", server.address).parse().unwrap();
    let source = registries.source(&reference).unwrap();
    let store = ImageStore::open(server.directory.path().join("store")).unwrap();
    let pulled = store.pull(&*source, &reference, &PullOptions::default()).await.unwrap();
    assert_eq!(pulled.digest(), image.digest());
    assert_eq!(fs::metadata(pulled.layers()[0].join("hello")).unwrap().len(), 3 << 20);
    let tags = source.tags(&reference).await.unwrap();
    assert_eq!(tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1", "2"]);
    let missing = reference.at_tag("none".parse().unwrap());
    let error = store.pull(&*source, &missing, &PullOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
#[ignore = "needs docker-registry: apt-get install docker-registry; run by cargo xtask test"]
async fn an_image_is_pulled_from_dockers_registry() {
    let server = Server::start(false).await;
    pull_from(&server, &Registries::default().without_docker_config()).await;
}

#[tokio::test]
#[ignore = "needs docker-registry: apt-get install docker-registry; run by cargo xtask test"]
async fn an_image_is_pulled_from_dockers_registry_with_a_password() {
    let server = Server::start(true).await;
    let credentials =
        |password: &str| Credentials::Password { user: "ann".into(), password: password.into() };
    let registries = Registries::default().without_docker_config();
    pull_from(&server, &registries.clone().with_credentials(&server.address, credentials("pw"))).await;
    let reference: Reference = format!("{}/shop/web:1", server.address).parse().unwrap();
    for wrong in [registries.clone(), registries.with_credentials(&server.address, credentials("no"))] {
        let error = wrong.source(&reference).unwrap().tags(&reference).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    }
}
