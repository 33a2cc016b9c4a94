//! A server of the real binary in a directory of its own, and the command line that speaks to it.
//!
//! ```text
//! let server = Server::start(Setup::memory());
//! server.paas(["org", "create", "shop"]).succeeds();
//! ```

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Setup {
    backend: &'static str,
    user: Option<u32>,
}

impl Setup {
    /// With a simulated cluster.
    pub fn memory() -> Self {
        Self { backend: "memory", user: None }
    }

    /// With containers on this machine.
    pub fn local() -> Self {
        Self { backend: "local", user: None }
    }

    /// As this user instead of the one who runs the tests.
    pub fn as_user(self, user: u32) -> Self {
        Self { user: Some(user), ..self }
    }
}

/// A running server. Dropping it stops it, with everything that it started.
pub struct Server {
    setup: Setup,
    home: TempDir,
    child: Option<Child>,
    api: String,
    gateway: Option<String>,
    token: String,
}

impl Server {
    /// Starts a server in a new directory.
    pub fn start(setup: Setup) -> Self {
        let home = tempfile::Builder::new().prefix("paas-").tempdir().unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_paas"), home.path().join("paas")).unwrap();
        if let Some(user) = setup.user {
            std::os::unix::fs::chown(home.path(), Some(user), Some(user)).unwrap();
        }
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut server =
            Self { setup, home, child: None, api: String::new(), gateway: None, token: String::new() };
        server.token = server.boot().expect("a first start prints a token");
        server
    }

    /// Starts the program again after [`Server::stop`] or [`Server::kill`]; returns how long it took to answer.
    pub fn start_again(&mut self) -> Duration {
        let begun = Instant::now();
        let token = self.boot();
        assert_eq!(token, None, "only a first start prints a token");
        begun.elapsed()
    }

    /// Starts the process, waits until it answers, and returns the token if it printed one.
    fn boot(&mut self) -> Option<String> {
        let mut command = self.binary();
        command.args(["server", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]);
        command.args(["--backend", self.setup.backend, "--dir"]).arg(self.dir());
        let log = std::fs::File::options().create(true).append(true).open(self.home.path().join("log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.child = Some(child);
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            while let Some(Ok(line)) = lines.next() {
                let _ = send.send(line);
            }
        });
        let address = self.wait_for("the server's address", || {
            let text = std::fs::read(self.dir().join("server.json")).ok()?;
            let address: Value = serde_json::from_slice(&text).ok()?;
            (address["pid"] == self.pid()).then_some(address)
        });
        self.api = address["api"].as_str().unwrap().to_owned();
        self.gateway = address["gateway"].as_str().map(str::to_owned);
        if !self.token.is_empty() {
            return receive.try_recv().ok();
        }
        let line = receive.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no token; log:\n{}", self.log()));
        line.rsplit(' ').next().map(str::to_owned)
    }

    /// The directory of the server.
    pub fn dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A folder beside it, for files of the test.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The address of the interface.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The address of the gateway.
    pub fn gateway(&self) -> &str {
        self.gateway.as_deref().expect("this backend has a gateway")
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    fn binary(&self) -> Command {
        let mut command = Command::new(self.home.path().join("paas"));
        command.env_clear().current_dir(self.home.path());
        for name in ["PATH", "LLVM_PROFILE_FILE", "RUST_BACKTRACE", "PAAS_LOG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(user) = self.setup.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// A command of the command line, logged in as the administrator, in organisation `shop` and environment `prod`.
    pub fn paas<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Paas {
        let mut command = self.binary();
        command.args(arguments).env("PAAS_SERVER", &self.api).env("PAAS_TOKEN", &self.token);
        command.env("PAAS_ORG", "shop").env("PAAS_ENV", "prod").env("PAAS_CONFIG", self.home.path().join("login"));
        Paas { command, input: Vec::new() }
    }

    /// Makes the organisation `shop`, its environment `prod`, and the application `name`.
    pub fn with_app(self, name: &str) -> Self {
        self.paas(["org", "create", "shop"]).succeeds();
        self.paas(["env", "create", "prod"]).succeeds();
        self.paas(["app", "create", name]).succeeds();
        self
    }

    /// Writes a file beside the server's directory and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Asks the server to stop, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        let child = self.child.take().expect("the server runs");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        wait(child, "the server to stop")
    }

    /// Kills the server without any warning.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until `probe` gives something.
    pub fn wait_for<T>(&self, what: &str, probe: impl FnMut() -> Option<T>) -> T {
        wait_until(probe).unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}; log:\n{}", self.log()))
    }

    /// The status of an application in the environment.
    pub fn status(&self, app: &str) -> Value {
        self.paas(["status", app, "-o", "json"]).succeeds().json()
    }

    /// A path of the interface, with the environment's prefix.
    pub fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.api)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- log of the server ---\n{}", self.log());
        }
        if self.setup.backend == "local" {
            self.destroy();
        }
        if let Some(mut child) = self.child.take() {
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let deadline = Instant::now() + Duration::from_secs(15);
            while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Server {
    /// Takes everything down that outlives a server: instances and the gateway.
    fn destroy(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let _ = child.wait();
        }
        let mut command = self.binary();
        command.args(["server", "--destroy", "--yes", "--dir"]).arg(self.dir()).stdin(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprintln!("taking down failed: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => eprintln!("taking down failed: {error}"),
        }
    }
}

/// Waits until `probe` gives something, for as long as [`PATIENCE`].
pub fn wait_until<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn wait(mut child: Child, what: &str) -> ExitStatus {
    wait_until(|| child.try_wait().unwrap()).unwrap_or_else(|| {
        let _ = child.kill();
        panic!("waited {PATIENCE:?} for {what}")
    })
}

/// A command of the command line, not yet run.
pub struct Paas {
    command: Command,
    input: Vec<u8>,
}

impl Paas {
    /// With this on the standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// With this environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without this environment variable.
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Outcome {
        let begun = Instant::now();
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.input;
        thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
        let read = |mut from: Box<dyn std::io::Read + Send>| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = from.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let stdout = read(Box::new(child.stdout.take().unwrap()));
        let stderr = read(Box::new(child.stderr.take().unwrap()));
        let status = wait(child, "a command to end");
        Outcome {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
            time: begun.elapsed(),
        }
    }

    /// Starts it and leaves it running; its output goes to pipes.
    pub fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs it; it must succeed.
    pub fn succeeds(self) -> Outcome {
        let shown = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        let outcome = self.run();
        assert_eq!(outcome.code, 0, "{shown} failed:\n{}{}", outcome.stdout, outcome.stderr);
        outcome
    }

    /// Runs it; it must end with this exit code.
    pub fn fails(self, code: i32) -> Outcome {
        let shown = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        let outcome = self.run();
        assert_eq!(outcome.code, code, "{shown}:\n{}{}", outcome.stdout, outcome.stderr);
        outcome
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub time: Duration,
}

impl Outcome {
    /// The standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Reads everything that a child prints, once it has ended.
pub fn output_of(mut child: Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let _ = child.wait();
    text
}
