//! Inside a container: from a fresh pid 1 to the image's program.
//!
//! The order matters. Namespaces first; then everything that is taken from the host is opened while the host is still
//! seen; then the root is exchanged; only then is anything mounted, so that links of the image lead nowhere but into the
//! image; then rights are dropped, and last the filter of system calls is put on.

mod command;
mod files;
mod init;
mod mounts;
mod privileges;
mod program;
mod seccomp;
mod terminal;
mod user;

pub(crate) use command::main as command_main;
pub(crate) use init::main as init_main;

/// Whether this build filters system calls.
pub(crate) fn seccomp_available() -> bool {
    seccomp::TARGET.is_some()
}
