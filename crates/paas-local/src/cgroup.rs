//! Limits of memory, processors and processes, by control groups of version 1 or 2.
//!
//! One group for each instance, below one for this installation. On version 1 only the three controllers that are used
//! are joined. What the host does not allow is left out, and the caller says so.

mod root;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub(crate) use root::{CgroupRoot, Controller};

/// The folders of one instance's group: one on version 2, one for each controller on version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cgroup {
    pub folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Moves the calling process into it.
    pub(crate) fn join(&self) -> io::Result<()> {
        for folder in &self.folders {
            fs::write(folder.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Whether the kernel killed one of its processes for want of memory (`oom_kill` of `memory.oom_control` on version
    /// 1, of `memory.events` on version 2).
    pub(crate) fn out_of_memory(&self) -> bool {
        self.folders.iter().any(|folder| {
            ["memory.oom_control", "memory.events"].iter().any(|file| {
                fs::read_to_string(folder.join(file)).is_ok_and(|text| {
                    text.lines()
                        .any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
                })
            })
        })
    }

    /// The processes in it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut found: Vec<i32> = self
            .folders
            .iter()
            .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Kills what is in it.
    pub(crate) fn kill(&self) {
        for folder in &self.folders {
            // Version 2 since Linux 5.14; where it is missing, one by one.
            let _ = fs::write(folder.join("cgroup.kill"), "1");
        }
        for pid in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    /// Removes it; `false` if there still is something in it. Killed processes are reaped late, so this is tried
    /// again for up to `patience`.
    pub(crate) fn remove(&self, patience: Duration) -> bool {
        let until = std::time::Instant::now() + patience;
        loop {
            // Each is tried, whatever became of the others.
            let all_gone = self.folders.iter().filter(|folder| !remove_folder(folder)).count() == 0;
            if all_gone || std::time::Instant::now() >= until {
                return all_gone;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn remove_folder(folder: &Path) -> bool {
    // An instance with rights of its own may have made groups below.
    if let Ok(children) = fs::read_dir(folder) {
        for child in children.flatten().filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_folder(&child.path());
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
