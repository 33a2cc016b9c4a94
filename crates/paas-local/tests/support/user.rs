//! The ordinary user of tests that root runs.

use std::process::Command;

const USER: &str = "paas-test";

/// Its user and group ids; it is made if it is missing, with subordinate ids.
pub(crate) fn ids() -> Result<(u32, u32), String> {
    static IDS: std::sync::OnceLock<Result<(u32, u32), String>> = std::sync::OnceLock::new();
    IDS.get_or_init(prepare).clone()
}

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
