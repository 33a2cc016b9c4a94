//! The helpers that the embedding program becomes when it starts itself again.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use crate::{container, exec, idmap, shim, signals};

/// Runs a helper if this process was started as one, and does not return then. The embedding program calls it first in
/// `main`, before it starts threads or reads its arguments:
///
/// ```no_run
/// # #[allow(clippy::needless_doctest_main)]
/// fn main() {
///     paas_local::helper_main();
///     // the program itself
/// }
/// ```
///
/// The runtime has no program of its own to install; it starts `/proc/self/exe` with a first argument that begins with
/// two underscores. Without such an argument nothing happens.
pub fn helper_main() {
    let mut args = std::env::args_os().skip(1);
    let Some(name) = args.next() else { return };
    let mut next_path = || args.next().map(PathBuf::from);
    if matches!(name.to_str(), Some("__shim" | "__exec")) {
        signals::ignored_become_default();
    }
    let code = match name.to_str() {
        Some("__shim") => next_path().map(|dir| shim::main(&dir)),
        Some("__init") => next_path().map(|dir| container::init_main(&dir)),
        Some("__exec") => next_path().map(|dir| exec::join_main(&dir)),
        Some("__exec_inside") => Some(container::command_main()),
        Some("__gateway") => next_path().map(|dir| gateway_main(&dir)),
        Some("__userns") => Some(idmap::helper_main(args.collect::<Vec<OsString>>())),
        _ => return,
    };
    let code = code.unwrap_or(ExitCode::from(125));
    // `ExitCode` has no number to be read; the two that are used are told apart by comparing.
    std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 125 })
}

/// The data plane, in a process of its own.
fn gateway_main(folder: &std::path::Path) -> ExitCode {
    match paas_gateway::process::run(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.chain());
            ExitCode::FAILURE
        }
    }
}
