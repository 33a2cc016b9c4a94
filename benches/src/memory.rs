//! What processes use, as the kernel tells.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The proportional set size of a process (`/proc/PID`), in kilobytes: its own pages, and of shared ones its share.
pub fn proportional_kilobytes(process: &Path) -> Option<u64> {
    let rollup = fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The resident set size of a process (`/proc/PID`), in kilobytes: what it has now, and the most that it has had.
///
/// Source: `proc_pid_status(5)`, `VmRSS` and `VmHWM`.
pub fn resident_kilobytes(process: &Path) -> Option<(u64, u64)> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// The time that a process (`/proc/PID`) has had a processor for, in user mode and in the kernel.
///
/// Source: `proc_pid_stat(5)`, fields 14 and 15, in ticks of which Linux has 100 a second for user programs.
pub fn cpu_time(process: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name of the program, in brackets, may have spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// Megabytes, of a million bytes.
#[expect(clippy::cast_precision_loss, reason = "kilobytes of a process are far below 2^52")]
pub fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 / 1000.0
}
