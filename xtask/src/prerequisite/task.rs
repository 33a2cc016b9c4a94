//! What each task needs, and the installation of what is missing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::Need;
use super::find::{is_root, on_path};
use crate::workspace::succeed;

/// What has needs of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// `cargo xtask run`
    Run,
    /// `cargo xtask test`
    Test,
    /// `cargo xtask bench`
    Bench,
    /// A cluster that runs.
    Cluster,
    /// A cluster that runs for tests, which bring images of their own.
    ClusterOfTests,
    /// Building a cluster.
    ClusterBuild,
    /// Building what `cargo xtask bench idle` compares with.
    BenchIdle,
}

impl Task {
    #[cfg(test)]
    const ALL: [Self; 7] = [
        Self::Run,
        Self::Test,
        Self::Bench,
        Self::Cluster,
        Self::ClusterOfTests,
        Self::ClusterBuild,
        Self::BenchIdle,
    ];

    /// Everything that it needs, for root or for an ordinary user.
    pub fn needs(self, root: bool) -> Vec<Need> {
        use Need::{
            Busybox, CniPlugins, Containerd, DockerRegistry, Go, Iproute, Iptables, Postgres, PythonPip,
            PythonVenv, Root, Runc, StaticLibc, Subids,
        };
        match self {
            // Root gives its containers any user ids.
            Self::Run | Self::Bench if root => vec![StaticLibc],
            Self::Run | Self::Bench => vec![StaticLibc, Subids],
            // Where root runs the tests, some are run as an ordinary user all the same.
            Self::Test => vec![StaticLibc, Subids, DockerRegistry, Postgres, PythonVenv],
            Self::Cluster => vec![Root, Containerd, Runc, CniPlugins, Iptables, Iproute],
            Self::ClusterOfTests => [Self::Cluster.needs(root), vec![Busybox]].concat(),
            Self::ClusterBuild => vec![Go, PythonPip],
            Self::BenchIdle => vec![Go],
        }
    }
}

/// Makes sure that everything is there, by `apt-get` where the user is root on Debian. Each need is shown with its reason.
pub fn ensure(task: Task) -> Result<()> {
    let needs = task.needs(is_root());
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !need.is_met()).collect();
    for need in &needs {
        let state = if missing.contains(need) { "missing" } else { "there" };
        eprintln!("    {}: {state}; {}", need.what(), need.why());
    }
    let packages: Vec<&str> = missing.iter().filter_map(|need| need.package()).collect();
    if !packages.is_empty() && is_root() && on_path("apt-get").is_some() {
        eprintln!("    installing {}", packages.join(" "));
        install(&packages)?;
    }
    let still: Vec<Need> = missing.into_iter().filter(|need| !need.is_met()).collect();
    match complaint(&still) {
        None => Ok(()),
        Some(complaint) => bail!(complaint),
    }
}

/// What a person is told of needs that are not met: each with its reason and its remedy.
fn complaint(missing: &[Need]) -> Option<String> {
    let lines: Vec<String> = missing
        .iter()
        .map(|need| format!("    {}, because {}\n      {}", need.what(), need.why(), need.remedy()))
        .collect();
    match lines.len() {
        0 => None,
        1 => Some(format!("a prerequisite is missing:\n{}", lines[0])),
        count => Some(format!("{count} prerequisites are missing:\n{}", lines.join("\n"))),
    }
}

fn install(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "Acquire::Retries=3"]);
        command
    };
    succeed(apt().arg("update"))?;
    // A package that starts a service would start it here and now: the tests start their own.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        succeed(Command::new("chmod").arg("755").arg(policy))?;
    }
    let outcome = succeed(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages));
    if ours {
        fs::remove_file(policy)?;
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_can_run_the_tests_can_run_the_platform() {
        for root in [true, false] {
            let tests = Task::Test.needs(root);
            assert!(Task::Run.needs(root).iter().all(|need| tests.contains(need)));
        }
    }

    #[test]
    fn an_ordinary_user_is_told_of_what_its_containers_need() {
        assert!(Task::Run.needs(false).contains(&Need::Subids));
        assert!(!Task::Run.needs(true).contains(&Need::Subids));
    }

    #[test]
    fn what_is_missing_is_told_with_its_reason_and_its_remedy() {
        assert_eq!(complaint(&[]), None);
        let told = complaint(&[Need::StaticLibc, Need::Subids, Need::Go, Need::Root]).expect("a complaint");
        assert_eq!(
            told,
            "4 prerequisites are missing:
    a static C library (libc.a), because the sample's image holds one static binary and nothing else
      install: sudo apt-get install libc6-dev
    newuidmap and newgidmap, because containers of an ordinary user get their user ids from it
      install: sudo apt-get install uidmap
    Go 1.26 or later, because the servers of the test cluster, and what a bench compares with, are built from Go modules
      install: https://go.dev/doc/install
    root, because some tests make cgroups and mounts as root
      run this task as root"
        );
    }

    #[test]
    fn every_need_of_every_task_has_a_reason_and_a_remedy() {
        for task in Task::ALL {
            for need in [task.needs(true), task.needs(false)].concat() {
                let told = complaint(&[need]).expect("a complaint");
                let remedy = ["install: ", "as root"].iter().any(|word| told.contains(word));
                assert!(remedy && told.contains("because ") && told.starts_with("a prerequisite"), "{told}");
            }
        }
    }
}
