//! What an instance is made from.

mod validate;

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The version of [`InstanceSpec`] that this build writes. It reads this one and older ones.
pub const SPEC_VERSION: u32 = 1;

/// The name of an instance: 1 to 63 of `a-z`, `0-9` and `-`, neither first nor last a `-`. It is its host name too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(String);

impl InstanceId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let edge = |c: Option<&u8>| c.is_some_and(|c| *c != b'-');
        let bytes = text.as_bytes();
        if bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|c| inner(*c)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::new(ErrorKind::InvalidSpec, "read the name of an instance")
                .with("name", format_args!("{text:?}"))
                .with_detail("it must be 1 to 63 of a-z, 0-9 and -, not beginning or ending with -"))
        }
    }
}

impl TryFrom<String> for InstanceId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an instance is made from. It is written to the instance's folder, so it holds no secrets: those are in
/// [`Secrets`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceSpec {
    /// Of which version this record is.
    pub version: u32,
    /// Its name.
    pub id: InstanceId,
    /// Its host name; its own name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// What its owner wants to know about it; no meaning here.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The folders of the image's layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// What runs.
    pub command: Command,
    /// Its environment, besides `PATH`, `HOME` and `HOSTNAME`, which are set if they are missing here, and the
    /// addresses of the dependencies.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it starts; `/` by default. Made if it is missing.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// The user as images write it, `user[:group]`, by name or number; root by default.
    #[serde(default)]
    pub user: Option<String>,
    /// Whether the root file system is read-only. `/tmp` is a memory file system then.
    #[serde(default)]
    pub read_only_root: bool,
    /// Folders of the host that survive the instance.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Files that are put into the root file system; kept in memory.
    #[serde(default)]
    pub files: Vec<FileSpec>,
    /// The TCP ports on which it listens.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// The components that it may call.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// The most that it may use.
    #[serde(default)]
    pub limits: Limits,
    /// The signal that asks it to end, by number; `SIGTERM` by default.
    #[serde(default)]
    pub stop_signal: Option<i32>,
    /// How much of its output is kept.
    #[serde(default)]
    pub log: LogPolicy,
}

impl InstanceSpec {
    /// A specification with defaults for what is not given.
    pub fn new(id: InstanceId, layers: Vec<PathBuf>, command: Command) -> Self {
        Self {
            version: SPEC_VERSION,
            id,
            host_name: None,
            labels: BTreeMap::new(),
            layers,
            command,
            env: BTreeMap::new(),
            working_dir: None,
            user: None,
            read_only_root: false,
            volumes: Vec::new(),
            files: Vec::new(),
            ports: Vec::new(),
            dependencies: Vec::new(),
            limits: Limits::default(),
            stop_signal: None,
            log: LogPolicy::default(),
        }
    }

    /// The host name that it sees.
    pub fn host_name(&self) -> &str {
        self.host_name.as_deref().unwrap_or_else(|| self.id.as_str())
    }

    /// Where each dependency is reached from inside, in the order of the declaration.
    ///
    /// Each has a loopback address of its own (`127.0.77.1` and up), known by the dependency's name, and the port
    /// that the dependency declares. An instance that listens on all addresses would collide with that where the
    /// port is one of its own; then the port is the next one above 20000 plus the port that is not its own.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        (1..=254_u8)
            .zip(&self.dependencies)
            .map(|(host, dependency)| Endpoint {
                name: dependency.name.clone(),
                address: Ipv4Addr::new(127, 0, 77, host),
                port: self.free_port(dependency.port),
            })
            .collect()
    }

    fn free_port(&self, wanted: u16) -> u16 {
        if !self.ports.contains(&wanted) {
            return wanted;
        }
        (1..=u16::MAX)
            .map(|step| wanted.wrapping_add(20_000).wrapping_add(step))
            .find(|port| *port > 1024 && !self.ports.contains(port))
            .unwrap_or(wanted)
    }
}

/// What runs in an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// A program with its arguments; the first is looked up in `PATH` of the environment, inside the image.
    Program(Vec<String>),
    /// Nothing: the instance is held open for programs that are executed in it, until it is stopped.
    Pause,
}

/// A folder of the host that is mounted into an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The folder on the host; made if it is missing.
    pub source: PathBuf,
    /// Where it appears: an absolute path.
    pub target: String,
    /// Whether it cannot be written to.
    #[serde(default)]
    pub read_only: bool,
}

/// A file that appears in an instance. It is read-only and held in memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// Where it appears: an absolute path.
    pub path: String,
    /// Its permissions, such as `0o444`; it belongs to the instance's user.
    pub mode: u32,
    /// What is in it.
    pub content: Vec<u8>,
}

impl fmt::Debug for FileSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileSpec({:?}, {:o}, {} bytes)", self.path, self.mode, self.content.len())
    }
}

/// A component that an instance may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The name under which it is known: in `/etc/hosts`, and as prefix of `NAME_HOST`, `NAME_PORT`, `NAME_URL`.
    pub name: String,
    /// The port that it declares.
    pub port: u16,
}

/// Where a dependency is reached from inside an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The dependency's name.
    pub name: String,
    /// Its address inside the instance.
    pub address: Ipv4Addr,
    /// Its port inside the instance.
    pub port: u16,
}

impl Endpoint {
    /// `NAME_HOST`, `NAME_PORT` and `NAME_URL`, the name in capitals with `_` for what is not a letter or digit.
    pub fn env(&self) -> [(String, String); 3] {
        let name: String = self
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        [
            (format!("{name}_HOST"), self.name.clone()),
            (format!("{name}_PORT"), self.port.to_string()),
            (format!("{name}_URL"), format!("http://{}:{}", self.name, self.port)),
        ]
    }
}

/// The most that an instance may use; `None` is unlimited. What the host cannot enforce is reported by
/// [`Host`](crate::Host), and not enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    #[serde(default)]
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    #[serde(default)]
    pub pids: Option<u32>,
    /// Open files of one process; lowered to what this process may give.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// Bytes of `/dev/shm`.
    #[serde(default)]
    pub shared_memory: Option<u64>,
}

impl Default for Limits {
    /// 4096 processes; the rest is unlimited.
    fn default() -> Self {
        Self { memory: None, cpu_millis: None, pids: Some(4096), open_files: None, shared_memory: None }
    }
}

/// How much output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPolicy {
    /// The most bytes in one file.
    pub file_bytes: u64,
    /// The most files.
    pub files: u32,
}

impl Default for LogPolicy {
    /// Four files of 2 MiB.
    fn default() -> Self {
        Self { file_bytes: 2 << 20, files: 4 }
    }
}

/// What an instance is given, but nobody else: never written to a file that stays.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Secrets {
    /// Values of the environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Files in memory.
    #[serde(default)]
    pub files: Vec<FileSpec>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} values, {} files)", self.env.len(), self.files.len())
    }
}
