//! What a program does about signals when it begins to run.

use std::sync::{Arc, atomic::AtomicBool};

/// Lets programs that this process starts begin with the default action for every signal.
///
/// What a process ignores its programs ignore too, through `exec`, and a server that was started by `nohup`, or in the
/// background by a shell without job control, ignores SIGHUP, SIGINT or SIGQUIT: nobody could interrupt a command in its
/// instances. A signal with a handler becomes one with the default action when another program is executed (POSIX,
/// `execve`), so this process takes what it ignored with a handler that does nothing.
pub(crate) fn ignored_become_default() {
    for signal in ignored() {
        // One that cannot be handled is as good as it was before.
        if !signal_hook::consts::FORBIDDEN.contains(&signal) {
            let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
        }
    }
}

/// The signals that this process ignores (proc(5), `SigIgn` of `status`). Real-time signals are nobody's habit, and
/// SIGPIPE is the standard library's, which restores it itself.
fn ignored() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    (1..32)
        .filter(|signal| *signal != signal_hook::consts::SIGPIPE && mask & (1 << (signal - 1)) != 0)
        .collect()
}
