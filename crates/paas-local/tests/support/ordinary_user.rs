//! Running a test once more as an ordinary user.

use std::process::Command;

use libtest_mimic::Failed;

pub(crate) fn run_again(name: &str) -> Result<(), Failed> {
    let (uid, gid) = super::user::ids()?;
    // It may not write to the build directory.
    super::program::path();
    let output = Command::new("setpriv")
        .args([
            &format!("--reuid={uid}"),
            &format!("--regid={gid}"),
            "--clear-groups",
            "--inh-caps=-all",
            "--",
        ])
        .arg(std::env::current_exe()?)
        .args(["--exact", &format!("user::{name}"), "--nocapture"])
        .env("HOME", "/nonexistent")
        .env("TMPDIR", "/tmp")
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failed::from(format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}
