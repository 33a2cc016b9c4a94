//! What this machine offers to a runtime.

use std::{fmt, fs, path::Path};

use crate::{
    cgroup::{CgroupRoot, Controller},
    container::seccomp_available,
    idmap::IdMap,
};

/// What this machine and this user offer, found out once at the start.
#[derive(Debug, Clone)]
pub struct Host {
    root: bool,
    id_map: Option<IdMap>,
    pub(crate) cgroups: CgroupRoot,
    limitations: Vec<Limitation>,
}

/// Something that cannot be had here: what, why, and where known what to do about it. One sentence, for start-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limitation(String);

impl fmt::Display for Limitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Host {
    /// Looks at this machine. `installation` names the control groups of this state directory, so that several
    /// installations on a machine do not meet; the group is made here.
    pub fn probe(installation: &str) -> Self {
        let root = rustix::process::geteuid().is_root();
        let mut missing = Vec::new();
        let id_map = if root {
            None
        } else {
            let (map, why) = IdMap::detect();
            missing.extend(why);
            if let Err(error) = map.run_inside(&["probe".into()]) {
                missing.push(format!("containers cannot be run at all: {}", error.chain()));
            }
            Some(map)
        };
        let cgroups = CgroupRoot::open(installation, &mut missing);
        if !seccomp_available() || !Path::new("/proc/sys/kernel/seccomp").exists() {
            missing.push(
                "system calls are not filtered: the kernel has no seccomp for this architecture".into(),
            );
        }
        if !fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("overlay")) {
            missing.push(
                "containers cannot be run at all: the kernel has no overlay file system (modprobe overlay)"
                    .into(),
            );
        }
        Self { root, id_map, cgroups, limitations: missing.into_iter().map(Limitation).collect() }
    }

    /// Whether this is root; else containers are in user namespaces.
    pub fn is_root(&self) -> bool {
        self.root
    }

    /// How ids of images are mapped, if not one to one.
    pub fn id_map(&self) -> Option<&IdMap> {
        self.id_map.as_ref()
    }

    /// Whether limits of memory are enforced.
    pub fn limits_memory(&self) -> bool {
        self.cgroups.has(Controller::Memory)
    }

    /// Whether shares of processors are enforced.
    pub fn limits_cpu(&self) -> bool {
        self.cgroups.has(Controller::Cpu)
    }

    /// Whether the number of processes is limited.
    pub fn limits_pids(&self) -> bool {
        self.cgroups.has(Controller::Pids)
    }

    /// 1 or 2.
    pub fn cgroup_version(&self) -> u8 {
        self.cgroups.version()
    }

    /// Removes the installation's control group; `false` if an instance is still in it. For uninstalling, and for tests.
    pub fn release(&self) -> bool {
        self.cgroups.remove()
    }

    /// What cannot be had, to be told at start-up; empty on a machine that has everything.
    pub fn limitations(&self) -> &[Limitation] {
        &self.limitations
    }
}
