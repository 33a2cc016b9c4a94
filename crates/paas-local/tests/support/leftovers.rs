//! What is left of a state directory on the machine.

use std::path::Path;

/// Helpers that run for a directory, and mounts in it, in words.
pub(crate) fn of(directory: &Path) -> Vec<String> {
    let root = directory.to_string_lossy().into_owned();
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("there is /proc").flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&root) && line.contains("__") {
            left.push(format!("process {} is left: {line}", entry.file_name().to_string_lossy()));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("there is /proc");
    left.extend(
        mounts.lines().filter(|line| line.contains(&root)).map(|line| format!("mount is left: {line}")),
    );
    left
}
