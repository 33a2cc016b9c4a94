//! `sample-images LAYOUT`: writes the sample's images into an OCI layout directory.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let layout = PathBuf::from(arguments.next().context("usage: sample-images LAYOUT")?);
    ensure!(arguments.next().is_none(), "usage: sample-images LAYOUT");
    sample_images::write_layout(&sample_images::binary()?, &layout)
}
