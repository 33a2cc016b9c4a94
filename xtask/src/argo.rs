//! The controller of argo-rollouts, which `cargo xtask bench idle` compares with: built from its Go module once, and kept
//! outside the clone, under a hash of what names it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cluster::{fingerprint, path_with, used};
use crate::prerequisite::{self, Task};
use crate::workspace::{Workspace, output_of, succeed};

/// The module that pins it, relative to the root.
const PINS: &str = "benches/argo-rollouts/";
/// Its own module, and the program in it.
const MODULE: &str = "github.com/argoproj/argo-rollouts";
const PROGRAM: &str = "cmd/rollouts-controller";
/// Where its module has the definitions of its kinds.
const DEFINITIONS: &str = "manifests/crds";

/// The folder with `rollouts-controller`, `definitions/` and `version`; built now if what is pinned has changed since.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let kit = workspace.cache.join("argo-rollouts").join(fingerprint(workspace, PINS)?);
    if !kit.is_dir() {
        prerequisite::ensure(Task::BenchIdle)?;
        eprintln!("building argo-rollouts once, into {} (minutes)", kit.display());
        // Beside its place first, so that a folder that is there is whole.
        let unfinished = kit.with_extension("unfinished");
        if unfinished.is_dir() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(unfinished.join("definitions"))
            .with_context(|| format!("failed to make {}", unfinished.display()))?;
        assemble(workspace, &unfinished).context("argo-rollouts could not be built")?;
        fs::rename(&unfinished, &kit).with_context(|| format!("failed to make {}", kit.display()))?;
    }
    used(&kit)?;
    Ok(kit)
}

fn assemble(workspace: &Workspace, into: &Path) -> Result<()> {
    let go = prerequisite::go().context("go is missing")?;
    let command = || -> Result<Command> {
        let mut command = Command::new(&go);
        command.current_dir(workspace.root.join(PINS)).env("PATH", path_with(&go)?).env("CGO_ENABLED", "0");
        Ok(command)
    };
    let mut build = command()?;
    build.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(into.join("rollouts-controller"));
    succeed(build.arg(format!("{MODULE}/{PROGRAM}")))?;
    let mut list = command()?;
    list.args(["list", "-m", "-f", "{{.Version}} {{.Dir}}", MODULE]);
    let listed = String::from_utf8(output_of(&mut list)?).context("the module's folder is not UTF-8")?;
    let (version, module) = listed.trim().split_once(' ').context("go does not tell where the module is")?;
    fs::write(into.join("version"), version)?;
    let mut copied = 0;
    for entry in fs::read_dir(Path::new(module).join(DEFINITIONS))? {
        let file = entry?;
        if file.file_name().to_string_lossy().ends_with("-crd.yaml") {
            // Files of modules may not be written to, and a copy by `fs::copy` would not be either.
            fs::write(into.join("definitions").join(file.file_name()), fs::read(file.path())?)?;
            copied += 1;
        }
    }
    ensure!(copied > 0, "the module {MODULE} {version} has no definitions in {DEFINITIONS}");
    Ok(())
}
