//! `cargo xtask bench`: the benches of the parts, with the release profile.

use anyhow::Result;

use crate::workspace::{Workspace, cargo, succeed};

/// Which benches.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only benches whose name contains this
    filter: Option<String>,
}

/// Runs them; criterion compares with the last run.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args(["bench", "--locked", "--package", "paas-benches", "--benches", "--"]).args(&options.filter);
    succeed(&mut command)
}
