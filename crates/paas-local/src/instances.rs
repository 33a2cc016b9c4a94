//! The instances of one directory.

mod instance;
mod leftovers;
mod logs;
mod shim_client;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::process::Command;
use tracing::debug;

pub use instance::{Instance, InstanceStatus};
pub use leftovers::Sweep;
pub use logs::{LogOptions, LogRecord, LogStream};
pub(crate) use logs::{Record, Source, Tail};

use crate::{
    Error, ErrorKind, Exit, Failure, Host, InstanceId, InstanceSpec, Result, Secrets,
    boot::{self, Boot, BootReply},
    idmap::remove_tree,
    state::{InstanceDir, write_atomic},
};

/// The instances whose folders are in one directory.
///
/// An instance belongs to its folder, not to this object or its process: it runs on when both are gone, and is found
/// again by [`attach`](Self::attach).
#[derive(Debug, Clone)]
pub struct Instances {
    root: PathBuf,
    host: Arc<Host>,
}

/// What has become of an instance.
#[derive(Debug)]
pub enum Found {
    /// It runs.
    Running(Instance),
    /// It has ended, and its folder is still there.
    Ended(Exit),
}

impl Instances {
    /// Opens a directory, which is made if it is missing, private to its owner.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(root: impl Into<PathBuf>, host: Arc<Host>) -> Result<Self> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let root = root.into();
        let fail =
            |source| Error::io("open the directory of instances", source).with("directory", root.display());
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&root).map_err(fail)?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).map_err(fail)?;
        let root = root.canonicalize().map_err(fail)?;
        Ok(Self { root, host })
    }

    /// What this machine offers.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where an instance's folder is.
    pub fn folder(&self, id: &InstanceId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// The socket on which an instance's shim hands over sockets to the gateway
    /// ([`handover`](paas_gateway::handover)).
    pub fn socket(&self, id: &InstanceId) -> PathBuf {
        self.dir(id).socket()
    }

    /// Starts an instance. When this returns, its program runs (but need not be ready to serve), or has run.
    ///
    /// If this future is dropped, the instance either comes to run or does not; [`attach`](Self::attach) tells.
    ///
    /// # Errors
    /// `AlreadyExists` if its folder is there. `InvalidSpec`, `InvalidImage`, `EntryPointMissing`,
    /// `EntryPointNotExecutable`, `WrongArchitecture`, `BadUser`, `BadWorkingDirectory`: nothing is left of it, and
    /// trying again does not help.
    pub async fn start(&self, spec: &InstanceSpec, secrets: Secrets) -> Result<Instance> {
        spec.validate(&secrets)?;
        let dir = self.dir(&spec.id);
        let operation = "start an instance";
        let fail = |source| Error::io(operation, source).with("instance", &spec.id);
        dir.create().map_err(fail)?;
        write_atomic(&dir.spec_file(), spec).map_err(fail)?;
        match self.start_in(&dir, spec, secrets).await {
            Ok(()) => Instance::connect(dir, spec.clone()).await,
            Err(failure) => {
                self.remove(&spec.id).await?;
                Err(Error::new(failure.kind, operation)
                    .with("instance", &spec.id)
                    .with_detail(failure.message))
            }
        }
    }

    async fn start_in(
        &self,
        dir: &InstanceDir,
        spec: &InstanceSpec,
        secrets: Secrets,
    ) -> Result<(), Failure> {
        use crate::error::Step;
        let mut missing = Vec::new();
        let cgroup = self.host.cgroups.create(&spec.id, &spec.limits, &mut missing);
        for limit in missing {
            tracing::warn!(instance = %spec.id, "{limit}");
        }
        let (mut channel, theirs) = boot::pair().step("make a channel to the shim")?;
        let log = fs::File::create(dir.shim_log()).step("make the shim's log")?;
        let mut child = Command::new("/proc/self/exe")
            .arg0("paas-shim")
            .arg("__shim")
            .arg(dir.path())
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .step("start a shim")?;
        let pid = child.id();
        let boot = Boot { secrets, cgroup, user_namespace: !self.host.is_root() };
        let host = Arc::clone(&self.host);
        let talk = tokio::task::spawn_blocking(move || -> Result<i32, Failure> {
            boot::send(&mut channel, &boot).step("tell the shim what to start")?;
            drop(boot);
            loop {
                match boot::receive::<BootReply>(&mut channel).step("wait for the shim")? {
                    Some(BootReply::NeedsMaps) => {
                        let mapped = match (host.id_map(), pid) {
                            (Some(map), Some(pid)) => map.apply(pid),
                            _ => Err(Failure::new(
                                ErrorKind::Protocol,
                                "the shim asked for id maps without need",
                            )),
                        };
                        boot::send(&mut channel, &mapped).step("tell the shim about the id maps")?;
                    }
                    Some(BootReply::Started { pid }) => return Ok(pid),
                    Some(BootReply::Failed(failure)) => return Err(failure),
                    Some(BootReply::Done(_)) => {
                        return Err(Failure::new(ErrorKind::Protocol, "the shim speaks of other work"));
                    }
                    None => {
                        let message = "the shim ended before the instance ran";
                        return Err(Failure::new(ErrorKind::Unavailable, message));
                    }
                }
            }
        });
        let outcome = talk.await.step("wait for the shim").and_then(|outcome| outcome);
        // Reaps the shim when it ends, if this process is still there then.
        let reaped = tokio::spawn(async move { child.wait().await });
        match outcome {
            Ok(pid) => {
                debug!(instance = %spec.id, pid, "instance started");
                Ok(())
            }
            Err(mut failure) => {
                let _ = reaped.await;
                if failure.kind == ErrorKind::Unavailable
                    && let Ok(said) = fs::read_to_string(dir.shim_log())
                    && !said.trim().is_empty()
                {
                    failure.message = format!("{}: {}", failure.message, said.trim());
                }
                Err(failure)
            }
        }
    }

    /// Finds out what has become of an instance. One that lost its shim is ended here: what is left of it is killed, and
    /// it counts as lost.
    ///
    /// # Errors
    /// `NotFound` if there is no such folder, or it holds no instance.
    pub async fn attach(&self, id: &InstanceId) -> Result<Found> {
        let dir = self.dir(id);
        let spec = dir.read_spec().map_err(|error| error.with("instance", id))?;
        // A shim that is starting or ending holds its lock, but may not be there to talk to.
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(exit) = dir.read_exit()? {
                return Ok(Found::Ended(exit));
            }
            match Instance::connect(dir.clone(), spec.clone()).await {
                Ok(instance) => {
                    return Ok(match instance.exited() {
                        Some(exit) => Found::Ended(exit),
                        None => Found::Running(instance),
                    });
                }
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => {}
            }
            if let Some(lock) = dir.try_lock().map_err(|source| Error::io("look for a shim", source))? {
                let exit = match dir.read_exit()? {
                    Some(exit) => exit,
                    None => leftovers::bury(&dir).await?,
                };
                drop(lock);
                return Ok(Found::Ended(exit));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether an instance came to run, or may have. One whose start was cut off together with the process that started
    /// it did not, for certain: it is to be removed, and started as if it had never been.
    pub fn has_begun(&self, id: &InstanceId) -> bool {
        let dir = self.dir(id);
        // The shim takes room for the record of the exit before it does anything else, and turns it into the record.
        if dir.exit_slot().exists() {
            return true;
        }
        match dir.read_exit() {
            Ok(Some(exit)) => exit.failure.is_none(),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// What an instance was made from.
    ///
    /// # Errors
    /// `NotFound` if there is no such instance.
    pub fn spec(&self, id: &InstanceId) -> Result<InstanceSpec> {
        self.dir(id).read_spec().map_err(|error| error.with("instance", id))
    }

    /// What an instance said, whether or not it still runs.
    ///
    /// # Errors
    /// What the system said.
    pub fn logs(&self, id: &InstanceId, options: LogOptions) -> Result<LogStream> {
        logs::open(&self.dir(id), options)
    }

    /// What an instance says, from the beginning; with what is to come, or only so far.
    pub(crate) fn log(&self, id: &InstanceId, follow: bool) -> Result<Tail> {
        let dir = self.dir(id);
        if follow {
            return Ok(Tail::following(&dir));
        }
        Tail::so_far(&dir).map_err(|source| Error::io("read the log of an instance", source))
    }

    /// Removes a folder that instances wrote into, such as a volume.
    ///
    /// # Errors
    /// What the system said; trying again continues.
    pub async fn remove_tree(&self, folder: PathBuf) -> Result<()> {
        let host = Arc::clone(&self.host);
        tokio::task::spawn_blocking(move || remove_folder(&host, &folder))
            .await
            .map_err(|source| Error::new(ErrorKind::Io, "remove a folder").because(source))?
    }

    /// The names of all instances that have a folder, sorted.
    ///
    /// # Errors
    /// What the system said.
    pub fn list(&self) -> Result<Vec<InstanceId>> {
        let fail = |source| Error::io("list instances", source).with("directory", self.root.display());
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(fail)? {
            if let Some(id) = entry.map_err(fail)?.file_name().to_str().and_then(|name| name.parse().ok()) {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Removes what is left of an instance: its folder with its logs, its control group. One that runs is killed first.
    /// One that is not there is removed.
    ///
    /// # Errors
    /// What the system said; trying again continues.
    pub async fn remove(&self, id: &InstanceId) -> Result<()> {
        let dir = self.dir(id);
        match self.attach(id).await {
            Ok(Found::Running(instance)) => {
                instance.kill().await?;
            }
            Ok(Found::Ended(_)) => {}
            // Without a specification nothing was started.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Protocol) => {}
            Err(error) => return Err(error),
        }
        let host = Arc::clone(&self.host);
        let id = id.clone();
        let work = move || -> Result<()> {
            if let Some(cgroup) = host.cgroups.find(&id) {
                cgroup.kill();
                cgroup.remove(Duration::from_secs(1));
            }
            take_away(&host, dir.path()).map_err(|error| error.with("instance", &id))
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|source| Error::new(ErrorKind::Io, "remove an instance").because(source))?
    }

    /// Removes what an instance that has ended has written, but not what it said nor how it ended. One that runs is left
    /// alone.
    pub(crate) async fn remove_files(&self, id: &InstanceId) -> Result<()> {
        let dir = self.dir(id);
        if dir.read_exit()?.is_none() {
            return Ok(());
        }
        for folder in ["upper", "work"] {
            self.remove_tree(dir.sub(folder)).await.map_err(|error| error.with("instance", id))?;
        }
        Ok(())
    }

    /// Removes what belongs to no instance in `known`: folders, control groups, shims and their instances, as crashes of
    /// any kind leave them. Called at the start of a server, before it starts anything.
    ///
    /// # Errors
    /// What the system said.
    pub async fn sweep(&self, known: &std::collections::BTreeSet<InstanceId>) -> Result<Sweep> {
        leftovers::sweep(self, known).await
    }

    fn dir(&self, id: &InstanceId) -> InstanceDir {
        InstanceDir::new(self.folder(id))
    }
}

/// Removes the folder of an instance. It loses its name first, at once: whoever still watches the instance finds it or
/// nothing, and writes nothing into what is half gone.
fn take_away(host: &Host, folder: &Path) -> Result<()> {
    let Some(name) = folder.file_name() else { return Ok(()) };
    // No instance has such a name, so that a sweep removes what is left.
    let nameless = folder.with_file_name(format!(".gone-{}", name.to_string_lossy()));
    remove_folder(host, &nameless)?;
    match fs::rename(folder, &nameless) {
        Ok(()) => remove_folder(host, &nameless),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::io("remove a folder", source).with("folder", folder.display())),
    }
}

/// Removes a folder of an instance; files that belong to subordinate ids are removed from inside a user namespace.
fn remove_folder(host: &Host, folder: &Path) -> Result<()> {
    match (remove_tree(folder), host.id_map()) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(map)) => map.run_inside(&["remove".into(), folder.into()]),
        (Err(source), None) => Err(Error::io("remove a folder", source).with("folder", folder.display())),
    }
}
