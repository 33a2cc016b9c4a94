//! A PostgreSQL server for the tests of one program: Debian's, in a folder of its own, on a loopback port, without syncing. It
//! ends with its value.
//!
//! [`Link`] stands between a client and the server, and can be cut without a word, as a network is.

mod link;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

pub use link::Link;

/// PostgreSQL refuses to run as root; this user owns nothing.
const NOBODY: u32 = 65534;
/// What a test needs, all of one version.
const PROGRAMS: [&str; 4] = ["initdb", "postgres", "pg_isready", "createdb"];
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that runs.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    server: Child,
    port: u16,
    databases: AtomicU32,
}

impl Postgres {
    /// Starts one.
    ///
    /// # Errors
    /// If PostgreSQL is not installed, or does not start.
    pub fn start() -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("paas-postgres-").tempdir()?;
        if geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let data = folder.path().join("data");
        let mut initdb = ordinary(&programs.join("initdb"), folder.path());
        initdb.args([
            "--auth=trust",
            "--username=paas",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--pgdata",
        ]);
        let output = initdb.arg(&data).output().context("failed to run initdb")?;
        ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::create(folder.path().join("log"))?;
        let mut command = ordinary(&programs.join("postgres"), folder.path());
        command.arg("-D").arg(&data).arg("-k").arg(folder.path());
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
        ]);
        let server = command.stdout(Stdio::null()).stderr(log).spawn().context("failed to start postgres")?;
        let mut postgres = Self { folder, programs, server, port, databases: AtomicU32::new(0) };
        postgres.wait()?;
        Ok(postgres)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new database, by a URL that leads to the server itself.
    ///
    /// # Errors
    /// If the server does not make it.
    pub fn database(&self) -> Result<String> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut command = ordinary(&self.programs.join("createdb"), self.folder.path());
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "paas", &name]);
        let output = command.output().context("failed to run createdb")?;
        ensure!(output.status.success(), "createdb failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(format!("postgres://paas@127.0.0.1:{}/{name}", self.port))
    }

    /// Ends the server as a crash does, and starts it again.
    ///
    /// # Errors
    /// If it does not start again.
    pub fn crash(&mut self) -> Result<()> {
        // SIGQUIT: the processes of the server end at once, without a checkpoint.
        self.signal(Signal::QUIT)?;
        self.server.wait()?;
        let log = File::options().append(true).open(self.folder.path().join("log"))?;
        let mut command = ordinary(&self.programs.join("postgres"), self.folder.path());
        command.arg("-D").arg(self.folder.path().join("data")).arg("-k").arg(self.folder.path());
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
        ]);
        self.server = command.stdout(Stdio::null()).stderr(log).spawn()?;
        self.wait()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("the process has a number")?, signal)?;
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.server.try_wait()? {
                bail!("postgres ended with {status}: {}", self.log());
            }
            let mut ready = ordinary(&self.programs.join("pg_isready"), self.folder.path());
            ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ready.status()?.success() {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "postgres does not answer: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A "fast" shutdown: connections are ended, shared memory is given back.
        if self.signal(Signal::INT).is_ok() {
            let _ = self.server.wait();
        }
    }
}

/// A command that does not run as root.
fn ordinary(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Where the programs are: on the path, or where Debian keeps them by version, the newest first.
fn programs() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    folders.sort();
    let found = std::env::split_paths(&path)
        .chain(folders.into_iter().rev())
        .find(|folder| PROGRAMS.iter().all(|program| folder.join(program).is_file()));
    found.context("PostgreSQL's programs are not here; install them: apt-get install postgresql")
}
