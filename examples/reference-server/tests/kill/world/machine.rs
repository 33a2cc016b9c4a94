//! The machine from outside: what runs, is mounted, limited and lies about because of one server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use serde_json::Value;

use super::{Seen, eventually, read};

/// What there is because of a server, by component where it belongs to one. It knows nothing of what is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Folders of containers, those that were started again by themselves.
    pub containers: BTreeMap<String, usize>,
    /// Containers whose shim and whose own process live.
    pub running: BTreeMap<String, usize>,
    /// Processes of the server's program, by what they are.
    pub processes: BTreeMap<String, usize>,
    /// Control groups.
    pub cgroups: BTreeMap<String, usize>,
    /// Mounts that others see.
    pub mounts: Vec<String>,
    /// Volumes.
    pub volumes: BTreeSet<String>,
    /// What the machine is declared to keep.
    pub declared: usize,
}

/// A container is named after its component, and how often it was started again by itself.
fn kind(container: &str) -> String {
    let Some((instance, restarts)) = container.rsplit_once("-r") else { return container.to_owned() };
    let component = instance.rsplit_once('-').map_or(instance, |(component, _)| component);
    if restarts == "0" { component.to_owned() } else { format!("{component}, started again ({restarts})") }
}

fn count(all: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Looks at the machine. `made` are the containers that the server has ever made, `roots` the control groups below which it
/// has had some.
fn look(data: &Path, made: &BTreeSet<String>, roots: &mut BTreeSet<PathBuf>) -> Machine {
    let folder = data.join("machine/instances");
    let containers = names(&folder);
    let mut running = Vec::new();
    for container in &containers {
        let Some(state) = read(&folder.join(container).join("state.json")) else { continue };
        let alive = |field: &str| {
            state[field].as_u64().is_some_and(|pid| Path::new(&format!("/proc/{pid}/cmdline")).exists())
        };
        if alive("pid") && alive("shim_pid") {
            running.push(kind(container));
        }
        roots.extend(
            groups(&state["cgroup"]).into_iter().filter_map(|group| Some(group.parent()?.to_owned())),
        );
    }
    let cgroups = roots.iter().flat_map(|root| names(root)).filter(|name| name.contains("-r"));
    let cgroups: BTreeSet<String> = cgroups.collect();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let home = data.parent().unwrap().to_string_lossy();
    Machine {
        containers: count(containers.iter().map(|container| kind(container))),
        running: count(running),
        processes: count(processes(data, made).into_iter().map(|(_, kind)| kind)),
        cgroups: count(cgroups.iter().map(|group| kind(group))),
        mounts: mounts.lines().filter(|line| line.contains(&*home)).map(str::to_owned).collect(),
        volumes: volumes(&data.join("machine/volumes")),
        declared: names(&data.join("machine/declared/sets")).len()
            + names(&data.join("machine/declared/runs")).len(),
    }
}

/// Every path in a record of control groups.
fn groups(record: &Value) -> Vec<PathBuf> {
    match record {
        Value::String(text) if text.starts_with("/sys/fs/cgroup") => vec![PathBuf::from(text)],
        Value::Array(values) => values.iter().flat_map(groups).collect(),
        Value::Object(fields) => fields.values().flat_map(groups).collect(),
        _ => Vec::new(),
    }
}

/// Folders that hold no other one.
fn volumes(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in names(folder) {
        let inner = volumes(&folder.join(&name));
        if inner.is_empty() {
            found.insert(name);
        } else {
            found.extend(inner.into_iter().map(|inner| format!("{name}/{inner}")));
        }
    }
    found
}

/// The processes of a server, by number: its helpers, which have its directory among their words, and what runs in the
/// containers that it made, where the environment names the instance.
fn processes(data: &Path, made: &BTreeSet<String>) -> Vec<(u32, String)> {
    let directory = data.to_string_lossy();
    let instances: BTreeSet<&str> =
        made.iter().filter_map(|container| Some(container.rsplit_once("-r")?.0)).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let text = |name: &str| {
            fs::read(entry.path().join(name))
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default()
        };
        let words = text("cmdline");
        if words.contains(&*directory) {
            found.push((pid, words.split('\0').nth(1).unwrap_or_default().to_owned()));
        } else if text("environ")
            .split('\0')
            .any(|variable| variable.strip_prefix("PAAS_INSTANCE=").is_some_and(|id| instances.contains(id)))
        {
            found.push((pid, "in a container".to_owned()));
        }
    }
    found
}

/// The number of the gateway's process.
fn gateway(data: &Path) -> Option<u64> {
    read(&data.join("machine/gateway/gateway.json"))?["pid"].as_u64()
}

/// Sees every container that is ever made, however short it lives.
struct Witness(OwnedFd);

impl Witness {
    /// Watches from now on.
    fn new(data: &Path) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        let made = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&watch, data.join("machine/instances"), made).unwrap();
        Self(watch)
    }

    /// The containers that were made since the last time.
    fn made(&self) -> Vec<String> {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut made = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    assert!(
                        !event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW),
                        "too many containers"
                    );
                    let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
                    // One that is being removed is renamed first.
                    made.extend(name.filter(|name| !name.starts_with('.')));
                }
                Err(rustix::io::Errno::AGAIN) => return made,
                Err(errno) => panic!("failed to watch containers being made: {errno}"),
            }
        }
    }
}

/// The machine on which a server's applications run.
pub struct OnMachine {
    data: PathBuf,
    gateway_process: Option<u64>,
    witness: Witness,
    /// All containers that were ever made.
    made: BTreeSet<String>,
    /// Those that were made since the present story began. A start that was cut off is begun anew under the same name.
    made_now: BTreeSet<String>,
    groups: BTreeSet<PathBuf>,
}

impl OnMachine {
    /// The machine of a server that has started in `home`.
    pub fn new(home: &Path) -> Self {
        let data = home.join("data");
        Self {
            witness: Witness::new(&data),
            gateway_process: gateway(&data),
            data,
            made: BTreeSet::new(),
            made_now: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }

    /// What is made from now on is made for another story.
    pub fn begin(&mut self) {
        self.look();
        self.made_now.clear();
    }

    /// The gateway is the one of the first start.
    pub fn check_gateway(&self) {
        let now = gateway(&self.data);
        assert_eq!(now, self.gateway_process, "the gateway lives on");
        let process = format!("/proc/{}", now.unwrap());
        assert!(Path::new(&process).exists(), "the gateway lives");
    }

    fn look(&mut self) -> Machine {
        let made = self.witness.made();
        self.made.extend(made.iter().cloned());
        self.made_now.extend(made);
        look(&self.data, &self.made, &mut self.groups)
    }

    /// What was made for the story, and what there is.
    pub fn seen(&mut self) -> Seen {
        let machine = self.look();
        let is_there = |container: &&String| self.data.join("machine/instances").join(container).exists();
        let mut made_in_vain: Vec<String> =
            self.made_now.iter().filter(|it| !is_there(it)).map(|it| kind(it)).collect();
        made_in_vain.sort();
        Seen {
            machine,
            made: count(self.made_now.iter().map(|container| kind(container))),
            made_in_vain,
            objects: Vec::new(),
        }
    }

    /// Takes everything down.
    pub async fn close(mut self) {
        self.look();
        // Nothing starts anything any more: supervisors and what they supervise, at last the gateway.
        eventually("everything ends", async || {
            let left = processes(&self.data, &self.made);
            for (pid, _) in &left {
                if let Some(pid) = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        // A group stays for as long as the kernel is at what ran in it.
        eventually("the control groups go", async || {
            let left = self.groups.iter().filter(|root| !remove_group(root));
            let left: Vec<&PathBuf> = left.collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        assert_eq!(self.look().mounts, Vec::<String>::new());
    }
}

/// Removes a control group with those below it; whether it is gone.
fn remove_group(root: &Path) -> bool {
    for group in fs::read_dir(root).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(group.path());
    }
    let _ = fs::remove_dir(root);
    !root.exists()
}
