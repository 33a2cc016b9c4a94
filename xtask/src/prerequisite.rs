//! What tasks need of the machine: looked for first, installed where that is possible, else named with the reason and
//! the command that installs it.

mod find;
mod task;

use std::path::Path;

use serde::Deserialize;

pub use find::{debian_python, go, has_kubeconfig, is_root, on_path};
use find::{has_pip, has_postgres, has_static_libc};
pub use task::{Task, ensure};

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
    /// Go, in the version that the modules of `tests/cluster` and `benches/argo-rollouts` ask for.
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
            Self::Go => {
                "the servers of the test cluster, and what a bench compares with, are built from Go modules"
            }
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
            Self::Cluster => has_kubeconfig() || of_own_cluster().all(Self::is_met),
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
            Self::Cluster => has_kubeconfig() || of_own_cluster().all(Self::can_be_met),
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

/// What has to be there where a cluster is brought up rather than given.
fn of_own_cluster() -> impl Iterator<Item = Need> {
    [Task::Cluster, Task::ClusterBuild].into_iter().flat_map(|task| task.needs(is_root()))
}
