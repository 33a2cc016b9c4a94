//! A terminal of the container's own.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{FileType, Mode, OFlags, Uid},
    pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt},
    termios::tcsetwinsize,
};

use super::user::Identity;
use crate::{
    Failure,
    error::{ErrorKind, Step},
    exec::Size,
};

const MULTIPLEXER: &str = "/dev/pts/ptmx";
/// `DEVPTS_SUPER_MAGIC` of `linux/magic.h`.
const DEVPTS: u64 = 0x1cd1;
/// The multiplexer's device number, of `Documentation/admin-guide/devices.txt` of the kernel.
const MULTIPLEXER_DEVICE: (u32, u32) = (5, 2);

/// Both sides of a new terminal. Ours goes to the server, so it must be what it seems: programs of the container may have
/// put something else in its place.
pub(super) fn open(size: Size, identity: &Identity) -> Result<(OwnedFd, OwnedFd), Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let ours = rustix::fs::open(MULTIPLEXER, flags, Mode::empty()).step("open a terminal")?;
    let found = rustix::fs::fstat(&ours).step("look at the terminal")?;
    let device = (rustix::fs::major(found.st_rdev), rustix::fs::minor(found.st_rdev));
    let system = rustix::fs::fstatfs(&ours).step("look at the terminal")?;
    if FileType::from_raw_mode(found.st_mode) != FileType::CharacterDevice
        || device != MULTIPLEXER_DEVICE
        || u64::try_from(system.f_type) != Ok(DEVPTS)
    {
        let message = format!("{MULTIPLEXER} is not the multiplexer of terminals any more");
        return Err(Failure::new(ErrorKind::Unsupported, message));
    }
    unlockpt(&ours).step("unlock the terminal")?;
    // By descriptor, so that no path is followed.
    let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .step("open the command's side of the terminal")?;
    rustix::fs::fchown(&theirs, Some(Uid::from_raw(identity.uid)), None)
        .step("give the terminal to the user")?;
    tcsetwinsize(&ours, size.into()).step("set the size of the terminal")?;
    Ok((ours, theirs))
}
