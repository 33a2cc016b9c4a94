//! What crashes leave behind, and its end.

use std::{
    collections::BTreeSet,
    fs,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;

use super::{Instances, remove_folder};
use crate::{
    Error, ErrorKind, Exit, InstanceId, Result,
    state::{ExitSlot, InstanceDir, start_ticks},
};

/// What a sweep found and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Folders of no known instance.
    pub folders: Vec<PathBuf>,
    /// Control groups of no known instance, by name.
    pub cgroups: Vec<String>,
    /// Shims of no known instance, by process.
    pub shims: Vec<i32>,
}

impl Sweep {
    /// Whether there was nothing to do.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.cgroups.is_empty() && self.shims.is_empty()
    }
}

/// Ends an instance whose shim is gone without having written how it ended: kills what is left of it, and records it as
/// lost. The caller knows that no shim lives.
pub(super) async fn bury(dir: &InstanceDir) -> Result<Exit> {
    if let Some(state) = dir.read_state()? {
        // After a reboot the numbers belong to others.
        if state.is_alive() {
            kill_and_wait(state.pid, state.start_ticks).await?;
        }
        if let Some(cgroup) = state.cgroup {
            let removed = tokio::task::spawn_blocking(move || {
                cgroup.kill();
                cgroup.remove(Duration::from_secs(1))
            });
            // What is not removed now will be by the next sweep.
            let _ = removed.await;
        }
    }
    let exit = Exit::lost();
    let record = || -> std::io::Result<()> { ExitSlot::reserve(dir)?.fill(dir, &exit) };
    // One that was removed meanwhile needs no record.
    if let Err(source) = record()
        && dir.path().exists()
    {
        tracing::warn!(directory = %dir.path().display(), "cannot record that an instance is lost: {source}");
    }
    Ok(exit)
}

/// With pid 1 the kernel ends everything in its namespace.
async fn kill_and_wait(pid: i32, ticks: u64) -> Result<()> {
    let fail =
        |source: std::io::Error| Error::io("kill what is left of an instance", source).with("pid", pid);
    let Some(raw) = Pid::from_raw(pid) else { return Ok(()) };
    let pidfd: OwnedFd =
        match pidfd_open(raw, PidfdFlags::NONBLOCK).or_else(|_| pidfd_open(raw, PidfdFlags::empty())) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(errno) => return Err(fail(errno.into())),
        };
    // The descriptor holds the process that has the number now; only then is it compared.
    if start_ticks(pid) != Some(ticks) {
        return Ok(());
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(errno) => return Err(fail(errno.into())),
    }
    let gone = crate::ready::watch(pidfd, Interest::READABLE).map_err(fail)?;
    match tokio::time::timeout(Duration::from_secs(10), gone.readable()).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, "kill what is left of an instance")
            .with("pid", pid)
            .with_detail("it was sent SIGKILL 10 s ago and is still there; the kernel holds it, look at its stack in /proc")),
    }
}

pub(super) async fn sweep(instances: &Instances, known: &BTreeSet<InstanceId>) -> Result<Sweep> {
    let mut swept = Sweep::default();
    for (pid, folder) in shims(&instances.root) {
        let id = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let owned = id.is_some_and(|id: InstanceId| known.contains(&id)) && folder.exists();
        if !owned && let Some(ticks) = start_ticks(pid) {
            // First what it watches over: a shim that is killed tells nobody.
            if let Ok(Some(state)) = InstanceDir::new(&folder).read_state()
                && state.is_alive()
            {
                kill_and_wait(state.pid, state.start_ticks).await?;
            } else {
                for child in children(pid) {
                    if let Some(ticks) = start_ticks(child) {
                        kill_and_wait(child, ticks).await?;
                    }
                }
            }
            kill_and_wait(pid, ticks).await?;
            swept.shims.push(pid);
        }
    }
    let fail = |source| Error::io("sweep the directory of instances", source);
    for entry in fs::read_dir(&instances.root).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let id = entry.file_name().to_str().and_then(|name| name.parse::<InstanceId>().ok());
        match id {
            Some(id) if known.contains(&id) => {}
            Some(id) => {
                instances.remove(&id).await?;
                swept.folders.push(entry.path());
            }
            None => {
                remove_folder(&instances.host, &entry.path())?;
                swept.folders.push(entry.path());
            }
        }
    }
    for (name, cgroup) in instances.host.cgroups.list() {
        if name.parse::<InstanceId>().is_ok_and(|id| known.contains(&id)) {
            continue;
        }
        let work = tokio::task::spawn_blocking(move || {
            cgroup.kill();
            cgroup.remove(Duration::from_secs(1))
        });
        if work.await.unwrap_or(false) {
            swept.cgroups.push(name);
        }
    }
    Ok(swept)
}

/// The shims of a directory of instances: who was started as `… __shim DIRECTORY/NAME` by the same user.
fn shims(root: &Path) -> Vec<(i32, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let mut args = line.split(|byte| *byte == 0).skip(1);
        if args.next() == Some(b"__shim".as_slice())
            && let Some(folder) = args.next().map(std::ffi::OsStr::from_bytes).map(Path::new)
            && folder.parent() == Some(root)
        {
            found.push((pid, folder.to_path_buf()));
        }
    }
    found
}

fn children(pid: i32) -> Vec<i32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
        .unwrap_or_default()
}
