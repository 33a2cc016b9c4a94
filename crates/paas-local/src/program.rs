//! The running program itself, for starting it again as a helper.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{MemfdFlags, SealFlags, StatVfsMountFlags},
    mount::MountFlags,
};

use crate::{Failure, error::Step, state::InstanceDir};

/// The running program under a name that can be started, but not written through.
pub(crate) struct Sealed {
    path: PathBuf,
    /// Holds a copy in memory until the program was started from it.
    _copy: Option<fs::File>,
}

impl Sealed {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The program under a name that nobody can write through.
///
/// A process of the container can reach the file that another of its processes runs (`/proc/PID/exe`), and a helper
/// becomes such a process when it executes the image's program, which may be a link or a script that leads back to
/// `/proc/self/exe`. If it could open the file for writing, it would replace the runtime on the host. So the calling
/// process, which must be in a mount namespace of its own, mounts the file read-only and starts it from there. (The
/// remedy of runc for CVE-2019-5736 is the same.)
pub(crate) fn sealed_self(dir: &InstanceDir) -> Result<Sealed, Failure> {
    let running = fs::metadata("/proc/self/exe").step("find the running program")?;
    let path = fs::read_link("/proc/self/exe").step("find the running program")?;
    let same = |found: fs::Metadata| {
        use std::os::unix::fs::MetadataExt;
        (found.dev(), found.ino()) == (running.dev(), running.ino())
    };
    if !fs::metadata(&path).is_ok_and(same) {
        // It was replaced by a newer one since this process started.
        return sealed_copy();
    }
    let target = dir.sub("exe");
    fs::File::create(&target).step("make a place for the program")?;
    rustix::mount::mount_bind(&path, &target).step("mount the program")?;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    // In a user namespace the flags of the host's mount are locked: they must stay.
    let found = rustix::fs::statvfs(&target).step("read the mount of the program")?.f_flag;
    for (has, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if found.contains(has) {
            flags |= flag;
        }
    }
    rustix::mount::mount_remount(&target, flags, "").step("protect the program")?;
    Ok(Sealed { path: target, _copy: None })
}

/// A copy in memory that nobody can change; slower, and right in every case.
fn sealed_copy() -> Result<Sealed, Failure> {
    use std::os::fd::AsRawFd;
    let memory = rustix::fs::memfd_create(c"paas", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .step("make a copy of the program")?;
    let mut copy = fs::File::from(memory);
    let mut program = fs::File::open("/proc/self/exe").step("open the running program")?;
    std::io::copy(&mut program, &mut copy).step("copy the running program")?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals).step("seal the copy of the program")?;
    Ok(Sealed { path: format!("/proc/self/fd/{}", copy.as_raw_fd()).into(), _copy: Some(copy) })
}
