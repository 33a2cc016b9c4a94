//! Removing what was unpacked.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode};
use rustix::io::Errno;
use rustix::path::Arg;

use super::tree::failed;
use super::{DIRECTORY, OPERATION};
use crate::{Error, ErrorKind, Result};

/// How many directories are open at once before the deeper ones are moved up.
const DEPTH: usize = 32;

/// Removes a file or a directory with all that is in it, following no symbolic link.
///
/// Unlike [`std::fs::remove_dir_all`] it also removes directories that their owner may not read or write, and trees of
/// any depth. That the file does not exist is no error.
///
/// # Errors
/// Those of the operating system. Files of other users, as a container under mapped ids leaves them, can only be removed
/// inside of the same user namespace.
pub fn remove_tree(parent: impl AsFd, name: impl Arg) -> Result<()> {
    let name = name.into_c_str().map_err(|errno| failed("remove a file", errno))?;
    remove(parent.as_fd(), name.to_bytes()).map_err(|error| error.with("file", super::show(name.to_bytes())))
}

fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says the former, POSIX the latter. If it is no directory after all, opening it says so.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(failed("remove a file", errno)),
    }
    let top = open(parent, name)?;
    let mut moved = 0_u64;
    loop {
        empty(top.as_fd(), top.as_fd(), &mut moved, 0)?;
        match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Deep directories were moved up; another round removes them.
            Err(Errno::NOTEMPTY) if moved > 0 => moved = 0,
            Err(errno) => return Err(failed("remove a directory", errno)),
        }
    }
}

fn empty(top: BorrowedFd<'_>, directory: BorrowedFd<'_>, moved: &mut u64, depth: usize) -> Result<()> {
    for (name, kind) in list(directory)? {
        let name = name.as_bytes();
        if kind != FileType::Directory {
            match fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(errno) => return Err(failed("remove a file", errno)),
            }
        }
        let child = open(directory, name)?;
        if depth < DEPTH {
            empty(top, child.as_fd(), moved, depth + 1)?;
            match fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed("remove a directory", errno)),
            }
        } else {
            loop {
                *moved += 1;
                let up = format!(".removed-{}-{moved}", std::process::id());
                match fs::renameat_with(directory, name, top, up.as_str(), fs::RenameFlags::NOREPLACE) {
                    Ok(()) => break,
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(failed("move a deep directory", errno)),
                }
            }
        }
    }
    Ok(())
}

/// Opens a directory, giving its owner the rights on it that emptying needs.
fn open(parent: BorrowedFd<'_>, name: &[u8]) -> Result<rustix::fd::OwnedFd> {
    let opened = fs::openat(parent, name, DIRECTORY, Mode::empty());
    let directory = match opened {
        Err(Errno::ACCESS) => {
            fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())
                .map_err(|errno| failed("make a directory removable", errno))?;
            fs::openat(parent, name, DIRECTORY, Mode::empty())
        }
        other => other,
    }
    .map_err(|errno| failed("remove a file", errno))?;
    let mode = fs::fstat(&directory).map_err(|errno| failed("look at a directory", errno))?.st_mode;
    if !Mode::from_raw_mode(mode).contains(Mode::RWXU) {
        // Another user's directory cannot be changed; whether root may empty it all the same, unlink will tell.
        let _ = fs::fchmod(&directory, Mode::RWXU);
    }
    Ok(directory)
}

fn list(directory: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>> {
    let entries = Dir::read_from(directory).map_err(|errno| failed("list a directory", errno))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|errno| failed("list a directory", errno))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Refuses a directory that has anything in it.
pub(super) fn require_empty(directory: BorrowedFd<'_>) -> Result<()> {
    if list(directory)?.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, OPERATION, "the directory to unpack into is not empty"))
}
