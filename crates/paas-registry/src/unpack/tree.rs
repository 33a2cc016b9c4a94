//! The directory that a layer is unpacked into.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::path::EntryPath;
use super::whiteout::{self, Marker};
use super::{BENEATH, DIRECTORY, OPERATION, Ownership, UnpackOptions, remove};
use crate::tarball::{Entry, TarReader};
use crate::{Error, ErrorKind, Result};

/// The end of the year 9999; later times are cut to it.
const TIME_MAX: i64 = 253_402_300_799;

pub(super) struct Tree<'a> {
    root: BorrowedFd<'a>,
    options: &'a UnpackOptions,
    /// The parent that was used last; most entries have the same one as the entry before.
    last_parent: Option<(Vec<u8>, OwnedFd)>,
    /// Final attributes of directories, set at the end: until then each is writable and changes its time.
    directories: BTreeMap<Vec<u8>, Attributes>,
    directory_name_bytes: u64,
    outcome: Outcome,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Attributes {
    mode: u32,
    mtime: i64,
}

#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) skipped_devices: u64,
    pub(super) skipped_xattrs: u64,
    pub(super) opaque_root: bool,
}

/// What was in the place of a new entry.
#[derive(PartialEq, Eq)]
enum Before {
    Nothing,
    Directory,
    Removed,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, options: &'a UnpackOptions) -> Result<Self> {
        fs::fchmod(root, Mode::RWXU).map_err(|errno| failed("prepare the directory", errno))?;
        let mut directories = BTreeMap::new();
        directories.insert(Vec::new(), Attributes { mode: 0o755, mtime: 0 });
        Ok(Self {
            root,
            options,
            last_parent: None,
            directories,
            directory_name_bytes: 0,
            outcome: Outcome::default(),
            buffer: vec![0; 128 * 1024],
        })
    }

    pub(super) fn root_directory(&mut self, entry: &Entry) -> Result<()> {
        self.own(self.root, entry)?;
        self.set_xattrs(self.root, entry)?;
        self.directories.insert(Vec::new(), Attributes { mode: entry.mode, mtime: entry.mtime });
        Ok(())
    }

    pub(super) fn directory(&mut self, path: &EntryPath, entry: &Entry) -> Result<()> {
        let parent = self.parent(path)?;
        let before = self.clear(parent.as_fd(), path, true)?;
        if before != Before::Directory {
            self.make_directory(parent.as_fd(), path.name(), before == Before::Removed)?;
        }
        let directory = fs::openat(&parent, path.name(), DIRECTORY, Mode::empty())
            .map_err(|errno| failed("open a directory", errno))?;
        self.own(directory.as_fd(), entry)?;
        self.set_xattrs(directory.as_fd(), entry)?;
        self.remember(path.as_bytes(), Attributes { mode: entry.mode, mtime: entry.mtime })
    }

    pub(super) fn file<R: Read>(
        &mut self,
        path: &EntryPath,
        entry: &Entry,
        content: &mut TarReader<R>,
    ) -> Result<()> {
        let parent = self.parent(path)?;
        self.clear(parent.as_fd(), path, false)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&parent, path.name(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| failed("create a file", errno))?;
        let mut file = File::from(file);
        let mut left = entry.size;
        while left > 0 {
            let count = match content.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io(OPERATION, error)),
            };
            file.write_all(&self.buffer[..count]).map_err(|error| Error::io(OPERATION, error))?;
            left -= count as u64;
        }
        // In this order: a change of owner takes setuid bits away, and a mode may take the right to set attributes.
        self.own(file.as_fd(), entry)?;
        self.set_xattrs(file.as_fd(), entry)?;
        fs::fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(|errno| failed("set a mode", errno))?;
        fs::futimens(&file, &times(entry.mtime)).map_err(|errno| failed("set a time", errno))
    }

    pub(super) fn symlink(&mut self, path: &EntryPath, entry: &Entry) -> Result<()> {
        if entry.link.contains(&0) || entry.link.is_empty() {
            return Err(Error::new(
                ErrorKind::Hostile,
                OPERATION,
                "a symbolic link has an impossible target",
            ));
        }
        let parent = self.parent(path)?;
        self.clear(parent.as_fd(), path, false)?;
        // Where it leads is the container's business: nothing here ever follows it.
        fs::symlinkat(entry.link.as_slice(), &parent, path.name())
            .map_err(|errno| failed("make a link", errno))?;
        self.own_at(parent.as_fd(), path.name(), entry)?;
        fs::utimensat(&parent, path.name(), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("set a time", errno))
    }

    pub(super) fn fifo(&mut self, path: &EntryPath, entry: &Entry) -> Result<()> {
        let parent = self.parent(path)?;
        self.clear(parent.as_fd(), path, false)?;
        fs::mknodat(&parent, path.name(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .map_err(|errno| failed("make a FIFO", errno))?;
        self.own_at(parent.as_fd(), path.name(), entry)?;
        fs::chmodat(&parent, path.name(), Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(|errno| failed("set a mode", errno))?;
        fs::utimensat(&parent, path.name(), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("set a time", errno))
    }

    pub(super) fn hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<()> {
        let hostile = |message: &str| {
            Error::new(ErrorKind::Hostile, OPERATION, message)
                .with("hard link to", super::show(target.as_bytes()))
        };
        if path == target {
            return Err(hostile("a hard link points to itself"));
        }
        let target_parent = open_beneath(self.root, target.parent()).map_err(|errno| match errno {
            Errno::NOENT => hostile("a hard link points to what is not in the same layer"),
            Errno::LOOP | Errno::NOTDIR | Errno::XDEV => {
                hostile("a hard link leads through a link or a file")
            }
            errno => failed("make a hard link", errno),
        })?;
        let Some(stat) = whiteout::stat(target_parent.as_fd(), target.name())? else {
            return Err(hostile("a hard link points to what is not in the same layer"));
        };
        if !matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::RegularFile | FileType::Symlink | FileType::Fifo
        ) || whiteout::is_attribute_whiteout(target_parent.as_fd(), target.name(), &stat)
        {
            return Err(hostile("a hard link points to what is neither a file nor a link"));
        }
        let parent = self.parent(path)?;
        let old = whiteout::stat(parent.as_fd(), path.name())?;
        if old.is_some_and(|old| (old.st_dev, old.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        if self.clear(parent.as_fd(), path, false)? == Before::Removed
            && whiteout::stat(target_parent.as_fd(), target.name())?.is_none()
        {
            return Err(hostile("a hard link replaces the directory of its own target"));
        }
        // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is a second name of the link itself.
        fs::linkat(&target_parent, target.name(), &parent, path.name(), AtFlags::empty())
            .map_err(|errno| failed("make a hard link", errno))
    }

    pub(super) fn skip_device(&mut self) {
        self.outcome.skipped_devices += 1;
    }

    /// Markers concern the lower layers only: what this layer itself has stays.
    pub(super) fn whiteout(&mut self, path: &EntryPath, marker: Marker<'_>) -> Result<()> {
        let form = self.options.whiteouts;
        match marker {
            Marker::Ignored => Ok(()),
            Marker::Opaque if path.parent().is_empty() => {
                self.outcome.opaque_root = true;
                Ok(())
            }
            Marker::Opaque => {
                let parent = self.parent(path)?;
                whiteout::make_opaque(parent.as_fd(), form)
            }
            Marker::Deleted(name) => {
                let parent = self.parent(path)?;
                match whiteout::stat(parent.as_fd(), name)? {
                    None => whiteout::delete(parent.as_fd(), name, form),
                    Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                        whiteout::make_child_opaque(parent.as_fd(), name, form)
                    }
                    Some(_) => Ok(()),
                }
            }
        }
    }

    /// Gives directories their final modes and times, children first, and sums up.
    pub(super) fn finish(mut self) -> Result<Outcome> {
        self.last_parent = None;
        for (path, attributes) in self.directories.iter().rev() {
            let set = |directory: BorrowedFd<'_>| {
                fs::fchmod(directory, Mode::from_raw_mode(attributes.mode))?;
                fs::futimens(directory, &times(attributes.mtime))
            };
            let done = if path.is_empty() {
                set(self.root)
            } else {
                open_beneath(self.root, path).and_then(|directory| set(directory.as_fd()))
            };
            done.map_err(|errno| failed("set a directory's mode", errno).with("entry", super::show(path)))?;
        }
        Ok(self.outcome)
    }

    /// The directory of an entry, made if it is not there.
    fn parent(&mut self, path: &EntryPath) -> Result<OwnedFd> {
        let wanted = path.parent();
        if let Some((last, directory)) = &self.last_parent
            && last == wanted
        {
            return duplicate(directory.as_fd());
        }
        let directory = if wanted.is_empty() {
            duplicate(self.root)?
        } else {
            match open_beneath(self.root, wanted) {
                Ok(directory) => directory,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.make_parents(wanted)?,
                Err(Errno::XDEV) => return Err(through_link()),
                Err(errno) => return Err(failed("open a directory", errno)),
            }
        };
        self.last_parent = Some((wanted.to_owned(), duplicate(directory.as_fd())?));
        Ok(directory)
    }

    fn make_parents(&mut self, wanted: &[u8]) -> Result<OwnedFd> {
        let mut current = duplicate(self.root)?;
        let mut end = 0;
        for part in wanted.split(|byte| *byte == b'/') {
            end += part.len() + usize::from(end > 0);
            current = match open_beneath(current.as_fd(), part) {
                Ok(next) => next,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                    let deleted = match whiteout::stat(current.as_fd(), part)? {
                        None => false,
                        Some(stat)
                            if whiteout::is_whiteout(&stat)
                                || whiteout::is_attribute_whiteout(current.as_fd(), part, &stat) =>
                        {
                            fs::unlinkat(&current, part, AtFlags::empty())
                                .map_err(|errno| failed("replace a whiteout", errno))?;
                            true
                        }
                        Some(_) => return Err(through_link()),
                    };
                    self.make_directory(current.as_fd(), part, deleted)?;
                    self.remember(&wanted[..end], Attributes { mode: 0o755, mtime: 0 })?;
                    open_beneath(current.as_fd(), part).map_err(|errno| failed("open a directory", errno))?
                }
                Err(errno) => return Err(failed("open a directory", errno)),
            };
        }
        Ok(current)
    }

    fn make_directory(&self, parent: BorrowedFd<'_>, name: &[u8], opaque: bool) -> Result<()> {
        fs::mkdirat(parent, name, Mode::RWXU).map_err(|errno| failed("make a directory", errno))?;
        // What it replaces had hidden the lower layers' directory of the same name, and so must it.
        if opaque { whiteout::make_child_opaque(parent, name, self.options.whiteouts) } else { Ok(()) }
    }

    fn remember(&mut self, path: &[u8], attributes: Attributes) -> Result<()> {
        if self.directories.insert(path.to_owned(), attributes).is_none() {
            self.directory_name_bytes += path.len() as u64;
        }
        if self.directory_name_bytes > self.options.limits.directory_name_bytes {
            return Err(Error::new(
                ErrorKind::TooLarge,
                OPERATION,
                format!(
                    "the names of the directories have more than {} bytes",
                    self.options.limits.directory_name_bytes
                ),
            ));
        }
        Ok(())
    }

    /// Makes room for an entry; a directory stays if another comes in its place.
    fn clear(&mut self, parent: BorrowedFd<'_>, path: &EntryPath, for_directory: bool) -> Result<Before> {
        let Some(stat) = whiteout::stat(parent, path.name())? else { return Ok(Before::Nothing) };
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if directory && for_directory {
            return Ok(Before::Directory);
        }
        remove::remove_tree(parent, path.name())?;
        if directory {
            let mut below = path.as_bytes().to_owned();
            self.directories.remove(&below);
            below.push(b'/');
            let range = (Bound::Included(below.clone()), Bound::Unbounded);
            let gone: Vec<_> = self
                .directories
                .range(range)
                .map(|(path, _)| path)
                .take_while(|p| p.starts_with(&below))
                .cloned()
                .collect();
            for path in gone {
                self.directories.remove(&path);
            }
            self.last_parent = None;
        }
        Ok(Before::Removed)
    }

    fn ids(&self, entry: &Entry) -> Result<Option<(Uid, Gid)>> {
        if self.options.ownership == Ownership::Squash {
            return Ok(None);
        }
        let id = |value: u64| {
            u32::try_from(value).ok().filter(|id| *id != u32::MAX).ok_or_else(|| {
                Error::new(ErrorKind::Hostile, OPERATION, format!("an owner has the impossible id {value}"))
            })
        };
        Ok(Some((Uid::from_raw(id(entry.uid)?), Gid::from_raw(id(entry.gid)?))))
    }

    fn own(&self, file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        match self.ids(entry)? {
            Some((uid, gid)) => {
                fs::fchown(file, Some(uid), Some(gid)).map_err(|errno| not_owned(entry, errno))
            }
            None => Ok(()),
        }
    }

    fn own_at(&self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
        match self.ids(entry)? {
            Some((uid, gid)) => fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| not_owned(entry, errno)),
            None => Ok(()),
        }
    }

    fn set_xattrs(&mut self, file: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
        for (name, value) in &entry.xattrs {
            if name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.overlay.") {
                return Err(Error::new(
                    ErrorKind::Hostile,
                    OPERATION,
                    format!("it has the attribute {}, which belongs to overlayfs", super::show(name)),
                ));
            }
            if !name.starts_with(b"user.") || name.contains(&0) {
                self.outcome.skipped_xattrs += 1;
                continue;
            }
            match fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => self.outcome.skipped_xattrs += 1,
                // A value or name beyond what the file system or the kernel takes.
                Err(Errno::RANGE | Errno::TOOBIG | Errno::NOSPC) => {
                    return Err(Error::new(
                        ErrorKind::TooLarge,
                        OPERATION,
                        format!("its attribute {} is larger than the file system takes", super::show(name)),
                    ));
                }
                Err(errno) => return Err(failed("set an extended attribute", errno)),
            }
        }
        Ok(())
    }
}

pub(super) fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    loop {
        match fs::openat2(root, path, DIRECTORY, Mode::empty(), BENEATH) {
            // The kernel says so when something was renamed meanwhile, anywhere.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(|errno| failed("open a directory", errno))
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds.clamp(0, TIME_MAX), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn through_link() -> Error {
    Error::new(ErrorKind::Hostile, OPERATION, "its path leads through something else than directories")
}

fn not_owned(entry: &Entry, errno: Errno) -> Error {
    let (uid, gid) = (entry.uid, entry.gid);
    match errno {
        Errno::INVAL | Errno::PERM => Error::new(
            ErrorKind::Unsupported,
            OPERATION,
            format!("owner {uid}:{gid} is not available to this user"),
        )
        .with_source(io::Error::from(errno))
        .with_remedy("give the user more subordinate ids in /etc/subuid and /etc/subgid, or run as root"),
        errno => failed("set an owner", errno),
    }
}

/// An error of a system call; `doing` says what it was for.
pub(super) fn failed(doing: &'static str, errno: Errno) -> Error {
    let error = io::Error::from(errno);
    let message = format!("cannot {doing}: {error}");
    match errno {
        Errno::NOSPC | Errno::DQUOT => Error::new(ErrorKind::DiskFull, OPERATION, message),
        _ => Error::new(ErrorKind::Io, OPERATION, message),
    }
    .with_source(error)
}
