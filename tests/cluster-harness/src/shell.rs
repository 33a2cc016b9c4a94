//! An image with a shell and the usual commands, for tests that say in a script what an instance does.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use paas_registry::{FileMode, ImageBuilder, Platform, Tag};

use crate::{Origin, TestCluster};

/// An image with busybox as `/bin/sh`, by its digest, for a cluster whose registry this crate cannot fill.
pub const IMAGE_VARIABLE: &str = "PAAS_TEST_IMAGE";

/// Debian's `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";
/// What a program that is not static names: its loader.
const LOADER: &[u8] = b"/ld-linux";
/// The commands that tests use.
const COMMANDS: [&str; 16] = [
    "cat", "cp", "echo", "env", "false", "head", "httpd", "kill", "mkdir", "sh", "sleep", "stty", "tail",
    "tr", "true", "wget",
];

/// The reference of the image, by its digest.
pub fn image(cluster: &TestCluster) -> Result<String> {
    if let Some(image) = std::env::var(IMAGE_VARIABLE).ok().filter(|image| !image.is_empty()) {
        ensure!(
            image.contains("@sha256:"),
            "{IMAGE_VARIABLE} is {image:?}, which has no digest: NAME@sha256:…"
        );
        return Ok(image);
    }
    ensure!(
        cluster.origin == Origin::Built,
        "{IMAGE_VARIABLE} is not set: an image with busybox as /bin/sh that the nodes of {} can pull, by its digest",
        cluster.name
    );
    let program = fs::read(BUSYBOX)
        .with_context(|| format!("failed to read {BUSYBOX}; install: sudo apt-get install busybox-static"))?;
    ensure!(
        !program.windows(LOADER.len()).any(|piece| piece == LOADER),
        "{BUSYBOX} is not static; install: sudo apt-get install busybox-static"
    );
    let mut image =
        ImageBuilder::scratch(Platform::host()).with_file("/bin/busybox", FileMode::PROGRAM, program);
    for command in COMMANDS {
        image = image.with_symlink(format!("/bin/{command}"), "busybox");
    }
    let image = image
        .with_directory("/tmp", FileMode::new(0o1777))
        .with_env("PATH", "/bin")
        .with_entrypoint(["/bin/sh"])
        .build()?;
    let layout = tempfile::Builder::new().prefix("paas-shell-").tempdir()?;
    let tag: Tag = "shell".parse()?;
    image.write_layout(layout.path(), std::slice::from_ref(&tag))?;
    push(cluster, layout.path(), &image.digest().to_string())
}

fn push(cluster: &TestCluster, layout: &Path, digest: &str) -> Result<String> {
    let registry = cluster.registry.as_ref().context("a cluster of tests/cluster has a registry")?;
    cluster.push(layout, "test/shell:shell")?;
    Ok(format!("{}/test/shell@{digest}", registry.pull))
}
