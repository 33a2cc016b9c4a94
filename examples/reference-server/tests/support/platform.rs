//! A server of a journey's own: started, used through the command line, and taken away whole.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use paas_cluster_harness::{Gateway, TestCluster};
use serde_json::Value;
use tempfile::TempDir;

use crate::application::{self, Answer};
use crate::journey::Who;
use crate::leftovers::{self, signal};
use crate::outcome::Outcome;
use crate::turn::Turn;
use crate::user;
pub use crate::wait::eventually;

/// How a server is started.
pub struct Setup {
    who: Who,
    alone: bool,
    log: &'static str,
    space: Option<&'static str>,
    runs_on: RunsOn,
}

/// Where a server's applications run.
#[derive(Debug, Clone)]
enum RunsOn {
    Machine,
    Simulation,
    /// With these options, if there are any.
    Clusters(Vec<TestCluster>, Option<String>),
}

impl Setup {
    /// As `who`, beside another journey, with the usual log.
    pub fn new(who: Who) -> Self {
        Self { who, alone: false, log: "info", space: None, runs_on: RunsOn::Machine }
    }

    /// With the machine for itself.
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// With a log of this level.
    pub fn logging(self, log: &'static str) -> Self {
        Self { log, ..self }
    }

    /// With a file system of its own of so many bytes, such as `64m`.
    pub fn with_space(self, space: &'static str) -> Self {
        Self { space: Some(space), ..self }
    }

    /// With a simulated cluster.
    pub fn simulated(self) -> Self {
        Self { runs_on: RunsOn::Simulation, ..self }
    }

    /// With Kubernetes clusters as the targets of the environment, in this order; requests go to the first one's Gateway.
    pub fn on(self, clusters: &[TestCluster]) -> Self {
        Self { runs_on: RunsOn::Clusters(clusters.to_vec(), None), ..self }
    }

    /// With a Kubernetes cluster that has volumes of a storage class, or of its default one.
    pub fn on_with_volumes(self, cluster: &TestCluster, class: Option<&str>) -> Self {
        let class = class.map(|class| format!(", storage_class: {class}")).unwrap_or_default();
        let options = format!("volumes: {{ size: 16Mi{class} }}\n");
        Self { runs_on: RunsOn::Clusters(vec![cluster.clone()], Some(options)), ..self }
    }

    /// Starts the server in a new directory, and makes organisation `acme` with environment `prod`.
    pub fn start(self) -> Platform {
        let turn = if self.alone { Turn::alone() } else { Turn::shared() };
        let folder = tempfile::Builder::new().prefix("paas-").tempdir().unwrap();
        let program = folder.path().join("paas");
        // An ordinary user may not enter the folder in which it was built.
        fs::hard_link(env!("CARGO_BIN_EXE_paas"), &program)
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_paas"), &program).map(drop))
            .unwrap();
        let root = rustix::process::geteuid().is_root();
        let ids = (root && self.who == Who::User).then(|| user::ids().unwrap());
        let mut platform = Platform {
            server: None,
            api: String::new(),
            gateway: SocketAddr::from(([127, 0, 0, 1], free_port())),
            domain: "localhost".to_owned(),
            token: String::new(),
            mounted: false,
            folder,
            program,
            ids,
            log: self.log,
            runs_on: self.runs_on,
            _turn: turn,
        };
        platform.give(platform.folder());
        fs::create_dir(platform.directory()).unwrap();
        platform.give(&platform.directory());
        if let Some(space) = self.space {
            platform.mount(space);
        }
        platform.start_server();
        platform.ok(["org", "create", "acme"]);
        match platform.runs_on.clone() {
            RunsOn::Clusters(clusters, options) => platform.use_clusters(&clusters, options.as_deref()),
            RunsOn::Machine | RunsOn::Simulation => drop(platform.ok(["env", "create", "prod"])),
        }
        platform
    }
}

/// A server with everything that belongs to it.
pub struct Platform {
    server: Option<Child>,
    api: String,
    pub gateway: SocketAddr,
    /// What the names of access points end with.
    domain: String,
    token: String,
    mounted: bool,
    folder: TempDir,
    /// The program that is the server and the command line.
    program: PathBuf,
    /// The user and group of the server and the command line, when they are not those of this program.
    ids: Option<(u32, u32)>,
    log: &'static str,
    runs_on: RunsOn,
    _turn: Turn,
}

impl Platform {
    /// Starts a server that nothing special is needed of.
    pub fn start(who: Who) -> Self {
        Setup::new(who).start()
    }

    /// Where a journey may put files of its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's directory.
    pub fn directory(&self) -> PathBuf {
        self.folder().join("platform")
    }

    /// Gives a file or folder to the server's user.
    pub fn give(&self, path: &Path) {
        if let Some((user, group)) = self.ids {
            std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// Puts the server's directory on a file system of its own.
    fn mount(&mut self, space: &str) {
        let owner = self.ids.map(|(user, group)| format!(",uid={user},gid={group}")).unwrap_or_default();
        let options = format!("size={space},mode=700{owner}");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "paas-journey"]).arg(self.directory());
        Outcome::of(&mut command).ended_with(0);
        self.mounted = true;
    }

    /// Another build of the program, in a file of this name: what it does is the same, what it is made of is not.
    pub fn another_build(&self, name: &str) -> PathBuf {
        let build = self.folder().join(name);
        fs::copy(&self.program, &build).unwrap();
        // What comes after its sections is nothing to a program.
        fs::File::options().append(true).open(&build).unwrap().write_all(name.as_bytes()).unwrap();
        build
    }

    /// Puts a build where the program is, as package managers do it: who runs the program before goes on with it.
    pub fn replace_program(&self, build: &Path) {
        fs::rename(build, &self.program).unwrap();
    }

    /// From now on the program is this one, and the one before is gone.
    pub fn use_program(&mut self, build: PathBuf) {
        fs::remove_file(std::mem::replace(&mut self.program, build)).unwrap();
    }

    /// Whether a process runs the program that is there now.
    pub fn is_of_program(&self, pid: u32) -> bool {
        let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).unwrap();
        file(&PathBuf::from(format!("/proc/{pid}/exe"))) == file(&self.program)
    }

    fn program(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.current_dir(self.folder()).stdin(Stdio::null());
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }

    /// The command that starts a server in the directory, the next time where it was the last time.
    pub fn server_command(&self) -> Command {
        let mut command = self.program();
        let listen = self.api.strip_prefix("http://").unwrap_or("127.0.0.1:0");
        command.args(["server", "--listen", listen, "--gateway", &self.gateway.to_string(), "--dir"]);
        command.arg(self.directory()).env("PAAS_LOG", self.log);
        match self.runs_on {
            RunsOn::Machine => {}
            RunsOn::Simulation => drop(command.args(["--backend", "memory"])),
            RunsOn::Clusters(..) => drop(command.args(["--backend", "none"])),
        }
        command
    }

    /// Starts the server and waits until it answers; returns how long that took.
    pub fn start_server(&mut self) -> Duration {
        let command = self.server_command();
        self.start_with(command)
    }

    /// Starts the server for an administrator who has no token any more; returns the one that was lost.
    pub fn start_server_without_token(&mut self) -> String {
        let lost = std::mem::take(&mut self.token);
        let mut command = self.server_command();
        command.arg("--new-admin-token");
        self.start_with(command);
        lost
    }

    fn start_with(&mut self, mut command: Command) -> Duration {
        let begun = Instant::now();
        let log =
            fs::File::options().create(true).append(true).open(self.folder().join("server.log")).unwrap();
        let mut server = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
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
        address["api"].as_str().unwrap().clone_into(&mut self.api);
        eventually("the server is ready", || {
            (self.ask("/readyz").is_ok_and(|answer| answer.status == 200)).then_some(())
        });
        let took = begun.elapsed();
        if self.token.is_empty() {
            let token = output.lines().find_map(|line| {
                let line = line.ok()?;
                Some(line.split_once("token (shown once): ")?.1.trim().to_owned())
            });
            self.token = token.expect("the start shows a token");
        }
        took
    }

    /// Asks the server itself, as the administrator.
    pub fn ask(&self, path: &str) -> std::io::Result<Answer> {
        let address = self.api.strip_prefix("http://").unwrap().parse().unwrap();
        let headers = format!("Authorization: Bearer {}\r\n", self.token);
        application::get_with(address, "localhost", path, &headers)
    }

    /// The server's interface.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The administrator's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The server's process.
    pub fn server(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// What the server has logged.
    pub fn server_log(&self) -> String {
        fs::read_to_string(self.folder().join("server.log")).unwrap_or_default()
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
        let mut command = self.program();
        command
            .args(words)
            .env("PAAS_SERVER", &self.api)
            .env("PAAS_TOKEN", &self.token)
            .env("PAAS_ORG", "acme")
            .env("PAAS_ENV", "prod")
            .env("PAAS_CONFIG", self.folder().join("login.json"));
        command
    }

    /// Runs the command line.
    pub fn run<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Outcome {
        Outcome::of(&mut self.command(words))
    }

    /// Runs the command line with something on its standard input.
    pub fn run_with_input<'a>(&self, words: impl IntoIterator<Item = &'a str>, input: &str) -> Outcome {
        Outcome::with_input(&mut self.command(words), input.as_bytes())
    }

    /// Runs the command line, which must succeed; returns what it printed.
    #[track_caller]
    pub fn ok<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> String {
        self.run(words).ended_with(0).stdout
    }

    /// Runs the command line and reads its JSON.
    #[track_caller]
    pub fn json<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Value {
        self.run(words.into_iter().chain(["-o", "json"])).ended_with(0).json()
    }

    /// Writes a specification and returns its file's name.
    pub fn specify(&self, yaml: &str) -> String {
        let name = "paas.yaml";
        fs::write(self.folder().join(name), yaml).unwrap();
        name.to_owned()
    }

    /// Releases a specification and waits for the end.
    pub fn deploy(&self, app: &str, yaml: &str) -> Outcome {
        let file = self.specify(yaml);
        self.run(["deploy", app, "--create", "-f", &file, "--wait", "--timeout", "60s"])
    }

    /// Releases a specification, which must succeed.
    #[track_caller]
    pub fn deploy_ok(&self, app: &str, yaml: &str) {
        self.deploy(app, yaml).ended_with(0);
    }

    /// The host at which an application answers.
    pub fn host(&self, app: &str) -> String {
        format!("{app}-prod-acme.{}", self.domain)
    }

    /// Asks an application through the gateway.
    #[track_caller]
    pub fn get(&self, app: &str, path: &str) -> Answer {
        self.try_get(app, path).unwrap()
    }

    /// Asks an application through the gateway, which may not answer.
    pub fn try_get(&self, app: &str, path: &str) -> std::io::Result<Answer> {
        application::get(self.gateway, &self.host(app), path)
    }

    /// A variable of the environment of an application's instance.
    #[track_caller]
    pub fn variable(&self, app: &str, name: &str) -> String {
        let answer = self.get(app, &format!("/env?name={name}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.trim_end_matches('\n').to_owned()
    }

    /// Waits until an application answers.
    pub fn answers(&self, app: &str) {
        eventually("it answers", || {
            self.try_get(app, "/").is_ok_and(|answer| answer.status == 200).then_some(())
        });
    }

    /// The versions that answer `count` requests.
    #[track_caller]
    pub fn versions(&self, app: &str, count: usize) -> BTreeSet<String> {
        self.versions_at(self.gateway, app, count)
    }

    /// The same at another cluster's gateway.
    #[track_caller]
    pub fn versions_at(&self, gateway: SocketAddr, app: &str, count: usize) -> BTreeSet<String> {
        let ask = || application::get(gateway, &self.host(app), "/healthz").unwrap().version;
        (0..count).map(|_| ask()).collect()
    }

    /// Adds the clusters under their names, and makes the environment on them.
    fn use_clusters(&mut self, clusters: &[TestCluster], options: Option<&str>) {
        // Servers that share a Gateway must not share hosts.
        let random = self.folder().file_name().unwrap().to_string_lossy().to_lowercase();
        self.domain = format!("{}.test", random.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        let options = options.map(|yaml| self.specify(yaml));
        let mut words = vec!["env".to_owned(), "create".to_owned(), "prod".to_owned()];
        for cluster in clusters {
            let mut add = vec!["cluster", "add", &cluster.name, "--kubeconfig"];
            let kubeconfig = cluster.kubeconfig.to_str().unwrap();
            add.push(kubeconfig);
            let gateway = cluster.gateway.as_ref().expect("the cluster has a Gateway");
            let object = format!("{}/{}", gateway.namespace, gateway.name);
            add.extend(["--gateway", &object, "--domain", &self.domain]);
            add.extend(options.iter().flat_map(|file| ["--options", file]));
            self.ok(add);
            words.extend(["--cluster".to_owned(), cluster.name.clone()]);
        }
        self.ok(words.iter().map(String::as_str));
        if let Some(Gateway { address, .. }) = clusters.first().and_then(|cluster| cluster.gateway.as_ref()) {
            self.gateway = SocketAddr::new(*address, 80);
        }
    }

    /// The supervisors of the instances that exist.
    pub fn shims(&self) -> BTreeSet<u32> {
        leftovers::processes(&self.directory(), "__shim").into_iter().collect()
    }

    /// Waits until as many instances exist as are wanted.
    pub fn has_instances(&self, count: usize) {
        eventually(&format!("{count} instances exist"), || (self.shims().len() == count).then_some(()));
    }

    /// The gateway's process.
    pub fn gateways(&self) -> Vec<u32> {
        leftovers::processes(&self.directory(), "__gateway")
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let mut complaints = Vec::new();
        if failed {
            eprintln!("--- status\n{}", self.run(["status", "-o", "json"]).text());
            let log = self.server_log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!(
                "--- the end of the server's log\n{}",
                lines[lines.len().saturating_sub(60)..].join("\n")
            );
        } else {
            complaints = self.remove_all();
        }
        if let Some(mut server) = self.server.take() {
            signal(server.id(), if failed { "KILL" } else { "TERM" });
            let _ = server.wait();
        }
        let (shims, states) = (self.shims(), leftovers::states(&self.directory()));
        leftovers::kill_everything(&self.directory());
        leftovers::remove_groups(&states);
        if self.mounted {
            let unmounted = Outcome::of(Command::new("umount").arg(self.directory()));
            complaints.extend((unmounted.code != 0).then(|| unmounted.text()));
        }
        complaints.extend((!shims.is_empty()).then(|| format!("shims were left: {shims:?}")));
        complaints.extend(leftovers::of(self.folder()).into_iter().map(|left| format!("left: {left}")));
        // By now nothing is left, whatever went wrong.
        assert!(failed || complaints.is_empty(), "{complaints:#?}");
    }
}

impl Platform {
    /// Deletes every application and waits until they are gone; tells what went wrong.
    fn remove_all(&mut self) -> Vec<String> {
        if self.server.is_none() {
            self.start_server();
        }
        let apps = self.run(["app", "list", "-o", "json"]);
        let Ok(listed) = serde_json::from_str::<Vec<Value>>(&apps.stdout) else { return vec![apps.text()] };
        let names = listed.iter().filter_map(|app| app["name"].as_str());
        let deleted = names.map(|name| self.run(["delete", name, "--yes", "--wait", "--timeout", "60s"]));
        // One that was never deployed has no place in the environment.
        deleted.filter(|deleted| !matches!(deleted.code, 0 | 7)).map(|deleted| deleted.text()).collect()
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
