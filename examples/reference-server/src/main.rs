//! The binary `paas`. Everything is in the library, so that other programs can be the server, too.

use std::process::ExitCode;

fn main() -> ExitCode {
    reference_server::main()
}
