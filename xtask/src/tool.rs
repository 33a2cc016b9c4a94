//! Tools that the checks use: installed once, pinned, into the cache outside the clone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::{Workspace, cargo, succeed};

/// Builds with Rust 1.88 and later.
const CARGO_DENY: &str = "0.20.2";

/// The path of cargo-deny; built from crates.io when it is not there yet (a minute and a half on two cores; without
/// optimisation, because it runs for a second).
pub fn cargo_deny(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.cache.join("tools").join(format!("cargo-deny-{CARGO_DENY}"));
    let binary = root.join("bin").join("cargo-deny");
    if !binary.is_file() {
        eprintln!("\n==> cargo-deny {CARGO_DENY} is not in {}: building it once", root.display());
        let mut command = cargo();
        // Not in the workspace's own target folder: its lock is ours, and its artefacts are of no use there.
        command.env("CARGO_TARGET_DIR", workspace.cache.join("tools").join("build"));
        command.args([
            "install",
            "--quiet",
            "--locked",
            "--profile",
            "dev",
            "--config",
            "profile.dev.debug=false",
        ]);
        command.args(["--version", CARGO_DENY, "cargo-deny", "--root"]).arg(&root);
        succeed(&mut command).context(
            "cargo-deny is missing (it judges licences and sources of dependencies) and could not be installed",
        )?;
    }
    Ok(binary)
}

/// Runs the named checks of cargo-deny over the workspace.
pub fn deny(workspace: &Workspace, binary: &Path, checks: &[&str]) -> Result<()> {
    let mut command = std::process::Command::new(binary);
    command.current_dir(&workspace.root).args(["--workspace", "--locked", "check", "--hide-inclusion-graph"]);
    succeed(command.args(checks))
}
