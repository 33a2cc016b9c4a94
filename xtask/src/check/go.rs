//! The Go code of tests: its form, what its compiler suspects, and the test of `deploy/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::workspace::{Workspace, output_of, succeed};

/// The modules, relative to the root.
const MODULES: [&str; 2] = ["tests/cluster", "tests/deploy"];
/// The one whose tests need nothing but Go.
const DEPLOY: &str = "tests/deploy";

/// Nothing would be changed by `gofmt`, which lies beside `go`.
pub fn formatting(workspace: &Workspace, go: &Path) -> Result<()> {
    let mut command = Command::new(go.with_file_name("gofmt"));
    command.current_dir(&workspace.root).arg("-l").args(workspace.files(&[".go"])?);
    let unformatted = String::from_utf8_lossy(&output_of(&mut command)?).into_owned();
    eprint!("{unformatted}");
    ensure!(unformatted.is_empty(), "{} files differ; run `gofmt -w`", unformatted.lines().count());
    Ok(())
}

/// `go vet` suspects nothing. What the modules are made of is compiled for it, which takes minutes the first time.
pub fn vet(workspace: &Workspace, go: &Path) -> Result<()> {
    MODULES.iter().try_for_each(|module| succeed(in_module(workspace, go, module).args(["vet", "./..."])))
}

/// The manifests and the chart say the same.
pub fn deploy(workspace: &Workspace, go: &Path) -> Result<()> {
    succeed(in_module(workspace, go, DEPLOY).args(["test", "./..."]))
}

fn in_module(workspace: &Workspace, go: &Path, module: &str) -> Command {
    let mut command = Command::new(go);
    let folder: PathBuf = workspace.root.join(module);
    // As `tests/cluster` builds the clusters, so that one compilation does for both.
    command.current_dir(folder).env("CGO_ENABLED", "0").env("GOGC", "400");
    command.env("GOFLAGS", "-trimpath -gcflags=all=-dwarf=false");
    command
}
