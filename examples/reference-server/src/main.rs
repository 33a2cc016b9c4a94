//! A platform on one machine, and its command line, in one binary.
//!
//! - [`server`] puts the platform together from the crates and keeps it running.
//! - [`api`] is its REST interface: thin, each handler is one action of a session.
//! - [`cli`] is the command line, which speaks only REST.
//! - [`rest`] is what goes over the wire between the two, beside the engine's own types.

// A refusal is the rare case, and carries what its reader needs.
#![allow(clippy::result_large_err)]
// Lines for people are put together piece by piece, and each kind of line says its own tone.
#![allow(clippy::format_push_string, clippy::format_collect, clippy::match_same_arms, clippy::unused_self)]

mod api;
mod cli;
mod rest;
mod server;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::args::{Arguments, Command};

fn main() -> ExitCode {
    // This binary is the supervisor of each instance and the gateway too.
    paas_local::helper_main();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { cli::Exit::Usage.code() } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match arguments.command {
        Command::Server(options) => server::main(options),
        command => cli::run(&arguments.common, command),
    }
}
