//! rustfmt, clippy and rustdoc, where every warning is an error.

use anyhow::Result;

use super::read_ignored;
use crate::workspace::{Package, Workspace, cargo, succeed};

/// Nothing would be changed by `cargo fmt`.
pub fn formatting(workspace: &Workspace) -> Result<()> {
    succeed(cargo().current_dir(&workspace.root).args(["fmt", "--all", "--check"]))
}

/// Clippy over a selection of packages, targets and features.
pub fn clippy(workspace: &Workspace, selection: &[&str]) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["clippy", "--quiet", "--locked"]).args(selection);
    succeed(command.args(["--", "-D", "warnings"]))
}

/// Clippy over the programs of tests that `cargo test` leaves out, and "all targets" with it; with all features, as those.
pub fn clippy_of_programs(workspace: &Workspace) -> Result<()> {
    let programs = read_ignored(workspace)?.programs;
    let mut selection = vec!["--workspace", "--all-features"];
    selection.extend(programs.iter().flat_map(|program| ["--test", &program.name]));
    clippy(workspace, &selection)
}

/// Clippy over what is another one without features: libraries with default ones, and examples that have something else
/// instead. In one run: each selection of packages has its own features of the crates below, which cargo builds again.
pub fn clippy_without_features(workspace: &Workspace) -> Result<()> {
    let mut selection = vec!["--no-default-features", "--lib", "--bins"];
    for package in workspace.packages.iter().filter(|package| differs_without_features(package)) {
        selection.extend(["--package", &package.name]);
    }
    clippy(workspace, &selection)
}

fn differs_without_features(package: &Package) -> bool {
    if package.has_library() {
        package.features.get("default").is_some_and(|features| !features.is_empty())
    } else {
        !package.features.is_empty()
    }
}

/// The documentation of every public item, with all features: no broken link, no bare address.
pub fn documentation(workspace: &Workspace) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root).env("RUSTDOCFLAGS", "-D warnings");
    succeed(command.args(["doc", "--quiet", "--locked", "--workspace", "--no-deps", "--all-features"]))
}
