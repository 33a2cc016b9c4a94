//! Everything that is made before the container's first process, and that process.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::symlink, net::UnixStream, process::CommandExt},
    },
    process::{Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use nix::sched::{CloneFlags, unshare};
use paas_gateway::handover::{self, Listener};
use rustix::{
    fs::{Mode, OFlags},
    mount::{MountFlags, MountPropagationFlags},
    process::{DumpableBehavior, Pid, PidfdFlags, WaitId, WaitIdOptions},
};

use super::{
    log::{self, Log},
    network,
};
use crate::{
    Failure, InstanceSpec,
    boot::{self, Boot, Launch},
    cgroup::Cgroup,
    error::{ErrorKind, Step},
    program::sealed_self,
    state::{InstanceDir, State, boot_id, start_ticks, write_atomic},
};

/// An instance that runs, as its shim holds it.
pub(super) struct Running {
    pub(super) pidfd: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) control: OwnedFd,
    pub(super) listeners: Vec<(Listener, OwnedFd)>,
    pub(super) log: Log,
    pub(super) state: State,
    pub(super) stop_signal: i32,
}

impl Running {
    pub(super) fn pid(&self) -> i32 {
        self.state.pid
    }
}

pub(super) fn start(dir: &InstanceDir, boot: Boot, channel: &mut UnixStream) -> Result<Running, Failure> {
    let Boot { secrets, cgroup, user_namespace } = boot;
    let spec = dir.read_spec().map_err(|error| Failure::new(error.kind(), error.chain()))?;
    let _ = rustix::process::setsid();
    // Whoever the kernel kills for want of memory, the shim should see it. Takes a right that may be missing.
    let _ = fs::write("/proc/self/oom_score_adj", "-900");
    // The instance's processes whose parents die inside stay inside; those that survive their pid 1 do not exist.
    rustix::process::set_child_subreaper(Pid::from_raw(1)).step("become the reaper of the instance")?;
    if user_namespace {
        super::enter_user_namespace(channel)?;
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).step("make mount and network namespaces")?;
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .step("detach the mounts from the host's")?;
    network::bring_up()?;
    let listeners = network::listen_for(&spec)?;
    mount_root(dir, &spec, user_namespace)?;
    write_etc(dir, &spec)?;
    let (stdout, app_stdout) = output(dir, "stdout.fifo")?;
    let (stderr, app_stderr) = output(dir, "stderr.fifo")?;
    let mut log = Log::create(dir.logs(), spec.log).step("open the log")?;
    let control = handover::bind(&dir.socket()).step("listen for the server and the gateway")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step("hide from other processes")?;

    let stop_signal = spec.stop_signal.unwrap_or(rustix::process::Signal::TERM.as_raw());
    let launch = Launch { spec, secrets, cgroup: cgroup.clone(), user_namespace };
    let started = spawn_init(dir, &launch, app_stdout, app_stderr);
    drop(launch);
    if started.is_err() {
        // What a half-started program said is part of the answer.
        log.drain(&stdout, log::STDOUT);
        log.drain(&stderr, log::STDERR);
        log.finish();
    }
    let (pid, pidfd) = started?;
    let state = record(dir, pid, cgroup, user_namespace).inspect_err(|_| {
        let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    })?;
    Ok(Running { pidfd, stdout, stderr, control, listeners, log, state, stop_signal })
}

fn record(
    dir: &InstanceDir,
    pid: i32,
    cgroup: Option<Cgroup>,
    user_namespace: bool,
) -> Result<State, Failure> {
    let state = State {
        pid,
        // A program that has ended already has none; its exit record will say so.
        start_ticks: start_ticks(pid).unwrap_or(0),
        shim_pid: rustix::process::getpid().as_raw_nonzero().get(),
        boot_id: boot_id().step("read the boot id")?,
        started_at: Timestamp::now(),
        cgroup,
        user_namespace,
    };
    write_atomic(&dir.state_file(), &state).step("record the instance's state")?;
    Ok(state)
}

/// Mounts the image's layers with a writable one on top, in this mount namespace only: nothing stays mounted when the
/// shim and the instance are gone.
fn mount_root(dir: &InstanceDir, spec: &InstanceSpec, user_namespace: bool) -> Result<(), Failure> {
    let step = "make the folders of the root file system";
    for name in ["upper", "work", "rootfs", "l"] {
        match fs::create_dir(dir.sub(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Failure::io(step, error));
            }
            _ => {}
        }
    }
    // Short relative names: all options together must fit in one page, and some characters have a meaning there. A layer
    // that occurs again is only needed where it is uppermost; the kernel refuses the same folder twice.
    let mut seen = HashSet::new();
    let mut lower = String::new();
    for (i, layer) in spec.layers.iter().rev().filter(|layer| seen.insert(*layer)).enumerate() {
        if !layer.is_dir() {
            let message = format!("the image's layer {} is not there; pull the image again", layer.display());
            return Err(Failure::new(ErrorKind::InvalidImage, message));
        }
        let link = dir.sub("l").join(i.to_string());
        let _ = fs::remove_file(&link);
        symlink(layer, link).step("name the image's layers")?;
        let _ = write!(lower, "{}l/{i}", if i == 0 { "" } else { ":" });
    }
    let mut options = format!("lowerdir={lower},upperdir=upper,workdir=work");
    if user_namespace {
        options.push_str(",userxattr");
    }
    rustix::process::chdir(dir.path()).step("enter the instance's folder")?;
    let options = std::ffi::CString::new(options).step("read mount options")?;
    rustix::mount::mount("overlay", "rootfs", "overlay", MountFlags::NODEV, options.as_c_str())
        .step("mount the root file system from the image's layers (overlay)")?;
    for volume in &spec.volumes {
        fs::create_dir_all(&volume.source)
            .step(format_args!("make the volume {}", volume.source.display()))?;
    }
    rustix::process::chdir("/").step("leave the instance's folder")
}

/// The files by which the instance knows its own name and those of its dependencies.
fn write_etc(dir: &InstanceDir, spec: &InstanceSpec) -> Result<(), Failure> {
    let mut hosts =
        format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n", spec.host_name());
    for endpoint in spec.endpoints() {
        let _ = writeln!(hosts, "{}\t{}", endpoint.address, endpoint.name);
    }
    let etc = dir.sub("etc");
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(&etc)?;
        fs::write(etc.join("hosts"), hosts)?;
        fs::write(etc.join("hostname"), format!("{}\n", spec.host_name()))?;
        // Nothing answers there, at once: names come from /etc/hosts only.
        fs::write(etc.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    };
    write().step("write the instance's /etc/hosts")
}

/// A pipe with a name. The program's end is open for reading too, so that it never sees a broken pipe, even if the shim
/// was killed.
fn output(dir: &InstanceDir, name: &str) -> Result<(OwnedFd, OwnedFd), Failure> {
    let path = dir.sub(name);
    let make = || -> rustix::io::Result<_> {
        let _ = fs::remove_file(&path);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )?;
        let theirs = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let ours =
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        Ok((ours, theirs))
    };
    make().step("make the pipes of the instance's output")
}

/// Starts pid 1, and waits until it has become the image's program or says why not.
fn spawn_init(
    dir: &InstanceDir,
    launch: &Launch,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<(i32, OwnedFd), Failure> {
    let program = sealed_self(dir)?;
    let (mut channel, theirs) = boot::pair().step("make a channel to pid 1")?;
    // The next child is pid 1 of a new namespace; this process stays where it is, and has no further children.
    unshare(CloneFlags::CLONE_NEWPID).step("make a pid namespace")?;
    let child = Command::new(program.path())
        .arg0("paas-init")
        .arg("__init")
        .arg(dir.path())
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn()
        .step("start pid 1 of the instance")?;
    let pid = i32::try_from(child.id()).step("read the pid")?;
    let raw = Pid::from_raw(pid).ok_or_else(|| Failure::new(ErrorKind::Io, "a child has pid 0"))?;
    let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty()).step("watch pid 1 of the instance")?;
    let answer = boot::send(&mut channel, launch)
        .and_then(|()| boot::receive::<Failure>(&mut channel))
        .step("start the instance's program");
    let failure = match answer {
        Ok(None) => return Ok((pid, pidfd)),
        Ok(Some(failure)) | Err(failure) => failure,
    };
    let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    if let Some(cgroup) = &launch.cgroup
        && cgroup.out_of_memory()
    {
        cgroup.remove(Duration::ZERO);
        let message = "the memory limit is too small even to start the program (out of memory)";
        return Err(Failure::new(ErrorKind::InvalidSpec, message));
    }
    Err(failure)
}
