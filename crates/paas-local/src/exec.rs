//! Programs executed in a running instance.
use std::{path::Path, process::ExitCode};
pub(crate) fn join_main(_dir: &Path) -> ExitCode {
    ExitCode::FAILURE
}
pub(crate) fn inside_main() -> ExitCode {
    ExitCode::FAILURE
}
