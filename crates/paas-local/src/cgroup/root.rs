//! Where the groups of this installation are, and which controllers may be used there.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Cgroup;
use crate::{InstanceId, Limits};

const MOUNT: &str = "/sys/fs/cgroup";

/// A resource that can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    /// The file and the value that set a limit; `None` if there is none to set.
    fn limit(self, version: u8, limits: &Limits) -> Option<(&'static str, String)> {
        match (self, version) {
            (Self::Memory, 1) => Some(("memory.limit_in_bytes", limits.memory?.to_string())),
            (Self::Memory, _) => Some(("memory.max", limits.memory?.to_string())),
            // Microseconds of each tenth of a second; the kernel takes no less than one millisecond.
            (Self::Cpu, 1) => Some(("cpu.cfs_quota_us", quota(limits)?.to_string())),
            (Self::Cpu, _) => Some(("cpu.max", format!("{} 100000", quota(limits)?))),
            (Self::Pids, _) => Some(("pids.max", limits.pids?.to_string())),
        }
    }
}

fn quota(limits: &Limits) -> Option<u64> {
    Some((u64::from(limits.cpu_millis?) * 100).max(1000))
}

/// The group of this installation, below which each instance has its own.
#[derive(Debug, Clone)]
pub(crate) struct CgroupRoot {
    version: u8,
    /// The folder of each usable controller; on version 2 they are all the same.
    folders: Vec<(Controller, PathBuf)>,
}

impl CgroupRoot {
    /// Finds what may be used, and makes the installation's group. What is missing is told in `missing`.
    pub(crate) fn open(installation: &str, missing: &mut Vec<String>) -> Self {
        let name = format!("paas-{installation}");
        if Path::new(MOUNT).join("cgroup.controllers").exists() {
            Self::open_v2(&name, missing)
        } else {
            Self::open_v1(&name, missing)
        }
    }

    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.folders.iter().any(|(has, _)| *has == controller)
    }

    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    fn open_v1(name: &str, missing: &mut Vec<String>) -> Self {
        let mut folders = Vec::new();
        for controller in Controller::ALL {
            let folder = Path::new(MOUNT).join(controller.name()).join(name);
            let made = if Path::new(MOUNT).join(controller.name()).join("cgroup.procs").exists() {
                make_dir(&folder)
            } else {
                Err(io::Error::new(io::ErrorKind::NotFound, "the controller is not mounted"))
            };
            match made {
                Ok(()) => folders.push((controller, folder)),
                Err(error) => missing.push(describe(controller, &folder, &error)),
            }
        }
        Self { version: 1, folders }
    }

    fn open_v2(name: &str, missing: &mut Vec<String>) -> Self {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for parent in v2_parents() {
            match prepare_v2(&parent, name) {
                Ok((folder, usable)) => {
                    for controller in Controller::ALL.into_iter().filter(|c| !usable.contains(c)) {
                        let error =
                            io::Error::new(io::ErrorKind::Unsupported, "the controller is not delegated");
                        missing.push(describe(controller, &folder, &error));
                    }
                    let folders = usable.into_iter().map(|controller| (controller, folder.clone())).collect();
                    return Self { version: 2, folders };
                }
                Err(error) => last = error,
            }
        }
        for controller in Controller::ALL {
            missing.push(describe(controller, &Path::new(MOUNT).join(name), &last));
        }
        Self { version: 2, folders: Vec::new() }
    }

    /// Makes a group with the limits that can be set; the others are told in `missing`.
    pub(crate) fn create(
        &self,
        id: &InstanceId,
        limits: &Limits,
        missing: &mut Vec<String>,
    ) -> Option<Cgroup> {
        let mut made: BTreeSet<PathBuf> = BTreeSet::new();
        for (controller, parent) in &self.folders {
            let folder = parent.join(id.as_str());
            let set = make_dir(&folder).and_then(|()| match controller.limit(self.version, limits) {
                Some((file, value)) => fs::write(folder.join(file), value),
                None => Ok(()),
            });
            match set {
                Ok(()) => {
                    made.insert(folder);
                }
                Err(error) => missing.push(describe(*controller, &folder, &error)),
            }
        }
        (!made.is_empty()).then(|| Cgroup { folders: made.into_iter().collect() })
    }

    /// The groups of instances that are there, by name.
    pub(crate) fn list(&self) -> Vec<(String, Cgroup)> {
        let mut found: std::collections::BTreeMap<String, BTreeSet<PathBuf>> =
            std::collections::BTreeMap::new();
        for (_, parent) in &self.folders {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    found.entry(name).or_default().insert(entry.path());
                }
            }
        }
        found
            .into_iter()
            .map(|(name, folders)| (name, Cgroup { folders: folders.into_iter().collect() }))
            .collect()
    }

    /// The group of an instance, if there is one.
    pub(crate) fn find(&self, id: &InstanceId) -> Option<Cgroup> {
        let folders: BTreeSet<PathBuf> = self
            .folders
            .iter()
            .map(|(_, parent)| parent.join(id.as_str()))
            .filter(|folder| folder.exists())
            .collect();
        (!folders.is_empty()).then(|| Cgroup { folders: folders.into_iter().collect() })
    }

    /// Removes the installation's own group, if nothing is left in it.
    pub(crate) fn remove(&self) -> bool {
        Cgroup { folders: self.folders.iter().map(|(_, folder)| folder.clone()).collect() }
            .remove(Duration::ZERO)
    }
}

/// Where a group may be made: at the top for root, else in the part that was delegated to us.
fn v2_parents() -> Vec<PathBuf> {
    let mut parents = Vec::new();
    if rustix::process::geteuid().is_root() {
        parents.push(PathBuf::from(MOUNT));
    }
    if let Some(own) = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("0::/").map(|own| Path::new(MOUNT).join(own)))
    }) {
        // A server that was restarted is in the leaf that its predecessor made.
        parents.push(if own.ends_with("paas-server") {
            own.parent().map_or_else(|| own.clone(), Path::to_path_buf)
        } else {
            own
        });
    }
    parents
}

fn prepare_v2(parent: &Path, name: &str) -> io::Result<(PathBuf, Vec<Controller>)> {
    let folder = parent.join(name);
    make_dir(&folder)?;
    if enable(parent).is_err() && parent != Path::new(MOUNT) {
        // A group with processes of its own cannot share out its controllers: this process moves to a leaf.
        let leaf = parent.join("paas-server");
        make_dir(&leaf)?;
        fs::write(leaf.join("cgroup.procs"), "0")?;
        let _ = enable(parent);
    }
    let _ = enable(&folder);
    let shared = fs::read_to_string(folder.join("cgroup.subtree_control"))?;
    let usable: Vec<Controller> = Controller::ALL
        .into_iter()
        .filter(|controller| shared.split_whitespace().any(|name| name == controller.name()))
        .collect();
    if usable.is_empty() {
        let _ = fs::remove_dir(&folder);
        return Err(io::Error::new(io::ErrorKind::Unsupported, "no controller is delegated here"));
    }
    Ok((folder, usable))
}

/// Shares out the controllers that there are.
fn enable(folder: &Path) -> io::Result<()> {
    let there = fs::read_to_string(folder.join("cgroup.controllers"))?;
    let mut result = Ok(());
    for controller in Controller::ALL {
        if there.split_whitespace().any(|name| name == controller.name()) {
            let one = fs::write(folder.join("cgroup.subtree_control"), format!("+{}", controller.name()));
            result = result.and(one);
        }
    }
    result
}

fn make_dir(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn describe(controller: Controller, folder: &Path, error: &io::Error) -> String {
    format!("no limit of {}: {}: {error}", controller.name(), folder.display())
}
