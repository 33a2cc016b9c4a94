//! Starting the process, or finding it.

use std::{
    ffi::{OsStr, OsString},
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::run::{Identity, TAKEOVER, make_folder, open_lock};
use crate::{Control, Error, ErrorKind, Result};

/// How long a gateway may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the gateway itself says is put aside at its start, if it is more than this.
const LOG_BYTES: u64 = 4 << 20;

/// The command that is the gateway: a program which calls [`run`](super::run) when it is given these arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Launch {
    /// The program without arguments.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn with_argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().into());
        self
    }

    /// One more variable of the environment, beside those of this process.
    #[must_use]
    pub fn with_environment(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().into(), value.as_ref().into()));
        self
    }
}

/// The control of the gateway of a folder: of the one that runs, whatever its version, or of one that is started now. It
/// is started in a session of its own, in the root directory, and outlives this process; nothing here watches over it.
///
/// # Errors
/// `Invalid` if the folder is not an absolute path, `Conflict` if a gateway runs but does not answer, `Unavailable` if the one that was started ended at once (with the
/// end of its log), `Timeout` if it does not answer in time.
pub async fn ensure_running(folder: &Path, launch: &Launch) -> Result<Control> {
    if !folder.is_absolute() {
        return Err(Error::new(ErrorKind::Invalid, "start the gateway")
            .with("folder", folder.display())
            .with_detail("give an absolute path: the gateway does not run in the current directory"));
    }
    make_folder(folder)?;
    let control = Control::new(folder);
    if control.hello().await.is_ok() {
        return Ok(control);
    }
    // Two servers that start at once must not start two gateways.
    let _turn = Turn::take(folder).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let Err(error) = control.hello().await else { return Ok(control) };
        match Identity::read(folder).filter(Identity::is_alive) {
            None => break,
            // It may be ending, or be very busy.
            Some(_) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Some(identity) => {
                return Err(Error::new(ErrorKind::Conflict, "reach the gateway that runs")
                    .with("folder", folder.display())
                    .with("pid", identity.pid)
                    .with_detail("it lives but does not answer; end it, and the next start begins a new one")
                    .because(error));
            }
        }
    }
    let child = spawn(folder, launch, false)?;
    wait_for(folder, &control, child).await?;
    Ok(control)
}

/// Replaces the gateway of a folder with one of this program, without refusing a connection: the new one takes over the
/// listening sockets, and the old one ends after its last connection. If none runs, one is started.
///
/// # Errors
/// As [`ensure_running`]; the old gateway serves on if the new one cannot begin.
pub async fn upgrade(folder: &Path, launch: &Launch) -> Result<Control> {
    make_folder(folder)?;
    let control = Control::new(folder);
    if control.hello().await.is_err() {
        return ensure_running(folder, launch).await;
    }
    let _turn = Turn::take(folder).await?;
    let child = spawn(folder, launch, true)?;
    wait_for(folder, &control, child).await?;
    // What it holds is a connection to the one before.
    Ok(Control::new(folder))
}

/// Held by whoever starts a gateway.
struct Turn {
    _file: std::fs::File,
}

impl Turn {
    async fn take(folder: &Path) -> Result<Self> {
        let (file, path) = open_lock(folder, "start.lock")?;
        let deadline = tokio::time::Instant::now() + 2 * PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::AGAIN) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(errno) => {
                    return Err(Error::io("wait for another start of the gateway", errno.into())
                        .with("file", path.display()));
                }
            }
        }
    }
}

fn spawn(folder: &Path, launch: &Launch, takeover: bool) -> Result<Child> {
    let path = folder.join("gateway.log");
    if std::fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES) {
        // One that cannot be put aside grows on.
        let _ = std::fs::rename(&path, path.with_extension("log.1"));
    }
    let open = || OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let fail = |source| Error::io("open the log of the gateway", source).with("file", path.display());
    let (out, err) = (open().map_err(fail)?, open().map_err(fail)?);
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.arguments)
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .env_remove(TAKEOVER)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err);
    if takeover {
        command.env(TAKEOVER, "1");
    }
    command
        .spawn()
        .map_err(|source| Error::io("start the gateway", source).with("program", launch.program.display()))
}

/// Waits until the control socket is that of the child.
async fn wait_for(folder: &Path, control: &Control, mut child: Child) -> Result<()> {
    let pid = child.id();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut wait = Duration::from_millis(1);
    loop {
        if control.hello().await.is_ok_and(|hello| hello.pid == pid) {
            // Somebody has to take note of its end, should it come before that of this process.
            let reaping = std::thread::Builder::new().name("gateway-end".into()).stack_size(64 * 1024);
            let _ = reaping.spawn(move || child.wait());
            return Ok(());
        }
        let ended = child.try_wait().map_err(|source| Error::io("look at the gateway", source))?;
        if let Some(status) = ended {
            return Err(Error::new(ErrorKind::Unavailable, "start the gateway")
                .with("folder", folder.display())
                .with_detail(format!("it ended with {status}: {}", log_end(folder))));
        }
        if tokio::time::Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::new(ErrorKind::Timeout, "start the gateway")
                .with("folder", folder.display())
                .with("pid", pid)
                .with_detail(format!("it does not answer: {}", log_end(folder))));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_millis(20));
    }
}

fn log_end(folder: &Path) -> String {
    let log = std::fs::read(folder.join("gateway.log")).unwrap_or_default();
    let start = log.len().saturating_sub(1000);
    String::from_utf8_lossy(&log[start..]).trim().to_owned()
}
