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
    /// A Kubernetes cluster: one that is given, or what `cargo xtask cluster` needs to bring one up.
    Cluster,
    /// Go, in the version that the modules of `tests/cluster` ask for.
    Go,
    /// Python with `pip`.
    PythonPip,
    /// containerd, as a program; its service need not run.
    Containerd,
    /// runc.
    Runc,
    /// The plug-ins that give containers their network.
    CniPlugins,
    /// iptables.
    Iptables,
    /// `ip`.
    Iproute,
    /// busybox, linked statically.
    Busybox,
}

/// Every need of `cargo xtask test`.
pub const TEST: [Need; 5] =
    [Need::StaticLibc, Need::Subids, Need::DockerRegistry, Need::Postgres, Need::PythonVenv];

/// Every need of a cluster that runs.
pub const CLUSTER: [Need; 6] =
    [Need::Root, Need::Containerd, Need::Runc, Need::CniPlugins, Need::Iptables, Need::Iproute];

/// What tests put into a cluster of their own.
pub const CLUSTER_IMAGES: [Need; 1] = [Need::Busybox];

/// Every need of building one.
pub const CLUSTER_BUILD: [Need; 2] = [Need::Go, Need::PythonPip];

/// The oldest Go that builds `tests/cluster`: as its `go.mod` says.
const GO: (u32, u32) = (1, 26);

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
            Self::Cluster => "a Kubernetes cluster",
            Self::Go => "Go 1.26 or later",
            Self::PythonPip => "python3 with pip",
            Self::Containerd => "containerd",
            Self::Runc => "runc",
            Self::CniPlugins => "the CNI plug-ins",
            Self::Iptables => "iptables",
            Self::Iproute => "ip",
            Self::Busybox => "busybox, linked statically",
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
            Self::Cluster => "some tests run the platform on Kubernetes",
            Self::Go => "the servers of the test cluster are built from their Go modules",
            Self::PythonPip => "the test cluster's gateway, Envoy, is in a package of PyPI",
            Self::Containerd => "nodes of the test cluster run containers with it",
            Self::Runc => "containerd starts containers with it",
            Self::CniPlugins => "pods of the test cluster get their network from them",
            Self::Iptables => "services of the test cluster are rules of the kernel",
            Self::Iproute => "nodes of the test cluster get links and routes with it",
            Self::Busybox => "the image of some tests is a shell with its commands",
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
            Self::Cluster => {
                has_kubeconfig() || CLUSTER.iter().chain(&CLUSTER_BUILD).all(|need| need.is_met())
            }
            Self::Go => go().is_some(),
            Self::PythonPip => has_pip(),
            Self::Containerd => on_path("containerd").is_some(),
            Self::Runc => on_path("runc").is_some(),
            Self::CniPlugins => {
                ["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"].iter().any(|path| Path::new(path).is_file())
            }
            Self::Iptables => on_path("iptables").is_some(),
            Self::Iproute => on_path("ip").is_some(),
            Self::Busybox => Path::new("/bin/busybox").is_file(),
        }
    }

    /// The Debian package that brings it.
    fn package(self) -> Option<&'static str> {
        match self {
            // Debian's Go is older than the one that is needed.
            Self::Root | Self::OrdinaryUser | Self::Cluster | Self::Go => None,
            Self::Subids => Some("uidmap"),
            Self::DockerRegistry => Some("docker-registry"),
            Self::Postgres => Some("postgresql"),
            Self::StaticLibc => Some("libc6-dev"),
            Self::PythonVenv => Some("python3-venv"),
            Self::PythonPip => Some("python3-pip"),
            Self::Containerd => Some("containerd"),
            Self::Runc => Some("runc"),
            Self::CniPlugins => Some("containernetworking-plugins"),
            Self::Iptables => Some("iptables"),
            Self::Iproute => Some("iproute2"),
            Self::Busybox => Some("busybox-static"),
        }
    }

    /// Whether it is there, or [`ensure`] can install it.
    pub fn can_be_met(self) -> bool {
        let installs = || self.package().is_some() && is_root() && on_path("apt-get").is_some();
        match self {
            Self::Cluster => {
                has_kubeconfig() || CLUSTER.iter().chain(&CLUSTER_BUILD).all(|need| need.can_be_met())
            }
            _ => self.is_met() || installs(),
        }
    }

    /// How a person gets it.
    pub fn remedy(self) -> String {
        match (self, self.package()) {
            (_, Some(package)) => format!("install: sudo apt-get install {package}"),
            (Self::Go, None) => "install: https://go.dev/doc/install".to_owned(),
            (Self::Cluster, None) => {
                "set KUBECONFIG, or install Go 1.26 or later (https://go.dev/doc/install) and run this as root"
                    .to_owned()
            }
            (_, None) => "run this task as root".to_owned(),
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
        eprintln!("    {}", need.remedy());
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

/// Whether a cluster is given.
pub fn has_kubeconfig() -> bool {
    env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty())
}

/// On the path, or where Debian keeps it by version.
fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    on_path("initdb").is_some()
        || versions.into_iter().any(|version| version.path().join("bin/initdb").is_file())
}

/// Go, where it is new enough; the usual folder counts even when PATH leaves it out.
pub fn go() -> Option<PathBuf> {
    let usual = PathBuf::from("/usr/local/go/bin/go");
    let found = on_path("go").or_else(|| usual.is_file().then_some(usual))?;
    let output = Command::new(&found).args(["env", "GOVERSION"]).output().ok()?;
    go_version(&String::from_utf8_lossy(&output.stdout)).is_some_and(|version| version >= GO).then_some(found)
}

/// The first two numbers of a version of Go, as in `go1.26.8`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix("go")?.split(['.', '-', 'r', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn has_pip() -> bool {
    let probe = Command::new("python3").args(["-m", "pip", "--version"]).output();
    probe.is_ok_and(|output| output.status.success())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_read_and_compared_by_number() {
        assert_eq!(go_version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert!(go_version("go1.9").is_some_and(|version| version < GO));
        assert_eq!(go_version("devel"), None);
    }
}
