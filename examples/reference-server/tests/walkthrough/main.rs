//! What a new user does: `cargo xtask run`, then the commands that it prints, as they are printed, until `--down`.
//!
//! `cargo xtask run` builds here what a test of the whole workspace builds, so that nothing is built twice.

#![allow(clippy::unwrap_used, reason = "a walk that cannot go on fails")]

#[path = "../support/application.rs"]
#[allow(dead_code, reason = "the journeys use the rest")]
mod application;
#[path = "../support/leftovers.rs"]
#[allow(dead_code, reason = "the journeys use the rest")]
mod leftovers;
#[path = "../support/outcome.rs"]
#[allow(dead_code, reason = "the journeys use the rest")]
mod outcome;
#[path = "../support/wait.rs"]
mod wait;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use application::only;
use outcome::Outcome;
use wait::eventually;

/// A folder in which the platform runs, on ports of its own.
struct Walk {
    folder: TempDir,
    listen: SocketAddr,
    gateway: SocketAddr,
}

impl Drop for Walk {
    /// Nothing goes on after a walk that has failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.place().join("server.log")).unwrap_or_default());
            let states = leftovers::states(&self.place().join("server"));
            for pid in leftovers::processes(&self.place(), "") {
                leftovers::signal(pid, "KILL");
            }
            leftovers::kill_everything(&self.place().join("server"));
            leftovers::remove_groups(&states);
        }
    }
}

impl Walk {
    fn new() -> Self {
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let folder = tempfile::Builder::new().prefix("paas-walk-").tempdir().unwrap();
        Self { folder, listen: free(), gateway: free() }
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("place")
    }

    /// `cargo xtask run` with these words, which must succeed; returns what it prints.
    fn run(&self, words: &[&str]) -> String {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(workspace).args(["xtask", "run", "--as-tests", "--dir"]).arg(self.place());
        command.args(["--listen", &self.listen.to_string(), "--gateway", &self.gateway.to_string()]);
        Outcome::of(command.args(words)).ended_with(0).stdout
    }

    /// Runs a line in a shell, after the line that makes it ready.
    fn type_in(&self, ready: &str, line: &str) -> Outcome {
        Outcome::of(
            Command::new("sh").current_dir(self.folder.path()).arg("-c").arg(format!("{ready}\n{line}")),
        )
    }
}

/// What `cargo xtask run` says at its end.
struct Invitation {
    host: String,
    ready: String,
    commands: Vec<String>,
}

impl Invitation {
    fn read(printed: &str, gateway: SocketAddr) -> Self {
        let address = printed.split_once("answers at http://").expect("an address is printed").1;
        let address = address.split('/').next().unwrap();
        let (host, port) = address.split_once(':').unwrap();
        assert_eq!(port, gateway.port().to_string(), "{printed}");
        let lines = || printed.lines().map(str::trim);
        let ready = lines().find(|line| line.starts_with("export ")).expect("what makes a shell ready");
        let commands = lines().filter(|line| line.starts_with("paas ")).map(str::to_owned).collect();
        Self { host: host.to_owned(), ready: ready.to_owned(), commands }
    }

    /// The versions and the instances that answer many requests.
    fn answers(&self, gateway: SocketAddr) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut versions, mut instances) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..30 {
            let answer = application::get(gateway, &self.host, "/api/info").unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let info: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            versions.insert(answer.version);
            instances.insert(info["instance"].as_str().unwrap().to_owned());
        }
        (versions, instances)
    }
}

#[test]
fn what_a_new_user_is_told_to_do_works() {
    let walk = Walk::new();
    let invitation = Invitation::read(&walk.run(&[]), walk.gateway);
    let serves = |version: &str| {
        let (versions, instances) = invitation.answers(walk.gateway);
        assert_eq!(versions, only(version));
        assert_eq!(instances.len(), 3, "three instances answer");
        instances
    };
    serves("1");

    // The five commands, each with what it shall do.
    let shell = |line: &str| walk.type_in(&invitation.ready, line).ended_with(0).stdout;
    let [look, release, list, back, bad] = &invitation.commands[..] else {
        panic!("five commands are printed: {:#?}", invitation.commands)
    };
    assert!(shell(look).contains("running, release 1"));
    shell(release);
    serves("2");
    assert!(shell(list).contains("current"));
    shell(back);
    let good = serves("1");
    shell(bad);
    eventually("the bad one holds, and the status says why", || {
        let status = shell("paas status sample");
        (status.contains("releasing") && status.contains("503")).then_some(())
    });
    assert_eq!(serves("1"), good, "nobody notices the bad one");
    shell("paas abort sample");

    walk.run(&["--stop"]);
    walk.type_in(&invitation.ready, "paas status sample").ended_with(5);
    assert_eq!(serves("1"), good, "the applications go on without the server");
    let again = Invitation::read(&walk.run(&[]), walk.gateway);
    assert_eq!(again.commands, invitation.commands);
    assert_eq!(serves("1"), good, "the same instances are found again");

    let states = leftovers::states(&walk.place().join("server"));
    assert!(!states.is_empty());
    walk.run(&["--down"]);
    assert!(!walk.place().exists());
    assert_eq!(leftovers::of(walk.folder.path()), Vec::<String>::new());
    for (file, state) in states {
        assert_eq!(leftovers::program_of(&state), None, "what ran in {} is gone", file.display());
        let groups = state["cgroup"]["folders"].as_array().into_iter().flatten();
        for group in groups.filter_map(|group| group.as_str()) {
            assert!(!Path::new(group).exists(), "{group}");
        }
    }
}
