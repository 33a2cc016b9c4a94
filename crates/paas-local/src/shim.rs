//! `__shim DIR`: what stays with an instance for as long as it lives.
//!
//! One thread, no runtime, a few files: it holds the instance's network namespace, writes what the instance says to its
//! log, answers on a socket, and writes down how the instance ended. It needs nobody, so servers and gateways come and go.

mod control;
pub(crate) mod log;
mod network;
mod prepare;
mod supervise;

use std::{path::Path, process::ExitCode, time::Duration};

use crate::{
    Failure,
    boot::{self, Boot, BootReply, Mapped},
    error::{ErrorKind, Step},
    state::{Exit, ExitSlot, InstanceDir},
};

pub(crate) use control::{Operation, ShimStatus};

pub(crate) fn main(dir: &Path) -> ExitCode {
    let dir = InstanceDir::new(dir);
    let Ok(mut channel) = boot::take_stdin() else {
        return ExitCode::FAILURE;
    };
    let Ok(Some(_lock)) = dir.try_lock() else {
        let failure = Failure::new(ErrorKind::AlreadyExists, "another shim holds this instance");
        let _ = boot::send(&mut channel, &BootReply::Failed(failure));
        return ExitCode::FAILURE;
    };
    let Ok(Some(boot)) = boot::receive::<Boot>(&mut channel) else {
        return ExitCode::FAILURE;
    };
    let cgroup = boot.cgroup.clone();
    let started = ExitSlot::reserve(&dir)
        .step("reserve room for the exit record")
        .and_then(|slot| prepare::start(&dir, boot, &mut channel).map(|running| (running, slot)));
    match started {
        Ok((running, slot)) => {
            // The server may have died meanwhile: the instance lives on, and the next one finds it.
            let _ = boot::send(&mut channel, &BootReply::Started { pid: running.pid() });
            drop(channel);
            supervise::run(&dir, running, slot)
        }
        Err(failure) => {
            if let Some(cgroup) = &cgroup {
                cgroup.kill();
                cgroup.remove(Duration::from_millis(500));
            }
            if let Ok(slot) = ExitSlot::reserve(&dir) {
                let _ = slot.fill(&dir, &Exit::failed(failure.clone()));
            }
            let _ = boot::send(&mut channel, &BootReply::Failed(failure));
            ExitCode::FAILURE
        }
    }
}

/// Asks the starting process to write the id maps, and becomes root in the user namespace.
pub(crate) fn enter_user_namespace(channel: &mut std::os::unix::net::UnixStream) -> Result<(), Failure> {
    use rustix::process::{Gid, Uid};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(|errno| {
        Failure::new(
            ErrorKind::Unsupported,
            format!(
                "cannot make a user namespace ({errno}); an ordinary user needs them: see sysctl \
                 kernel.unprivileged_userns_clone and user.max_user_namespaces, or run the server as root"
            ),
        )
    })?;
    boot::send(channel, &BootReply::NeedsMaps).step("ask for the id maps")?;
    match boot::receive::<Mapped>(channel).step("wait for the id maps")? {
        Some(mapped) => mapped?,
        None => {
            return Err(Failure::new(
                ErrorKind::Unavailable,
                "the server went away before it had mapped the ids",
            ));
        }
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .step("become group 0 of the namespace")?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).step("become user 0 of the namespace")
}
