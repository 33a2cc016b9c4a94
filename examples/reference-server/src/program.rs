//! The program `paas`.

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli;
use crate::cli::args::{Arguments, Command};
use crate::server::Server;

/// Does what the command line says; the whole of the binary `paas`.
pub fn main() -> ExitCode {
    // This program is the supervisor of each instance and the gateway, too.
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
        Command::Server(options) => Server::new(options).run(),
        command => cli::run(&arguments.common, command),
    }
}
