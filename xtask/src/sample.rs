//! The sample application's binary: static, so that an image can hold it and nothing else.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::{Workspace, cargo, output_of, succeed};

/// How tests and tools learn where it is.
pub const BINARY_VARIABLE: &str = "PAAS_SAMPLE_BINARY";

/// Its profile in the root's `Cargo.toml`: small, and apart from the others, because it is linked in another way.
const PROFILE: &str = "sample";
const MUSL: &str = "x86_64-unknown-linux-musl";

/// Builds the sample's binary: with musl where rustup has the target, else statically with the C library of the machine.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args(["rustc", "--quiet", "--locked", "--package", "sample-app", "--profile", PROFILE]);
    let folder = if has_musl() {
        command.args(["--target", MUSL]);
        workspace.target.join(MUSL).join(PROFILE)
    } else {
        command.args(["--", "-C", "target-feature=+crt-static"]);
        workspace.target.join(PROFILE)
    };
    succeed(&mut command).context("the sample's binary could not be built")?;
    Ok(folder.join("sample-app"))
}

fn has_musl() -> bool {
    let mut command = std::process::Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", MUSL]);
    let folder = output_of(&mut command).ok().and_then(|text| String::from_utf8(text).ok());
    folder.is_some_and(|folder| PathBuf::from(folder.trim()).is_dir())
}
