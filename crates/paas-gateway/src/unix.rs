//! Small matters of the operating system: processes, stream sockets at long paths, files written whole.

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::{Result, handover::short_address};

/// Listens at a path of any length, for streams. What is at the path is replaced at once, without a gap.
pub(crate) fn listen_stream(path: &Path) -> Result<OwnedFd> {
    let operation = "listen for control connections";
    let fail = |source: io::Error| crate::Error::io(operation, source).with("path", path.display());
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| fail(errno.into()))?;
    let (folder, address) = short_address(&fresh, operation)?;
    match std::fs::remove_file(&fresh) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(fail(source)),
        _ => {}
    }
    rustix::net::bind(&socket, &address).map_err(|errno| fail(errno.into()))?;
    drop(folder);
    std::fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(fail)?;
    rustix::net::listen(&socket, 64).map_err(|errno| fail(errno.into()))?;
    std::fs::rename(&fresh, path).map_err(fail)?;
    Ok(socket)
}

/// Connects to a path of any length. A full backlog counts as nobody there.
pub(crate) fn connect_stream(path: &Path) -> Result<OwnedFd> {
    let operation = "connect to the gateway";
    let fail = |source: io::Error| crate::Error::io(operation, source).with("path", path.display());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|errno| fail(errno.into()))?;
    let (folder, address) = short_address(path, operation)?;
    let connected = rustix::net::connect(&socket, &address);
    drop(folder);
    match connected {
        Ok(()) => Ok(socket),
        Err(Errno::AGAIN) => Err(fail(io::ErrorKind::ConnectionRefused.into())),
        Err(errno) => Err(fail(errno.into())),
    }
}

/// Writes a file so that after a crash of this process either the old or the new content is there, whole. It does not
/// wait for the disk: what a gateway writes down is about processes, none of which outlives a crash of the machine.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, content)?;
    std::fs::rename(&fresh, path)
}

/// When a process was started, in clock ticks since the boot: with its id, its identity (proc(5), field 22 of `stat`).
/// `None` if there is no such process, or only its remains.
pub(crate) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Allows as many open files as the system lets this process have.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(errno) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%errno, "the number of open files stays as it is");
    }
}

/// How many connections, each joined to another one, the limit of open files leaves room for.
pub(crate) fn most_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    // Listeners, logs, the sockets in stock, the runtime's own.
    (files.saturating_sub(128) / 2).max(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_a_missing_one_is_not() {
        let own = start_ticks(std::process::id()).expect("this process runs");
        assert!(own > 0);
        assert_eq!(start_ticks(u32::MAX), None);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
