//! The file systems of a container.
//!
//! Everything here runs after the root was exchanged: a link of the image, wherever it points, leads into the image.

use std::{
    fs::{self, OpenOptions},
    os::{
        fd::OwnedFd,
        unix::fs::{OpenOptionsExt, symlink},
    },
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, StatVfsMountFlags},
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags},
};

use crate::{
    Failure, InstanceSpec,
    error::{ErrorKind, Step},
    spec::Volume,
    state::InstanceDir,
};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const HARMLESS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// What container engines hide, and what they make read-only (the OCI runtime specification's default of both lists).
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What comes from the host, opened while the host was seen.
pub(super) struct HostSources {
    binds: Vec<Bind>,
}

struct Bind {
    tree: OwnedFd,
    target: String,
    kind: BindKind,
}

#[derive(Clone, Copy, PartialEq)]
enum BindKind {
    Device,
    File,
    Volume { read_only: bool },
}

impl HostSources {
    pub(super) fn open(dir: &InstanceDir, spec: &InstanceSpec) -> Result<Self, Failure> {
        let mut binds = Vec::new();
        for name in DEVICES {
            let path = format!("/dev/{name}");
            binds.push(Bind { tree: tree(Path::new(&path), false)?, target: path, kind: BindKind::Device });
        }
        for name in ["hosts", "hostname", "resolv.conf"] {
            let tree = tree(&dir.sub("etc").join(name), false)?;
            binds.push(Bind { tree, target: format!("/etc/{name}"), kind: BindKind::File });
        }
        for Volume { source, target, read_only } in &spec.volumes {
            let kind = BindKind::Volume { read_only: *read_only };
            binds.push(Bind { tree: tree(source, true)?, target: target.clone(), kind });
        }
        Ok(Self { binds })
    }
}

fn tree(path: &Path, recursive: bool) -> Result<OwnedFd, Failure> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, path, flags).step(format_args!("open {} of the host", path.display()))
}

/// Mounts `/proc` and `/sys`. A user namespace may do so only where those of the host are still mounted, so the host's root
/// is on top of this one as yet: whoever goes up from here by `..` lands there. Neither path is a link, nor has any above
/// it.
pub(super) fn kernel(user_namespace: bool) -> Result<(), Failure> {
    for folder in ["/proc", "/sys"] {
        make_own_folder(folder)?;
    }
    mount("proc", "/proc", HARMLESS, "")?;
    // Some hosts forbid it to user namespaces; then /sys stays an empty folder.
    match mount("sysfs", "/sys", HARMLESS | MountFlags::RDONLY, "") {
        Err(failure) if !user_namespace => Err(failure),
        _ => Ok(()),
    }
}

/// Mounts `/dev`, and memory where the specification wants it.
pub(super) fn system(spec: &InstanceSpec) -> Result<(), Failure> {
    let (no_suid, no_dev, no_exec) = (MountFlags::NOSUID, MountFlags::NODEV, MountFlags::NOEXEC);
    // The root itself: device files of the image, or made by the program, must stay dead.
    rustix::mount::mount_remount("/", MountFlags::BIND | inherited("/") | no_dev, "")
        .step("forbid device files in the root file system")?;
    make_own_folder("/dev")?;
    mount("tmpfs", "/dev", no_suid | no_dev, "mode=755,size=64k")?;
    make_folder("/dev/pts")?;
    let terminals = "newinstance,ptmxmode=0666,mode=0620";
    mount("devpts", "/dev/pts", no_suid | no_exec, &format!("{terminals},gid=5"))
        // Where group 5 (tty) does not exist in the user namespace.
        .or_else(|_| mount("devpts", "/dev/pts", no_suid | no_exec, terminals))?;
    make_folder("/dev/shm")?;
    let size = spec.limits.shared_memory.unwrap_or(64 << 20);
    mount("tmpfs", "/dev/shm", HARMLESS, &format!("mode=1777,size={size}"))?;
    make_folder("/dev/mqueue")?;
    let _ = mount("mqueue", "/dev/mqueue", HARMLESS, "");
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, format!("/dev/{link}")).step(format_args!("link /dev/{link}"))?;
    }
    if Path::new("/sys/fs/cgroup").exists() {
        let _ = mount("cgroup2", "/sys/fs/cgroup", HARMLESS | MountFlags::RDONLY, "");
    }
    if spec.read_only_root {
        make_folder("/tmp")?;
        mount("tmpfs", "/tmp", no_suid | no_dev, "mode=1777")?;
    } else if !Path::new("/tmp").exists() {
        make_folder("/tmp")?;
        rustix::fs::chmod("/tmp", Mode::from_raw_mode(0o1777)).step("open /tmp to everybody")?;
    }
    Ok(())
}

/// Mounts what comes from the host.
pub(super) fn host_sources(sources: HostSources) -> Result<(), Failure> {
    for Bind { tree, target, kind } in sources.binds {
        let harmless = MountFlags::NOSUID | MountFlags::NODEV;
        match kind {
            BindKind::Volume { .. } => make_folder(&target)?,
            BindKind::Device | BindKind::File => make_file(&target)?,
        }
        attach(&tree, &target)?;
        match kind {
            BindKind::Device => {}
            BindKind::File | BindKind::Volume { read_only: true } => {
                remount(&target, harmless | MountFlags::RDONLY)?;
            }
            BindKind::Volume { read_only: false } => remount(&target, harmless)?,
        }
    }
    Ok(())
}

/// Hides what tells about the host, and forbids writing to what changes it.
pub(super) fn protect(spec: &InstanceSpec) -> Result<(), Failure> {
    for path in MASKED {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => mount("tmpfs", path, MountFlags::RDONLY, "size=0k,mode=555")?,
            Ok(_) => {
                rustix::mount::mount_bind("/dev/null", path).step(format_args!("hide {path}"))?;
            }
            Err(_) => {}
        }
    }
    let read_only = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for path in READ_ONLY {
        if Path::new(path).exists() {
            rustix::mount::mount_bind_recursive(path, path).step(format_args!("bind {path}"))?;
            remount(path, read_only)?;
        }
    }
    if spec.read_only_root {
        remount("/", MountFlags::RDONLY | MountFlags::NODEV)?;
    }
    Ok(())
}

/// Puts a held tree at a path; a link at its end is followed.
pub(super) fn attach(tree: &OwnedFd, target: &str) -> Result<(), Failure> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    rustix::mount::move_mount(tree, "", CWD, target, flags).step(format_args!("mount on {target}"))
}

/// Changes the flags of a mount. Those that it has stay: in a user namespace they are locked.
pub(super) fn remount(target: &str, flags: MountFlags) -> Result<(), Failure> {
    rustix::mount::mount_remount(target, MountFlags::BIND | inherited(target) | flags, "")
        .step(format_args!("set the mount flags of {target}"))
}

fn inherited(target: &str) -> MountFlags {
    let Ok(found) = rustix::fs::statvfs(target) else {
        return MountFlags::empty();
    };
    [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ]
    .into_iter()
    .filter(|(has, _)| found.f_flag.contains(*has))
    .fold(MountFlags::empty(), |flags, (_, flag)| flags | flag)
}

/// Makes an empty file to mount on, with the folders above it. A link that leads nowhere is replaced.
pub(super) fn make_file(path: &str) -> Result<(), Failure> {
    if Path::new(path).exists() {
        return Ok(());
    }
    if let Some(parent) = Path::new(path).parent() {
        fs::create_dir_all(parent).map_err(|error| bad_target(path, &error))?;
    }
    let make = || OpenOptions::new().create_new(true).write(true).mode(0o644).open(path).map(drop);
    make().or_else(|_| fs::remove_file(path).and_then(|()| make())).map_err(|error| bad_target(path, &error))
}

fn make_folder(path: &str) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|error| bad_target(path, &error))
}

/// As [`make_folder`], but what is there may not be a link.
fn make_own_folder(path: &str) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Failure::new(ErrorKind::InvalidImage, format!("{path} of the image is not a folder"))),
        Err(_) => make_folder(path),
    }
}

fn bad_target(path: &str, error: &std::io::Error) -> Failure {
    Failure::new(ErrorKind::InvalidImage, format!("cannot make {path} in the image to mount on: {error}"))
}

fn mount(kind: &str, target: &str, flags: MountFlags, options: &str) -> Result<(), Failure> {
    let options = std::ffi::CString::new(options).step("read mount options")?;
    rustix::mount::mount(kind, target, kind, flags, options.as_c_str())
        .step(format_args!("mount {kind} on {target}"))
}
