//! The processes that belong to a server's directory, and what is left of it at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::wait::eventually;

/// The processes whose command line has the directory and `kind`: `__gateway`, `__shim`, or empty for both and the server.
pub fn processes(directory: &Path, kind: &str) -> Vec<u32> {
    let directory = directory.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let belongs = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        words.contains(directory) && words.contains(kind)
    };
    numbers.filter(belongs).collect()
}

/// What instances have recorded of themselves.
pub fn states(directory: &Path) -> Vec<(PathBuf, Value)> {
    let folders = fs::read_dir(directory.join("machine/instances")).into_iter().flatten().flatten();
    let read = |file: PathBuf| Some((file.clone(), serde_json::from_slice(&fs::read(file).ok()?).ok()?));
    folders.filter_map(|folder| read(folder.path().join("state.json"))).collect()
}

/// The process that is pid 1 of an instance, if it is still the one that was recorded.
pub fn program_of(state: &Value) -> Option<u32> {
    let pid = u32::try_from(state["pid"].as_u64()?).ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): the second field is in brackets and may have spaces; the state is the third, the time of the start the 22nd.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let started: u64 = fields.get(19)?.parse().ok()?;
    // One that was killed may stay as a zombie for as long as nobody asks for its end.
    (state["start_ticks"].as_u64() == Some(started) && fields[0] != "Z").then_some(pid)
}

/// Kills everything of a directory, as a machine that loses its power does, and waits until it is gone.
pub fn kill_everything(directory: &Path) {
    let programs = || states(directory).iter().filter_map(|(_, state)| program_of(state)).collect::<Vec<_>>();
    eventually("everything of the directory is gone", || {
        // The supervisors first, so that none records an end.
        let left = [processes(directory, "__"), programs()].concat();
        for pid in &left {
            signal(*pid, "KILL");
        }
        left.is_empty().then_some(())
    });
}

/// Removes the control groups of instances that were killed with their supervisors.
pub fn remove_groups(states: &[(PathBuf, Value)]) {
    let folders = states.iter().filter_map(|(_, state)| state["cgroup"]["folders"].as_array()).flatten();
    for folder in folders.filter_map(|folder| folder.as_str().map(Path::new)) {
        // A group is busy for a moment after its last process was killed.
        eventually("the control group is gone", || {
            let _ = fs::remove_dir(folder);
            (!folder.exists()).then_some(())
        });
        let _ = folder.parent().map(fs::remove_dir);
    }
}

/// Sends a signal to a process that this program, or what it started, has started.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// What is left on the machine of a directory, in words.
pub fn of(directory: &Path) -> Vec<String> {
    let shown = directory.to_str().unwrap();
    let processes = processes(directory, "").into_iter().map(|pid| format!("process {pid}"));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = mounts.lines().filter(|line| line.contains(shown)).map(str::to_owned).collect::<Vec<_>>();
    processes.chain(mounts).collect()
}
