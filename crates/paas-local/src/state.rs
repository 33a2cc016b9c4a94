//! An instance's folder: what is in it, and how its records are written and read.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rustix::fs::{FallocateFlags, FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Failure, InstanceSpec, Result, cgroup::Cgroup, spec::SPEC_VERSION};

/// An instance's folder. Everything in it belongs to this instance and goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstanceDir(PathBuf);

impl InstanceDir {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn spec_file(&self) -> PathBuf {
        self.0.join("instance.json")
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.0.join("state.json")
    }

    pub(crate) fn exit_file(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    pub(crate) fn exit_slot(&self) -> PathBuf {
        self.0.join(".exit.slot")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("shim.sock")
    }

    pub(crate) fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    pub(crate) fn sub(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the folder, private to its owner.
    pub(crate) fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&self.0)
    }

    pub(crate) fn read_spec(&self) -> Result<InstanceSpec> {
        let spec: InstanceSpec = read(&self.spec_file())?;
        if spec.version > SPEC_VERSION {
            return Err(Error::new(crate::ErrorKind::Protocol, "read an instance's specification")
                .with("file", self.spec_file().display())
                .with_detail(format!(
                    "it is of version {}, this build knows up to {SPEC_VERSION}; run a newer server",
                    spec.version
                )));
        }
        Ok(spec)
    }

    /// `None` if the instance never came to run.
    pub(crate) fn read_state(&self) -> Result<Option<State>> {
        read_optional(&self.state_file())
    }

    /// `None` while it runs, or if its end was not seen by anybody.
    pub(crate) fn read_exit(&self) -> Result<Option<Exit>> {
        read_optional(&self.exit_file())
    }

    /// Takes the lock that a shim holds for as long as it lives; `None` if one lives. It is released when the file is
    /// closed.
    pub(crate) fn try_lock(&self) -> io::Result<Option<File>> {
        let file = File::options().create(true).truncate(false).write(true).open(self.0.join("shim.lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What lives, as the shim recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The process that is pid 1 inside, and the shim.
    pub pid: i32,
    pub start_ticks: u64,
    pub shim_pid: i32,
    /// Nothing lives after a reboot, whatever the numbers say.
    pub boot_id: String,
    pub started_at: Timestamp,
    /// Where its limits are.
    #[serde(default)]
    pub cgroup: Option<Cgroup>,
    /// Whether it is in a user namespace.
    #[serde(default)]
    pub user_namespace: bool,
}

impl State {
    /// Whether the recorded process is the one that now has its number.
    pub(crate) fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|now| now == self.boot_id) && start_ticks(self.pid) == Some(self.start_ticks)
    }
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exit {
    /// Its exit code, if it exited.
    #[serde(default)]
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Whether the kernel killed one of its processes because its memory limit was reached.
    #[serde(default)]
    pub out_of_memory: bool,
    /// Why it never came to run, if it did not.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Whether nobody saw its end: its shim was killed, or the machine went down.
    #[serde(default)]
    pub lost: bool,
    /// When; for a lost one, when that was found out.
    pub at: Timestamp,
}

impl Exit {
    pub(crate) fn now() -> Self {
        Self {
            code: None,
            signal: None,
            out_of_memory: false,
            failure: None,
            lost: false,
            at: Timestamp::now(),
        }
    }

    pub(crate) fn failed(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::now() }
    }

    pub(crate) fn lost() -> Self {
        Self { lost: true, ..Self::now() }
    }

    /// Whether it ended of itself with code 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(failure) = &self.failure {
            return write!(f, "never started: {failure}");
        }
        if self.lost {
            return f.write_str("lost: nobody saw its end");
        }
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exited with code {code}")?,
            (None, Some(signal)) => write!(f, "killed by signal {signal}")?,
            (None, None) => f.write_str("ended")?,
        }
        if self.out_of_memory { f.write_str(", out of memory") } else { Ok(()) }
    }
}

/// Room on the disk for an exit record, taken before the instance runs, so that a full disk cannot lose it.
#[derive(Debug)]
pub(crate) struct ExitSlot {
    file: File,
}

/// One block; a record is some hundred bytes.
const SLOT_BYTES: usize = 4096;

impl ExitSlot {
    pub(crate) fn reserve(dir: &InstanceDir) -> io::Result<Self> {
        let file = File::create(dir.exit_slot())?;
        let allocated = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SLOT_BYTES as u64);
        file.write_all_at(&[b' '; SLOT_BYTES], 0)?;
        if allocated.is_err() {
            // Without being asked to allocate, a file system may put it off until it is too late.
            file.sync_all()?;
        }
        Ok(Self { file })
    }

    /// JSON, padded with the spaces that were there.
    pub(crate) fn fill(self, dir: &InstanceDir, exit: &Exit) -> io::Result<()> {
        let mut exit = exit.clone();
        let mut bytes = serde_json::to_vec(&exit)?;
        if bytes.len() > SLOT_BYTES {
            if let Some(failure) = &mut exit.failure {
                failure.message = failure.message.chars().take(600).collect();
            }
            bytes = serde_json::to_vec(&exit)?;
        }
        self.file.write_all_at(&bytes, 0)?;
        self.file.sync_data()?;
        fs::rename(dir.exit_slot(), dir.exit_file())?;
        File::open(dir.path())?.sync_all()
    }
}

/// Writes a record so that it is there whole or not at all, after a crash of this process too.
///
/// It is not forced to the disk: these records describe what runs, and nothing runs after a crash of the machine.
pub(crate) fn write_atomic<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let temporary = folder.join(format!(".{}.new", name.to_string_lossy()));
    fs::write(&temporary, &bytes)?;
    fs::rename(&temporary, path)
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let fail = |error: Error| error.with("file", path.display());
    let bytes = fs::read(path).map_err(|source| fail(Error::io("read a record", source)))?;
    serde_json::from_slice(&bytes)
        .map_err(|source| fail(Error::new(crate::ErrorKind::Protocol, "read a record").because(source)))
}

pub(crate) fn read_optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match read(path) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == crate::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A random name of the time since the machine was started.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process started, in clock ticks since the machine did: with its number, that names it for good. `None` if there
/// is none, or it is a zombie.
pub(crate) fn start_ticks(pid: i32) -> Option<u64> {
    living(pid, 22)?.parse().ok()
}

/// The session that a process is in; `None` if there is no such process, or it is a zombie.
pub(crate) fn session_of(pid: i32) -> Option<i32> {
    living(pid, 6)?.parse().ok()
}

/// A field of a living process's `stat`, by its number in proc(5).
fn living(pid: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, may hold spaces; the third is the state.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    match *fields.first()? {
        "Z" | "X" => None,
        _ => fields.get(field - 3).map(|text| (*text).to_owned()),
    }
}

/// Whether a process has a handler for a signal. If that cannot be read, it is assumed.
pub(crate) fn handles(pid: i32, signal: i32) -> bool {
    has_signal(pid, "SigCgt:", signal).unwrap_or(true)
}

/// Whether a process neither handles nor ignores a signal, as far as can be read.
pub(crate) fn does_nothing_about(pid: i32, signal: i32) -> bool {
    let is_out_of = |mask| has_signal(pid, mask, signal) == Some(false);
    is_out_of("SigCgt:") && is_out_of("SigIgn:")
}

/// Whether a signal is in a mask of a process's `status` (proc(5)).
fn has_signal(pid: i32, mask: &str, signal: i32) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix(mask))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let bit = u32::try_from(signal - 1).ok().filter(|bit| *bit < 64)?;
    Some(mask & (1 << bit) != 0)
}
