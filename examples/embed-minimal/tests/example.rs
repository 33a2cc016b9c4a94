//! The example does what it says, in as few lines as it says.

use std::process::Command;

#[test]
fn three_releases_are_made_and_the_last_is_current() {
    let output = Command::new(env!("CARGO_BIN_EXE_embed-minimal")).output().expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in ["release 1 of example/web:1: Succeeded", "release 2 of example/web:2: Succeeded"] {
        assert!(printed.contains(line), "{printed}");
    }
    let (_, status) = printed.split_once("release 3, a rollback: Succeeded").expect("it went back");
    assert!(status.contains("\"state\": \"running\""), "{status}");
}

#[test]
fn it_has_at_most_forty_lines_of_code() {
    let code = include_str!("../src/main.rs").lines().map(str::trim);
    let code = code.filter(|line| !line.is_empty() && !line.starts_with("//"));
    assert!(code.count() <= 40);
}
