//! A server's directory with everything that comes of it: the server as it is now, the client, and where its applications run.

pub mod cluster;
pub mod machine;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::account::Account;
use crate::client::{Client, HERE};
use crate::killer::{self, Order};
use crate::point::{Names, Point};
use crate::process::{Launch, PERIOD, Process, SharedStore};
use crate::serve::{CLUSTER, FAKE, MACHINE};
use crate::story::Images;

use cluster::OnCluster;
use machine::{Machine, OnMachine};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Asks for the same stories on a real cluster; the value is how many points of each story are tried, or `all`.
pub const CLUSTER_VARIABLE: &str = "PAAS_KILL_CLUSTER";

/// Asks until the answer is there or patience ends; then fails with what was waited for and what was seen last.
pub async fn eventually<T, S: Debug>(what: &str, ask: impl AsyncFnMut() -> Result<T, S>) -> T {
    within(PATIENCE, what, ask).await
}

/// The same with another patience.
pub async fn within<T, S: Debug>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let end = Instant::now() + patience;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(seen) => {
                assert!(Instant::now() < end, "waited {patience:?} for: {what}; last seen: {seen:#?}");
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Where applications run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In containers of this machine.
    Machine,
    /// On an API server in memory.
    Fake,
    /// On a real cluster.
    Cluster,
}

impl Place {
    /// What the server is told.
    fn backend(self) -> &'static str {
        match self {
            Self::Machine => MACHINE,
            Self::Fake => FAKE,
            Self::Cluster => CLUSTER,
        }
    }

    /// How long a story usually may take.
    fn patience(self) -> Duration {
        if self == Self::Cluster { PATIENCE * 6 } else { PATIENCE }
    }
}

/// What was made for a story and what there is, in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What was made for the story: containers by component, or objects of the cluster.
    pub made: BTreeMap<String, usize>,
    /// What was made for the story and is not there any more.
    pub made_in_vain: Vec<String>,
    /// The machine.
    pub machine: Machine,
    /// The objects of the cluster.
    pub objects: Vec<String>,
}

/// Somebody who visits the application by the gateway, which stays.
#[derive(Clone)]
pub struct Visitor {
    client: Client,
    gateway: String,
    domain: String,
    versions: BTreeMap<String, String>,
}

impl Visitor {
    /// What the application says.
    pub async fn visit(&self) -> String {
        self.client.visit(&self.gateway, &self.domain, &self.versions).await
    }
}

enum Runs {
    OnMachine(OnMachine),
    OnCluster(Box<OnCluster>),
}

/// A server's directory with everything that comes of it.
pub struct World {
    /// How long a story may take.
    pub patience: Duration,
    home: TempDir,
    /// The server, if it runs.
    pub server: Option<Process>,
    /// The user.
    pub client: Client,
    visitor: Visitor,
    runs: Runs,
    launch: Launch,
    /// The points that the server has passed in the present story, until it was killed or to the end.
    pub passed: Vec<Point>,
    /// Whether it was killed in the present story.
    pub killed: bool,
    /// What revisions are called.
    pub names: BTreeMap<String, String>,
}

/// How a world differs from the usual one.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// How long a call to the cluster may take, in milliseconds.
    pub call_timeout: Option<u64>,
    /// How long a story may take.
    pub patience: Option<Duration>,
    /// A store that servers share, instead of one in the server's directory.
    pub shared: Option<SharedStore>,
    /// As whom the server runs.
    pub account: Account,
    /// How often everything is looked at, in seconds.
    pub resync: Option<u32>,
}

impl World {
    /// A new one, with an application that has a secret and no release.
    pub async fn with(place: Place, images: &Images, setup: Setup) -> Self {
        let home = tempfile::Builder::new().prefix("paas-kill-").tempdir().unwrap();
        setup.account.give(home.path());
        let Setup { shared, account, resync, .. } = setup;
        let launch = Launch { backend: place.backend(), shared, account, resync };
        let mut server = Process::start(home.path(), &launch).await;
        let client = Client::new(server.token().await);
        let mut env = json!({ "name": "prod" });
        let runs = if place == Place::Machine {
            Runs::OnMachine(OnMachine::new(home.path()))
        } else {
            let cluster = OnCluster::new(place, &home.path().join("journal"), images).await;
            let mut declared = cluster.declaration();
            if let Some(timeout) = setup.call_timeout {
                declared["config"]["calls"]["timeout_milliseconds"] = json!(timeout);
            }
            client.change(&server, Method::POST, "/clusters", &declared).await;
            env["targets"] = json!([{ "cluster": "k8s" }]);
            Runs::OnCluster(Box::new(cluster))
        };
        client.change(&server, Method::POST, "/orgs", &json!({ "name": "shop" })).await;
        client.change(&server, Method::POST, "/orgs/shop/envs", &env).await;
        client.change(&server, Method::POST, "/orgs/shop/apps", &json!({ "name": "app" })).await;
        client
            .change(&server, Method::PUT, &format!("{HERE}/secrets/KEY"), &json!({ "text": "hunter2" }))
            .await;
        let (gateway, domain, versions) = match &runs {
            Runs::OnMachine(_) => {
                let gateway = server.gateway.clone().expect("a machine has a gateway");
                (gateway, "localhost".to_owned(), BTreeMap::new())
            }
            Runs::OnCluster(cluster) => {
                (cluster.gateway().to_owned(), cluster.domain().to_owned(), cluster.versions().clone())
            }
        };
        Self {
            patience: setup.patience.unwrap_or(place.patience()),
            visitor: Visitor { client: client.clone(), gateway, domain, versions },
            home,
            server: Some(server),
            client,
            runs,
            launch,
            passed: Vec::new(),
            killed: false,
            names: BTreeMap::new(),
        }
    }

    pub fn server(&mut self) -> &mut Process {
        self.server.as_mut().expect("it was started")
    }

    /// Begins a story: from now on the server is killed at the first of the points that were asked for.
    pub async fn begin(&mut self, order: Order) {
        (self.passed, self.killed) = (Vec::new(), false);
        match &mut self.runs {
            Runs::OnMachine(machine) => machine.begin(),
            Runs::OnCluster(cluster) => {
                let server = self.server.as_ref().expect("it was started").pid();
                cluster.begin(order.clone(), server);
            }
        }
        self.server().order(order).await;
    }

    /// The server is gone: everything that it left goes on.
    pub fn check_gone(&mut self) {
        match &self.runs {
            Runs::OnMachine(machine) => machine.check_gateway(),
            Runs::OnCluster(cluster) => cluster.let_be(),
        }
        (self.passed, self.killed) = (self.journal(), true);
    }

    /// Starts the server anew, which finds everything where it was.
    pub async fn start_again(&mut self) {
        let server = Process::start(self.home.path(), &self.launch).await;
        if let Some(gateway) = &server.gateway {
            assert_eq!(*gateway, self.visitor.gateway, "the gateway is found");
        }
        self.server = Some(server);
    }

    /// The points that servers have passed since the last order.
    pub fn journal(&self) -> Vec<Point> {
        killer::read(&self.home.path().join("journal"))
    }

    /// How much the journal holds: it grows with each point.
    pub fn noted(&self) -> u64 {
        std::fs::metadata(self.home.path().join("journal")).map_or(0, |journal| journal.len())
    }

    /// What the servers have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    /// What the application says to a visitor.
    pub async fn visit(&self) -> String {
        self.visitor.visit().await
    }

    /// Somebody who visits the application whatever becomes of the server.
    pub fn visitor(&self) -> Visitor {
        self.visitor.clone()
    }

    /// Looks at what was made, and what there is.
    pub async fn look(&mut self) -> Seen {
        let names = Names { known: self.names.clone(), new: "unknown".to_owned() };
        match &mut self.runs {
            Runs::OnMachine(machine) => machine.seen(),
            Runs::OnCluster(cluster) => cluster.seen(&names).await,
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> &OnCluster {
        match &self.runs {
            Runs::OnMachine(_) => panic!("this world has no cluster"),
            Runs::OnCluster(cluster) => cluster,
        }
    }

    /// Takes everything down.
    pub async fn close(mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
        match self.runs {
            Runs::OnMachine(machine) => machine.close().await,
            Runs::OnCluster(cluster) => cluster.close().await,
        }
        self.home.close().unwrap();
    }
}

/// A file of JSON, if it is there.
fn read(file: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}
