//! What tasks need of the machine: looked for first, installed where that is possible, else named with the reason and
//! the command that installs it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::workspace::succeed;

/// Something that a task or an ignored test needs. The names are those of `tests/ignored.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// The user is root.
    Root,
    /// A user that is not root, and root to become it.
    OrdinaryUser,
    /// Subordinate user ids: `newuidmap` and `newgidmap`.
    Subids,
    /// Debian's `docker-registry`, a registry that is not ours.
    DockerRegistry,
    /// PostgreSQL's server, `initdb` and `postgres`.
    Postgres,
    /// A static C library, for the sample's binary.
    StaticLibc,
    /// Python with `venv`, for schemathesis.
    PythonVenv,
}

/// Every need of `cargo xtask test`.
pub const TEST: [Need; 5] =
    [Need::StaticLibc, Need::Subids, Need::DockerRegistry, Need::Postgres, Need::PythonVenv];

impl Need {
    /// What it is, in words.
    pub fn what(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::OrdinaryUser => "root, to become an ordinary user",
            Self::Subids => "newuidmap and newgidmap",
            Self::DockerRegistry => "docker-registry",
            Self::Postgres => "PostgreSQL's server (initdb, postgres)",
            Self::StaticLibc => "a static C library (libc.a)",
            Self::PythonVenv => "python3 with venv",
        }
    }

    /// What it is needed for.
    pub fn why(self) -> &'static str {
        match self {
            Self::Root => "some tests make cgroups and mounts as root",
            Self::OrdinaryUser => "some tests run the platform as a user without rights",
            Self::Subids => "containers of an ordinary user get their user ids from it",
            Self::DockerRegistry => "images are pulled from a registry that is not ours",
            Self::Postgres => {
                "several servers share a store in PostgreSQL, and the tests start one of their own"
            }
            Self::StaticLibc => "the sample's image holds one static binary and nothing else",
            Self::PythonVenv => "schemathesis fuzzes the REST interface",
        }
    }

    /// Whether it is there.
    pub fn is_met(self) -> bool {
        match self {
            Self::Root | Self::OrdinaryUser => is_root(),
            Self::Subids => on_path("newuidmap").is_some() && on_path("newgidmap").is_some(),
            Self::DockerRegistry => on_path("docker-registry").is_some(),
            Self::Postgres => has_postgres(),
            Self::StaticLibc => has_static_libc(),
            Self::PythonVenv => debian_python().is_some(),
        }
    }

    /// The Debian package that brings it.
    fn package(self) -> Option<&'static str> {
        match self {
            Self::Root | Self::OrdinaryUser => None,
            Self::Subids => Some("uidmap"),
            Self::DockerRegistry => Some("docker-registry"),
            Self::Postgres => Some("postgresql"),
            Self::StaticLibc => Some("libc6-dev"),
            Self::PythonVenv => Some("python3-venv"),
        }
    }
}

/// Makes sure that everything is there, by `apt-get` where the user is root on Debian.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !need.is_met()).collect();
    let packages: Vec<&str> = missing.iter().filter_map(|need| need.package()).collect();
    if !packages.is_empty() && is_root() && on_path("apt-get").is_some() {
        eprintln!("    installing {}", packages.join(" "));
        install(&packages)?;
    }
    let still: Vec<Need> = missing.into_iter().filter(|need| !need.is_met()).collect();
    if still.is_empty() {
        return Ok(());
    }
    for need in &still {
        eprintln!("    missing: {}, because {}", need.what(), need.why());
        match need.package() {
            Some(package) => eprintln!("    install: sudo apt-get install {package}"),
            None => eprintln!("    run this task as root"),
        }
    }
    bail!("{} prerequisites are missing", still.len())
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

/// Whether this user is root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The first executable of that name; system folders count even when PATH leaves them out.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// On the path, or where Debian keeps it by version.
fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    on_path("initdb").is_some()
        || versions.into_iter().any(|version| version.path().join("bin/initdb").is_file())
}

fn has_static_libc() -> bool {
    let Ok(output) = Command::new("cc").arg("-print-file-name=libc.a").output() else {
        return false;
    };
    // When there is none, the compiler answers the bare name.
    Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_absolute()
}

/// A Python whose `venv` works; Debian splits `ensurepip` off.
pub fn debian_python() -> Option<PathBuf> {
    let works = |python: &PathBuf| {
        let probe = Command::new(python).args(["-c", "import venv, ensurepip"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    [PathBuf::from("/usr/bin/python3")].into_iter().chain(on_path("python3")).find(works)
}
