//! A server of a measurement's own, used through the command line.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::BOUND;

/// Where a server's applications run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In containers of this machine.
    Machine,
    /// On clusters that are added.
    None,
}

/// A server in a folder of its own, with an organisation `bench`.
#[derive(Debug)]
pub struct Platform {
    folder: TempDir,
    paas: PathBuf,
    backend: Backend,
    server: Child,
    api: String,
    token: String,
}

impl Platform {
    /// Starts the binary `paas`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(paas: &Path, backend: Backend) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("paas-scenarios").tempdir()?;
        let server = spawn(paas, folder.path(), backend)?;
        let (paas, api, token) = (paas.to_path_buf(), String::new(), String::new());
        let mut platform = Self { folder, paas, backend, server, api, token };
        platform.api = platform.announced()?;
        let greeting = fs::read_to_string(platform.folder.path().join("greeting"))?;
        let mut words = greeting.split_whitespace();
        let token = words.find(|word| word.starts_with("paas_"));
        token.context("the first start printed no administrator's token")?.clone_into(&mut platform.token);
        platform.run(&["org", "create", "bench"])?;
        Ok(platform)
    }

    /// Where files may be put that go with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's process.
    pub fn server(&self) -> u32 {
        self.server.id()
    }

    /// The address of the interface.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The address of the interface, once it answers.
    fn announced(&self) -> Result<String> {
        let file = self.folder.path().join("server/server.json");
        let started = Instant::now();
        while started.elapsed() < BOUND {
            let server: Option<Value> =
                fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(server) = server.filter(|server| server["pid"] == self.server.id()) {
                let api = server["api"].as_str().context("server.json names no address")?;
                if healthy(api) {
                    return Ok(api.to_owned());
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        bail!("the server does not answer: {}", fs::read_to_string(self.folder.path().join("log"))?)
    }

    /// Runs a verb and returns how long it took.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, arguments: &[&str]) -> Result<Duration> {
        self.read(arguments).map(|(took, _)| took)
    }

    /// Runs a verb and returns how long it took, and what it printed.
    ///
    /// # Errors
    /// If it fails.
    pub fn read(&self, arguments: &[&str]) -> Result<(Duration, String)> {
        let mut command = Command::new(&self.paas);
        command.args(arguments).env("PAAS_CONFIG", self.folder.path().join("login.json"));
        command.env("PAAS_SERVER", &self.api).env("PAAS_TOKEN", &self.token);
        command.env("PAAS_ORG", "bench").env("PAAS_ENV", "bench");
        let started = Instant::now();
        let output = command.output().context("failed to start the command line")?;
        let took = started.elapsed();
        ensure!(
            output.status.success(),
            "`paas {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok((took, String::from_utf8(output.stdout).context("the output is not UTF-8")?))
    }

    /// Kills the server and starts it anew; returns the time to its next answer.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn restart(&mut self) -> Result<Duration> {
        self.server.kill()?;
        self.server.wait()?;
        let started = Instant::now();
        self.server = spawn(&self.paas, self.folder.path(), self.backend)?;
        self.api = self.announced()?;
        Ok(started.elapsed())
    }

    /// Ends what was started; applications have to be gone by then.
    ///
    /// # Errors
    /// If the server cannot be ended.
    pub fn end(mut self) -> Result<()> {
        Command::new("kill").arg(self.server.id().to_string()).status()?;
        self.server.wait()?;
        end_gateway(self.folder.path())
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // After a failure too; a second kill of a dead process is an error that says nothing.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = end_gateway(self.folder.path());
    }
}

fn spawn(paas: &Path, folder: &Path, backend: Backend) -> Result<Child> {
    let append = |name: &str| File::options().create(true).append(true).open(folder.join(name));
    let mut command = Command::new(paas);
    command
        .args(["server", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--dir"])
        .arg(folder.join("server"));
    if backend == Backend::None {
        command.args(["--backend", "none"]);
    }
    command.stdin(Stdio::null()).stdout(append("greeting")?).stderr(append("log")?);
    command.spawn().context("failed to start the server")
}

/// The gateway outlives its server, and the folder is about to go.
fn end_gateway(folder: &Path) -> Result<()> {
    let folder = folder.to_string_lossy();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid != std::process::id() && String::from_utf8_lossy(&command).contains(&*folder) {
            Command::new("kill").arg(pid.to_string()).status()?;
        }
    }
    Ok(())
}

fn healthy(api: &str) -> bool {
    http_get(api, "/healthz", Duration::from_secs(1)).is_ok()
}

/// What `http://…` answers to a GET of a path, if that is 200.
///
/// # Errors
/// If it answers something else, or not within the time.
pub fn http_get(server: &str, path: &str, time: Duration) -> Result<String> {
    let authority = server.strip_prefix("http://").context("not an address of HTTP")?.trim_end_matches('/');
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(time))?;
    // By HTTP/1.0 the answer ends with the connection and comes in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {authority}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    ensure!(status == "200", "{server}{path} answers {status}: {body}");
    Ok(body.to_owned())
}
