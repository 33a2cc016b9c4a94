//! The server of `cargo xtask run`, as a process in the background.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Place;
use crate::workspace::succeed;

const BOUND: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// How a token begins; the first start prints one on standard output.
const TOKEN: &str = "paas_";

/// A running server, as it announces itself in its directory.
#[derive(Debug, Deserialize)]
pub struct Server {
    pid: u32,
    /// The address of its interface.
    pub api: String,
    /// Where applications answer.
    #[serde(default)]
    pub gateway: String,
}

impl Server {
    /// The running server of this place.
    pub fn find(place: &Place) -> Result<Option<Self>> {
        let file = place.folder.join("server").join("server.json");
        let Ok(text) = fs::read(&file) else {
            return Ok(None);
        };
        let server: Self =
            serde_json::from_slice(&text).with_context(|| format!("failed to read {}", file.display()))?;
        Ok(is_ours(server.pid, place).then_some(server))
    }

    /// The running server, or a new one.
    pub fn start(place: &Place, listen: &str, gateway: &str) -> Result<Self> {
        if let Some(server) = Self::find(place)? {
            eprintln!("      it runs already, at {}", server.api);
            return Ok(server);
        }
        let mut child = spawn(place, listen, gateway)?;
        let started = Instant::now();
        while started.elapsed() < BOUND {
            if let Some(server) = Self::find(place)?.filter(|server| server.pid == child.id()) {
                return Ok(server);
            }
            if let Some(status) = child.try_wait().context("failed to look at the server")? {
                bail!("the server ended with {status}:\n{}", tail(&place.folder.join("server.log")));
            }
            thread::sleep(PAUSE);
        }
        bail!("the server does not answer after {BOUND:?}:\n{}", tail(&place.folder.join("server.log")))
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(&self) -> Result<()> {
        succeed(Command::new("kill").arg(self.pid.to_string()))?;
        wait_for_end(self.pid, "the server")
    }
}

/// The administrator's token, when this start was the first.
pub fn first_token(place: &Place) -> Result<Option<String>> {
    if place.login().exists() {
        return Ok(None);
    }
    let file = place.folder.join("first-start");
    let text = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let token = text.split_whitespace().find(|word| word.starts_with(TOKEN));
    match token {
        Some(token) => Ok(Some(token.to_owned())),
        None => bail!(
            "{} has no administrator's token, and there is no login; start anew with `cargo xtask run --down`",
            file.display()
        ),
    }
}

fn spawn(place: &Place, listen: &str, gateway: &str) -> Result<Child> {
    let open = |name: &str| -> Result<File> {
        let path = place.folder.join(name);
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        options.open(&path).with_context(|| format!("failed to open {}", path.display()))
    };
    let mut command = Command::new(&place.paas);
    command.arg("server").arg("--dir").arg(place.folder.join("server"));
    command.args(["--listen", listen, "--gateway", gateway]);
    command.stdin(Stdio::null()).stdout(open("first-start")?).stderr(open("server.log")?);
    // In a group of its own, so that Ctrl-C in this terminal does not reach it.
    command.process_group(0);
    command.spawn().with_context(|| format!("failed to start {}", place.paas.display()))
}

/// Stops the gateway, which outlives its server.
pub fn stop_gateway(place: &Place) -> Result<()> {
    for pid in processes_of(place)? {
        succeed(Command::new("kill").arg(pid.to_string()))?;
        wait_for_end(pid, "the gateway")?;
    }
    Ok(())
}

/// Processes of our binary whose command line names this place.
fn processes_of(place: &Place) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("failed to list the processes")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if is_ours(pid, place) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether the process runs our binary for this place, also when that was built anew since, or elsewhere.
fn is_ours(pid: u32, place: &Place) -> bool {
    let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else {
        return false;
    };
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    name.trim_end_matches(" (deleted)") == "paas"
        && String::from_utf8_lossy(&command).contains(&*place.folder.to_string_lossy())
}

fn wait_for_end(pid: u32, what: &str) -> Result<()> {
    let started = Instant::now();
    let process = format!("/proc/{pid}/exe");
    // A zombie has no executable any more.
    while fs::read_link(&process).is_ok() {
        if started.elapsed() > BOUND {
            bail!("{what} (process {pid}) does not stop; end it with `kill -9 {pid}`");
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = options.open(path).with_context(|| format!("failed to open {}", path.display()))?;
    writeln!(file, "{text}").with_context(|| format!("failed to write {}", path.display()))
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
