//! Deletions: from the image specification's marker files to overlayfs' own marks.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::tree::failed;
use super::{DIRECTORY, OPERATION};
use crate::{Error, ErrorKind, Result};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// How a deleted file and an opaque directory are written for overlayfs.
///
/// A deleted file is a character device 0/0, which an ordinary user may make too since Linux 5.8; where that is
/// refused, a [`WhiteoutForm::User`] writes an empty file with `user.overlay.whiteout` in a directory with
/// `user.overlay.opaque=x`, which overlayfs reads since Linux 6.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhiteoutForm {
    /// `trusted.overlay.*`, for overlays mounted by the machine's root.
    Trusted,
    /// `user.overlay.*`, for overlays mounted with `userxattr` in a user namespace.
    User,
}

impl WhiteoutForm {
    /// [`WhiteoutForm::Trusted`] for root outside of user namespaces, [`WhiteoutForm::User`] for everybody else.
    pub fn detect() -> Self {
        let initial = std::fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
        if rustix::process::geteuid().is_root() && initial { Self::Trusted } else { Self::User }
    }

    const fn opaque_attribute(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// What a marker file of the image specification says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Marker<'a> {
    /// The file of this name in the lower layers is gone.
    Deleted(&'a [u8]),
    /// All that the lower layers have in this directory is gone.
    Opaque,
    /// Bookkeeping of AUFS, which says nothing.
    Ignored,
}

/// Reads a file name as a marker; `None` if it is an ordinary file.
pub(super) fn parse(name: &[u8]) -> Result<Option<Marker<'_>>> {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
    match rest {
        _ if name == OPAQUE => Ok(Some(Marker::Opaque)),
        _ if rest.starts_with(PREFIX) => Ok(Some(Marker::Ignored)),
        b"" | b"." | b".." => Err(Error::new(ErrorKind::Hostile, OPERATION, "a whiteout names no file")),
        _ => Ok(Some(Marker::Deleted(rest))),
    }
}

/// Whether this is what [`delete`] makes as a device.
pub(super) fn is_whiteout(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Marks `name` as deleted; nothing of that name exists in `parent`.
pub(super) fn delete(parent: BorrowedFd<'_>, name: &[u8], form: WhiteoutForm) -> Result<()> {
    match fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS | Errno::INVAL) if form == WhiteoutForm::User => {
            delete_by_attribute(parent, name)
        }
        Err(errno) => Err(failed("write a whiteout", errno)),
    }
}

pub(super) fn delete_by_attribute(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| failed("write a whiteout", e))?;
    set(file.as_fd(), "user.overlay.whiteout", b"y")?;
    // `x` tells overlayfs to look for such files here. `y` stays: an opaque directory hides the lower file anyway.
    match fs::fsetxattr(parent, "user.overlay.opaque", b"x", XattrFlags::CREATE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("mark a directory for overlayfs", errno)),
    }
}

/// Whether this is what [`delete_by_attribute`] makes.
pub(super) fn is_attribute_whiteout(parent: BorrowedFd<'_>, name: &[u8], stat: &fs::Stat) -> bool {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size != 0 {
        return false;
    }
    let mut value = [0_u8; 8];
    fs::openat(parent, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .is_ok_and(|file| fs::fgetxattr(&file, "user.overlay.whiteout", &mut value).is_ok())
}

/// Makes a directory hide all that is below it in lower layers.
pub(super) fn make_opaque(directory: BorrowedFd<'_>, form: WhiteoutForm) -> Result<()> {
    set(directory, form.opaque_attribute(), b"y")
}

/// Like [`make_opaque`], for a directory in `parent`.
pub(super) fn make_child_opaque(parent: BorrowedFd<'_>, name: &[u8], form: WhiteoutForm) -> Result<()> {
    let directory = fs::openat(parent, name, DIRECTORY, Mode::empty())
        .map_err(|errno| failed("open a directory", errno))?;
    make_opaque(directory.as_fd(), form)
}

/// What is in `parent` under `name`.
pub(super) fn stat(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<fs::Stat>> {
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed("look at a file", errno)),
    }
}

fn set(file: BorrowedFd<'_>, name: &'static str, value: &[u8]) -> Result<()> {
    fs::fsetxattr(file, name, value, XattrFlags::empty()).map_err(|errno| match errno {
        Errno::OPNOTSUPP => Error::new(
            ErrorKind::Unsupported,
            OPERATION,
            format!("the file system of the image store takes no {name} attribute"),
        )
        .with_remedy(
            "keep the image store on a file system with extended attributes, such as ext4, xfs or btrfs",
        ),
        errno => failed("mark a directory for overlayfs", errno).with("attribute", name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_files_are_told_from_ordinary_ones() {
        assert_eq!(parse(b"file").unwrap(), None);
        assert_eq!(parse(b".whx").unwrap(), None);
        assert_eq!(parse(b".wh.file").unwrap(), Some(Marker::Deleted(b"file")));
        assert_eq!(parse(b".wh..wh..opq").unwrap(), Some(Marker::Opaque));
        assert_eq!(parse(b".wh..wh.plnk").unwrap(), Some(Marker::Ignored));
        for name in [&b".wh."[..], b".wh..", b".wh..."] {
            assert_eq!(parse(name).unwrap_err().kind(), ErrorKind::Hostile);
        }
    }
}
