//! `server-image BINARY LAYOUT`: writes the image of the server into an OCI layout directory.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

const USAGE: &str = "usage: server-image BINARY LAYOUT";

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let binary = arguments.next().context(USAGE)?;
    let layout = arguments.next().context(USAGE)?;
    ensure!(arguments.next().is_none(), USAGE);
    let digest = server_image::write_layout(&binary, &layout)?;
    println!("{digest}");
    Ok(())
}
