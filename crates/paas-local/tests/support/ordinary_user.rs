//! Running a test once more as an ordinary user.

use std::{process::Command, sync::OnceLock};

use libtest_mimic::Failed;

const USER: &str = "paas-test";

pub(crate) fn run_again(name: &str) -> Result<(), Failed> {
    static USER_IDS: OnceLock<Result<(u32, u32), String>> = OnceLock::new();
    let (uid, gid) = USER_IDS.get_or_init(prepare).clone()?;
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

/// The user with its subordinate ids.
fn prepare() -> Result<(u32, u32), String> {
    let find = || {
        std::fs::read_to_string("/etc/passwd").ok()?.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields[0] == USER).then(|| (fields[2].parse().ok(), fields[3].parse().ok()))
        })
    };
    let run = |program: &str, args: &[&str]| -> Result<(), String> {
        let output =
            Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    if find().is_none() {
        run("useradd", &["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", USER])?;
    }
    let has = |file: &str| std::fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("{USER}:")));
    if !has("/etc/subuid") {
        run("usermod", &["--add-subuids", "700000-765535", USER])?;
    }
    if !has("/etc/subgid") {
        run("usermod", &["--add-subgids", "700000-765535", USER])?;
    }
    match find() {
        Some((Some(uid), Some(gid))) => Ok((uid, gid)),
        _ => Err(format!("the user {USER} cannot be made")),
    }
}
