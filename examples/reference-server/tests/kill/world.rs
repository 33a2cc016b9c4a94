//! A server's directory with everything that comes of it: the server as it is now, the client, the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::client::{Client, HERE};
use crate::machine::{self, Machine, Witness};
use crate::point::Point;
use crate::process::{PERIOD, Process};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the answer is there or patience ends; then fails with what was waited for and what was seen last.
pub async fn eventually<T, S: Debug>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, S>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) => {
                assert!(Instant::now() < end, "waited {PATIENCE:?} for: {what}; last seen: {seen:#?}");
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// A server's directory with everything that comes of it.
pub struct World {
    home: TempDir,
    /// The server, if it runs.
    pub server: Option<Process>,
    /// The user.
    pub client: Client,
    /// The address of the gateway, which stays.
    pub gateway: String,
    gateway_process: Option<u64>,
    witness: Witness,
    /// All containers that were ever made.
    made: BTreeSet<String>,
    /// Those that were made since the present story began. A start that was cut off is begun anew under the same name.
    pub made_now: BTreeSet<String>,
    /// The points that the server has passed in the present story, until it was killed or to the end.
    pub passed: Vec<Point>,
    /// Whether it was killed in the present story.
    pub killed: bool,
    /// What revisions are called.
    pub names: BTreeMap<String, String>,
    groups: BTreeSet<PathBuf>,
}

impl World {
    /// A new one, with an application that has a secret and no release.
    pub async fn new() -> Self {
        let home = tempfile::Builder::new().prefix("paas-kill-").tempdir().unwrap();
        let mut server = Process::start(home.path()).await;
        let client = Client::new(server.token().await);
        client.change(&server, Method::POST, "/orgs", &json!({ "name": "shop" })).await;
        client.change(&server, Method::POST, "/orgs/shop/envs", &json!({ "name": "prod" })).await;
        client.change(&server, Method::POST, "/orgs/shop/apps", &json!({ "name": "app" })).await;
        client
            .change(&server, Method::PUT, &format!("{HERE}/secrets/KEY"), &json!({ "text": "hunter2" }))
            .await;
        let data = home.path().join("data");
        Self {
            witness: Witness::new(&data),
            gateway_process: machine::gateway(&data),
            gateway: server.gateway.clone(),
            home,
            server: Some(server),
            client,
            made: BTreeSet::new(),
            made_now: BTreeSet::new(),
            passed: Vec::new(),
            killed: false,
            names: BTreeMap::new(),
            groups: BTreeSet::new(),
        }
    }

    pub fn server(&mut self) -> &mut Process {
        self.server.as_mut().expect("it was started")
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Starts the server anew, which finds everything where it was.
    pub async fn start_again(&mut self) {
        let server = Process::start(self.home.path()).await;
        assert_eq!(server.gateway, self.gateway, "the gateway is found");
        self.server = Some(server);
    }

    /// The points that servers have passed since the last order.
    pub fn journal(&self) -> Vec<Point> {
        let journal = std::fs::read_to_string(self.home.path().join("journal")).unwrap();
        journal.lines().map(Point::from).collect()
    }

    /// What the servers have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    /// The gateway is the one of the first start.
    pub fn check_gateway(&self) {
        let now = machine::gateway(&self.data());
        assert_eq!(now, self.gateway_process, "the gateway lives on");
        let process = format!("/proc/{}", now.unwrap());
        assert!(Path::new(&process).exists(), "the gateway lives");
    }

    /// Whether a container is there.
    pub fn has(&self, container: &str) -> bool {
        self.data().join("machine/instances").join(container).exists()
    }

    /// Looks at the machine.
    pub fn look(&mut self) -> Machine {
        let made = self.witness.made();
        self.made.extend(made.iter().cloned());
        self.made_now.extend(made);
        machine::look(&self.data(), &self.made, &mut self.groups)
    }

    /// Takes everything down.
    pub async fn close(mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
        self.look();
        let data = self.data();
        // Nothing starts anything any more: supervisors and what they supervise, at last the gateway.
        eventually("everything ends", async || {
            let left = machine::processes(&data, &self.made);
            for (pid, _) in &left {
                if let Some(pid) = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
        // A group stays for as long as the kernel is at what ran in it.
        eventually("the control groups go", async || {
            let left = self.groups.iter().filter(|root| !remove_group(root));
            let left: Vec<&PathBuf> = left.collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        assert_eq!(self.look().mounts, Vec::<String>::new());
        self.home.close().unwrap();
    }
}

/// Removes a control group with those below it; whether it is gone.
fn remove_group(root: &Path) -> bool {
    for group in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir(group.path());
    }
    let _ = std::fs::remove_dir(root);
    !root.exists()
}
