//! `cargo xtask bench`: measurements of the whole, then the benches of the parts, with the release profile.

use std::process::Command;

use anyhow::{Context, Result};

use crate::prerequisite::{self, Need};
use crate::sample;
use crate::workspace::{Workspace, cargo, succeed};

/// The name of what measures the whole, beside those of criterion's benches.
const SCENARIOS: &str = "scenarios";

/// Which benches.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only benches whose name contains this: `scenarios`, or one of criterion's
    filter: Option<String>,
}

/// Runs them; criterion compares with the last run.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let filter = options.filter.as_deref();
    if filter.is_none_or(|filter| SCENARIOS.contains(filter)) {
        scenarios(workspace)?;
    }
    if filter != Some(SCENARIOS) {
        parts(workspace, filter)?;
    }
    Ok(())
}

/// The real binary with real containers.
fn scenarios(workspace: &Workspace) -> Result<()> {
    prerequisite::ensure(&[Need::StaticLibc])?;
    let sample = sample::build(workspace)?;
    let mut build = cargo();
    build.current_dir(&workspace.root);
    build.args([
        "build",
        "--locked",
        "--release",
        "--package",
        "reference-server",
        "--package",
        "paas-benches",
    ]);
    build.args(["--bin", "paas", "--bin", SCENARIOS]);
    succeed(&mut build).context("what is measured could not be built")?;
    let folder = workspace.target.join("release");
    succeed(Command::new(folder.join(SCENARIOS)).arg(folder.join("paas")).arg(sample))
}

fn parts(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args(["bench", "--locked", "--package", "paas-benches", "--benches", "--"]).args(filter);
    succeed(&mut command)
}
