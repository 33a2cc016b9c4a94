//! A server of a journey's own: started, used through the command line, and taken away whole.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that is not measured.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `check` gives a value.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server with everything that belongs to it.
pub struct Platform {
    server: Option<Child>,
    api: String,
    pub gateway: SocketAddr,
    token: String,
    folder: TempDir,
    _turn: Turn,
}

/// What a command gave.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// An answer of an application.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub version: String,
    pub body: String,
}

impl Platform {
    /// Starts a server in a new directory, and makes organisation `acme` with environment `prod`.
    pub fn start() -> Self {
        let turn = Turn::take();
        let folder = tempfile::Builder::new().prefix("paas-").tempdir().unwrap();
        let gateway = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut platform =
            Self { server: None, api: String::new(), gateway, token: String::new(), folder, _turn: turn };
        platform.start_server();
        platform.ok(["org", "create", "acme"]);
        platform.ok(["env", "create", "prod"]);
        platform
    }

    /// Where a journey may put files of its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's directory.
    pub fn directory(&self) -> PathBuf {
        self.folder.path().join("platform")
    }

    /// Starts the server and waits until it answers; returns how long that took.
    pub fn start_server(&mut self) -> Duration {
        let begun = Instant::now();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("server.log"))
            .unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_paas"))
            .args(["server", "--listen", "127.0.0.1:0", "--gateway", &self.gateway.to_string(), "--dir"])
            .arg(self.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let pid = server.id();
        let output = BufReader::new(server.stdout.take().unwrap());
        self.server = Some(server);
        let file = self.directory().join("server.json");
        let address = eventually("the server tells where it is", || {
            let died = self.server.as_mut().unwrap().try_wait().unwrap();
            assert!(died.is_none(), "the server ended with {died:?}:\n{}", self.server_log());
            let address: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
            (address["pid"] == pid).then_some(address)
        });
        self.api = address["api"].as_str().unwrap().to_owned();
        eventually("the server is ready", || {
            (get(self.api_address(), "localhost", "/readyz").ok()?.status == 200).then_some(())
        });
        let took = begun.elapsed();
        if self.token.is_empty() {
            let mut lines = output.lines();
            self.token = lines
                .find_map(|line| Some(line.ok()?.split_once("token (shown once): ")?.1.trim().to_owned()))
                .unwrap();
        }
        took
    }

    fn api_address(&self) -> SocketAddr {
        self.api.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// What the server has logged.
    pub fn server_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// Kills the server as a crash does.
    pub fn kill_server(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Stops the server in order and waits for its end.
    pub fn stop_server(&mut self) {
        let mut server = self.server.take().unwrap();
        signal(server.id(), "TERM");
        let status = server.wait().unwrap();
        assert!(status.success(), "the server ended with {status}:\n{}", self.server_log());
    }

    /// A command of the command line, not started yet.
    pub fn command<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paas"));
        command
            .args(words)
            .current_dir(self.folder.path())
            .env("PAAS_SERVER", &self.api)
            .env("PAAS_TOKEN", &self.token)
            .env("PAAS_ORG", "acme")
            .env("PAAS_ENV", "prod")
            .env("PAAS_CONFIG", self.folder.path().join("login.json"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the command line.
    pub fn run<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Outcome {
        outcome(&mut self.command(words))
    }

    /// Runs the command line with something on its standard input.
    pub fn run_with_input<'a>(&self, words: impl IntoIterator<Item = &'a str>, input: &str) -> Outcome {
        let mut command = self.command(words);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Outcome::new(&output)
    }

    /// Runs the command line, which must succeed; returns what it printed.
    pub fn ok<'a>(&self, words: impl IntoIterator<Item = &'a str> + Clone) -> String {
        let outcome = self.run(words.clone());
        if outcome.code != 0 {
            let words: Vec<_> = words.into_iter().collect();
            panic!("paas {} ended with {outcome:?}\n{}", words.join(" "), self.describe());
        }
        outcome.stdout
    }

    /// Runs the command line and reads its JSON.
    pub fn json<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Value {
        let words: Vec<&str> = words.into_iter().chain(["-o", "json"]).collect();
        serde_json::from_str(&self.ok(words)).unwrap()
    }

    /// Writes a specification and returns its file's name.
    pub fn spec(&self, yaml: &str) -> String {
        let name = "paas.yaml";
        fs::write(self.folder.path().join(name), yaml).unwrap();
        name.to_owned()
    }

    /// Releases a specification and waits for the end.
    pub fn deploy(&self, app: &str, yaml: &str) -> Outcome {
        let file = self.spec(yaml);
        self.run(["deploy", app, "--create", "-f", &file, "--wait", "--timeout", "60s"])
    }

    /// Releases a specification, which must succeed.
    pub fn deploy_ok(&self, app: &str, yaml: &str) {
        let outcome = self.deploy(app, yaml);
        assert_eq!(outcome.code, 0, "{outcome:?}\n{}", self.describe());
    }

    /// The host at which an application answers.
    pub fn host(app: &str) -> String {
        format!("{app}-prod-acme.localhost")
    }

    /// Asks an application through the gateway.
    pub fn get(&self, app: &str, path: &str) -> Answer {
        self.try_get(app, path).unwrap()
    }

    /// Asks an application through the gateway, which may not answer.
    pub fn try_get(&self, app: &str, path: &str) -> std::io::Result<Answer> {
        get(self.gateway, &Self::host(app), path)
    }

    /// The versions that answer `count` requests.
    pub fn versions(&self, app: &str, count: usize) -> BTreeSet<String> {
        (0..count).map(|_| self.get(app, "/").version).collect()
    }

    /// The processes that belong to this server: its gateway, shims and what runs in them. The server is not among
    /// them.
    pub fn processes(&self, kind: &str) -> Vec<u32> {
        let directory = self.directory();
        let server = self.server.as_ref().map(Child::id);
        let numbers =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers
            .filter(|pid: &u32| Some(*pid) != server)
            .filter(|pid| {
                let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let words = String::from_utf8_lossy(&words).replace('\0', " ");
                words.contains(directory.to_str().unwrap()) && words.contains(kind)
            })
            .collect()
    }

    /// What is known when something fails.
    fn describe(&self) -> String {
        let mut text = String::new();
        let log = self.server_log();
        let tail: Vec<_> = log.lines().rev().take(60).collect();
        let _ = writeln!(text, "--- status\n{}", self.run(["status"]).stdout);
        for line in tail.into_iter().rev() {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if self.server.is_none() {
            self.start_server();
        }
        let apps = self.run(["app", "list", "-o", "json"]).stdout;
        let apps: Value = serde_json::from_str(&apps).unwrap_or_default();
        for app in apps["items"].as_array().into_iter().flatten() {
            let Some(name) = app["name"].as_str() else { continue };
            self.run(["delete", name, "--yes", "--wait", "--timeout", "60s"]);
        }
        let left = self.processes("__shim");
        if let Some(mut server) = self.server.take() {
            signal(server.id(), "TERM");
            let _ = server.wait();
        }
        for pid in self.processes("") {
            signal(pid, "KILL");
        }
        let folder = self.folder.path().to_owned();
        if failed {
            eprintln!("--- the end of the server's log\n{}", self.server_log());
            return;
        }
        assert!(left.is_empty(), "shims were left after everything was deleted: {left:?}");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(folder.to_str().unwrap()), "a mount was left");
    }
}

impl Outcome {
    fn new(output: &std::process::Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Everything that was printed.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

fn outcome(command: &mut Command) -> Outcome {
    Outcome::new(&command.output().unwrap())
}

/// Sends a signal to a process that this test has started.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn get(address: SocketAddr, host: &str, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let header = |line: &str| Some(line.split_once(':')?.1.trim().to_owned());
    let mut lines = head.lines().skip(1);
    let version = lines.find(|line| line.to_ascii_lowercase().starts_with("x-version:")).and_then(header);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Ok(Answer { status, version: version.unwrap_or_default(), body })
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}

/// At most two journeys at a time: each runs a server, a gateway and up to a few dozen containers.
struct Turn;

static FREE: (Mutex<usize>, Condvar) = (Mutex::new(2), Condvar::new());

impl Turn {
    fn take() -> Self {
        let free = FREE.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = FREE.1.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        FREE.1.notify_one();
    }
}
