//! `paas init`. It is the one command that needs no server: it prepares one.

use std::path::Path;

use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::server::init::{self, KEYS, TOKEN};

pub fn run(output: Output, folder: &Path) -> Result<(), Failure> {
    let made = init::init(folder).map_err(|error| Failure::new(Exit::Error, format!("{error:#}")))?;
    let told = |name: &str, is_new: bool| {
        let what = if is_new { "was made" } else { "was there, and stays" };
        format!("{} {what}\n", folder.join(name).display())
    };
    output.show(&made, |made| told(KEYS, made.keys) + &told(TOKEN, made.token))
}
