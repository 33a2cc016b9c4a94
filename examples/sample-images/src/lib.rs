//! Images of the sample application, made without Docker: its static binary appended to an empty file system.
//!
//! They differ in their environment only, so they share their one layer. Versions `1` to `12` are good; the others
//! show what a platform has to bear.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use paas_registry::{ExposedPort, FileMode, ImageBuilder, Platform, Tag};

/// Where `cargo xtask` has built the static binary.
pub const BINARY_VARIABLE: &str = "PAAS_SAMPLE_BINARY";
/// The good versions: enough for a rollback to the oldest of ten.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 1..=12;
/// The bad ones: the tag, and the knob that makes it bad.
pub const BAD_VERSIONS: [(&str, &str, &str); 4] = [
    ("crash", "CRASH_AT_START", "3"),
    ("crash-later", "CRASH_AFTER_MS", "300"),
    ("never-ready", "NEVER_READY", "1"),
    ("out-of-memory", "ALLOC_MB", "512"),
];
/// An image whose entry point is not in it.
pub const MISSING_ENTRY_POINT: &str = "missing-entry-point";

const PROGRAM: &str = "/sample-app";

/// The sample's static binary: what [`BINARY_VARIABLE`] names, else what `cargo xtask` has built beside this program.
///
/// # Errors
/// It is not there; the error says how to make it.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY_VARIABLE) {
        return Ok(path.into());
    }
    let program = env::current_exe().context("failed to find the path of this program")?;
    program
        .ancestors()
        .map(|folder| folder.join("sample").join("sample-app"))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!("the sample's static binary is missing: run `cargo xtask sample`, or set {BINARY_VARIABLE} to it")
        })
}

/// Writes all images into a layout directory, one tag each.
///
/// # Errors
/// The binary cannot be read, or the layout not be written.
pub fn write_layout(binary: &Path, layout: &Path) -> Result<()> {
    let program = fs::read(binary).with_context(|| format!("failed to read {}", binary.display()))?;
    let write = |image: ImageBuilder, tag: &str| -> Result<()> {
        let tag: Tag = tag.parse()?;
        image.build()?.write_layout(layout, &[tag])?;
        Ok(())
    };
    for version in VERSIONS {
        let version = version.to_string();
        write(image(&program, &version), &version)?;
    }
    for (tag, knob, value) in BAD_VERSIONS {
        write(image(&program, tag).with_env(knob, value), tag)?;
    }
    write(image(&program, MISSING_ENTRY_POINT).with_entrypoint(["/not-there"]), MISSING_ENTRY_POINT)
}

/// An image of the sample that calls itself by this version.
pub fn image(program: &[u8], version: &str) -> ImageBuilder {
    ImageBuilder::scratch(Platform::host())
        .with_file(PROGRAM, FileMode::PROGRAM, program.to_vec())
        .with_entrypoint([PROGRAM])
        .with_cmd(["web"])
        .with_env("VERSION", version)
        .with_label("org.opencontainers.image.title", "sample-app")
        .with_label("org.opencontainers.image.version", version)
        .with_user("1000:1000")
        .with_exposed_port(ExposedPort::tcp(8080))
}
