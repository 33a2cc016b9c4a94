//! The image of the reference server, made without Docker: its binary, the libraries that it names, the certificates of this
//! machine, and a user without rights.
//!
//! There is no shell in it and nothing that is written to: a pod runs it with a read-only root, as Pod Security `restricted`
//! asks.

mod libraries;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use paas_registry::{ExposedPort, FileMode, ImageBuilder, Platform, Tag};

/// The version that the image is tagged with: that of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The user and the group of the server; nobody on the machine has them. The manifests name them too.
pub const USER: u32 = 65532;

const PROGRAM: &str = "/usr/bin/paas";
const PORT: u16 = 7878;
/// Where rustls looks for certificates of authorities, the first that this machine has: Debian's, Red Hat's, Alpine's.
const CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
const CERTIFICATES_IN_IMAGE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Writes the image of `binary` into a layout directory, under the tag [`VERSION`], and returns its digest.
///
/// # Errors
/// The binary, a library or the certificates cannot be read; the layout cannot be written.
pub fn write_layout(binary: &Path, layout: &Path) -> Result<String> {
    let tag: Tag = VERSION.parse()?;
    let image = image(binary)?.build()?;
    image.write_layout(layout, &[tag])?;
    Ok(image.digest().to_string())
}

/// The image of a binary of the server.
///
/// # Errors
/// The binary, a library or the certificates cannot be read.
pub fn image(binary: &Path) -> Result<ImageBuilder> {
    let passwd = format!("root:x:0:0:root:/:/sbin/nologin\npaas:x:{USER}:{USER}:paas:/:/sbin/nologin\n");
    let mut image = ImageBuilder::scratch(Platform::host())
        .with_file(PROGRAM, FileMode::PROGRAM, stripped(binary)?)
        .with_file(CERTIFICATES_IN_IMAGE, FileMode::DATA, certificates()?)
        .with_file("/etc/passwd", FileMode::DATA, passwd.into_bytes())
        .with_file("/etc/group", FileMode::DATA, format!("root:x:0:\npaas:x:{USER}:\n").into_bytes())
        // Without it the C library asks the name service before it looks into /etc/hosts.
        .with_file("/etc/nsswitch.conf", FileMode::DATA, &b"hosts: files dns\n"[..])
        .with_directory("/tmp", FileMode::new(0o1777))
        .with_entrypoint([PROGRAM])
        .with_env("PATH", "/usr/bin")
        .with_user(format!("{USER}:{USER}"))
        .with_exposed_port(ExposedPort::tcp(PORT))
        .with_label("org.opencontainers.image.title", "paas")
        .with_label("org.opencontainers.image.version", VERSION)
        .with_label("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE"));
    for library in libraries::of(binary)? {
        let content = read(&library)?;
        let path = library.to_str().with_context(|| format!("{} is not UTF-8", library.display()))?;
        image = image.with_file(path, FileMode::PROGRAM, content);
    }
    Ok(image)
}

/// The binary without its symbols, which are most of it.
fn stripped(binary: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir().context("failed to make a folder for the binary")?;
    let copy = folder.path().join("paas");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(binary).status();
    let status = status.context("failed to start `strip`; install: sudo apt-get install binutils")?;
    ensure!(status.success(), "`strip {}` ended with {status}", binary.display());
    read(&copy)
}

fn certificates() -> Result<Vec<u8>> {
    let found: Option<PathBuf> = CERTIFICATES.iter().map(PathBuf::from).find(|path| path.is_file());
    let file = found.context(
        "this machine has no certificates of authorities, which the server needs for registries; \
         install: sudo apt-get install ca-certificates",
    )?;
    read(&file)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}
