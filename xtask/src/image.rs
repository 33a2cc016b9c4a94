//! The image of the server, as an OCI layout: `examples/server-image` makes it, because this program stays free of our crates.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::{Workspace, cargo, succeed};

/// Which image, and where.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The layout directory to write into; it is made if it is not there
    layout: PathBuf,
    /// Build the binary in this profile: `dev` takes a few minutes less, and makes a server that is slower and larger
    #[arg(long, default_value = "release")]
    profile: String,
}

/// Builds the server, and writes its image. Standard output is the digest.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let layout = std::path::absolute(&options.layout).context("failed to make the layout's path absolute")?;
    let mut build = cargo();
    build.current_dir(&workspace.root).args(["build", "--quiet", "--locked", "--profile", &options.profile]);
    succeed(build.args(["--package", "reference-server", "--bin", "paas"]))
        .context("the server could not be built")?;
    // Cargo keeps what is built by `dev` under another name.
    let folder = if options.profile == "dev" { "debug" } else { &options.profile };
    let mut image = cargo();
    image.current_dir(&workspace.root).args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "server-image",
        "--",
    ]);
    image.arg(workspace.target.join(folder).join("paas")).arg(&layout);
    succeed(&mut image).context("the image could not be made")
}
