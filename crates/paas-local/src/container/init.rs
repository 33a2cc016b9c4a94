//! `__init DIR`: pid 1 of the container.

use std::{
    convert::Infallible, fs, os::unix::net::UnixStream, path::Path, process::ExitCode, time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    mount::{MountPropagationFlags, UnmountFlags},
    process::{DumpableBehavior, Resource, Rlimit, WaitOptions},
};

use super::{
    files::HeldFiles,
    mounts::{self, HostSources},
    privileges::drop_privileges,
    program::{Environment, execute},
    user,
};
use crate::{
    Failure, Limits,
    boot::{self, Launch},
    error::{ErrorKind, Step},
    spec::Command,
    state::InstanceDir,
};

pub(crate) fn main(dir: &Path) -> ExitCode {
    let Ok(mut channel) = boot::take_stdin() else {
        return ExitCode::from(125);
    };
    let launch = match boot::receive::<Launch>(&mut channel) {
        Ok(Some(launch)) => launch,
        // Whoever started us is gone, and with it the reason to run.
        _ => return ExitCode::from(125),
    };
    let Err(failure) = run(&InstanceDir::new(dir), launch, &channel);
    let _ = boot::send(&mut channel, &failure);
    ExitCode::from(125)
}

fn run(dir: &InstanceDir, launch: Launch, channel: &UnixStream) -> Result<Infallible, Failure> {
    let Launch { spec, secrets, cgroup, user_namespace } = launch;
    if let Some(cgroup) = &cgroup {
        cgroup.join().step("join the control group")?;
    }
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    // What is in this process's memory is nobody's business, least of all that of programs executed in the instance.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step("hide from other processes")?;
    rustix::process::setsid().step("make a session")?;
    // Here and not in the parent: exchanging the root moves that of every process in the mount namespace.
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
        .step("make mount, ipc and uts namespaces")?;
    // Old kernels lack it, and nothing depends on it.
    let _ = unshare(CloneFlags::CLONE_NEWCGROUP);
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step("detach the mounts from the host's")?;

    let sources = HostSources::open(dir, &spec)?;
    let held = HeldFiles::create(dir, spec.files.iter().chain(&secrets.files))?;
    rustix::process::chdir(dir.rootfs()).step("enter the root file system")?;
    rustix::process::pivot_root(".", ".").step("exchange the root")?;
    // The old root is the working directory now, on top of the new one.
    mounts::kernel(user_namespace)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step("let go of the host's root")?;
    rustix::process::chdir("/").step("enter the new root")?;
    // From here on every path leads into the image, links and `..` included.
    mounts::system(&spec)?;
    mounts::host_sources(sources)?;
    let identity = user::resolve(spec.user.as_deref())?;
    held.place(&identity)?;
    mounts::protect(&spec)?;

    rustix::system::sethostname(spec.host_name().as_bytes()).step("set the host name")?;
    limit_resources(&spec.limits)?;
    identity.own_standard_streams();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if spec.command == Command::Pause {
        drop_privileges(&identity, user_namespace)?;
        return pause(channel);
    }
    let environment = Environment::of_instance(&spec, secrets.env, &identity);
    enter(spec.working_dir.as_deref(), spec.read_only_root)?;
    // Whatever the embedding program had open without close-on-exec must not reach the image's program.
    close_fds::set_fds_cloexec(3, &[]);
    drop_privileges(&identity, user_namespace)?;
    let Command::Program(args) = &spec.command else {
        return Err(Failure::new(ErrorKind::InvalidSpec, "this build does not know the command"));
    };
    execute(args, &environment)
}

/// Enters the working directory, which is made if it is missing, as container engines do.
pub(super) fn enter(folder: Option<&str>, read_only: bool) -> Result<(), Failure> {
    let folder = folder.unwrap_or("/");
    if !read_only {
        let _ = fs::create_dir_all(folder);
    }
    rustix::process::chdir(folder).map_err(|errno| {
        Failure::new(
            ErrorKind::BadWorkingDirectory,
            format!("cannot enter the working directory {folder}: {errno}"),
        )
    })
}

/// Raising a hard limit takes a right that this process may lack, so limits are only ever lowered.
pub(super) fn limit_resources(limits: &Limits) -> Result<(), Failure> {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20);
    let wanted = limits.open_files.unwrap_or(1 << 16).min(hard);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(wanted) })
        .step("limit open files")?;
    // A crash must not fill the disk with an image of memory, which may hold secrets.
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .step("forbid core files")
}

/// Holds the container open. Programs executed in it come from outside; those that they leave behind are ours to reap.
fn pause(channel: &UnixStream) -> Result<Infallible, Failure> {
    // The other side sees the channel close, which is how a program that was executed looks too.
    channel.shutdown(std::net::Shutdown::Both).step("tell that the instance is ready")?;
    loop {
        while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        std::thread::sleep(Duration::from_secs(5));
    }
}
