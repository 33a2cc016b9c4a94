//! The controller of argo-rollouts with its Rollouts.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use paas_api_proxy::Proxy;
use paas_benches::http_get;
use paas_cluster_harness::TestCluster;
use paas_k8s::kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use paas_k8s::kube::{Api, Client};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use crate::process::Controller;
use crate::{APPS_IN_ENVIRONMENT, BOUND, Figures, Options, PAGE, kubeconfig, namespaces};

/// Where the controller has its lease, and what the names of the other namespaces begin with.
const NAMESPACE: &str = "paas-bench-argo";
/// How many Rollouts are made at once.
const CALLS: usize = 8;

pub struct Theirs {
    folder: TempDir,
    /// What was built: the program and its definitions.
    kit: PathBuf,
    cluster: TestCluster,
    client: Client,
    proxy: Proxy,
    controller: Option<Child>,
    namespaces: Vec<String>,
    has_definitions: bool,
}

impl Theirs {
    /// Nothing runs yet.
    pub async fn new(kit: &Path, cluster: &TestCluster, client: &Client) -> Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix("paas-argo").tempdir()?,
            kit: kit.to_path_buf(),
            cluster: cluster.clone(),
            client: client.clone(),
            proxy: Proxy::start(client.clone()).await?,
            controller: None,
            namespaces: Vec::new(),
            has_definitions: false,
        })
    }

    /// Starts the controller, makes Rollouts of these pods, looks on, and starts it anew.
    pub async fn measure(&mut self, options: &Options, pod: &Value) -> Result<Figures> {
        let there =
            self.kubectl(&["get", "crd", "rollouts.argoproj.io", "--ignore-not-found", "-o", "name"])?;
        ensure!(there.trim().is_empty(), "the cluster has argo-rollouts already; use one without it");
        self.has_definitions = true;
        let definitions = self.kit.join("definitions").to_string_lossy().into_owned();
        self.kubectl(&["create", "-f", &definitions])?;
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &definitions])?;
        self.namespace(NAMESPACE.to_owned()).await?;
        for index in 0..options.environments() {
            self.namespace(format!("{NAMESPACE}-{index}")).await?;
        }
        self.start().await?;
        let begin = Instant::now();
        self.make(options.apps, pod).await?;
        eprintln!("    {} Rollouts are declared after {:.0?}", options.apps, begin.elapsed());
        self.all_healthy(options.apps).await?;
        let ready = begin.elapsed();
        eprintln!("    all are healthy after {ready:.0?}");
        let deployed = self.watched()?.settle(begin, BOUND, "rollouts").await?;
        let idle = self.watched()?.watch(options.time()).await?;
        self.stop()?;
        drop(self.proxy.take_calls());
        let begin = Instant::now();
        let answers = self.start().await?;
        let restart = self.watched()?.settle(begin, BOUND, "rollouts").await?;
        Ok(Figures { ready, deployed, idle, answers, restart })
    }

    fn watched(&self) -> Result<Controller<'_>> {
        let process = self.controller.as_ref().context("the controller does not run")?.id();
        Ok(Controller { process, proxy: &self.proxy })
    }

    async fn namespace(&mut self, name: String) -> Result<()> {
        namespaces::make(&self.client, &name).await?;
        self.namespaces.push(name);
        Ok(())
    }

    /// Starts the controller as it is by default; answers how long it takes until it says that it is healthy.
    async fn start(&mut self) -> Result<Duration> {
        let access = self.folder.path().join("kubeconfig");
        std::fs::write(&access, kubeconfig(self.proxy.address()))?;
        let log = File::options().create(true).append(true).open(self.log())?;
        let (health, metrics) = (free_port()?, free_port()?);
        let mut command = Command::new(self.kit.join("rollouts-controller"));
        command.arg("--kubeconfig").arg(&access);
        command.arg(format!("--healthzPort={health}")).arg(format!("--metricsPort={metrics}"));
        command.env("POD_NAMESPACE", NAMESPACE).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let begin = Instant::now();
        self.controller = Some(command.spawn().context("failed to start the controller of argo-rollouts")?);
        let address = format!("http://127.0.0.1:{health}");
        while block_in_place(|| http_get(&address, "/healthz", Duration::from_secs(1))).is_err() {
            let log = self.log();
            let ended = self.controller.as_mut().is_some_and(|it| !matches!(it.try_wait(), Ok(None)));
            ensure!(
                !ended && begin.elapsed() < Duration::from_mins(1),
                "the controller does not answer: {}",
                std::fs::read_to_string(log)?
            );
            sleep(Duration::from_millis(5)).await;
        }
        Ok(begin.elapsed())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn stop(&mut self) -> Result<()> {
        if let Some(mut controller) = self.controller.take() {
            controller.kill()?;
            controller.wait()?;
        }
        Ok(())
    }

    async fn make(&self, apps: u32, pod: &Value) -> Result<()> {
        let making = (0..apps).map(|app| {
            let namespace = format!("{NAMESPACE}-{}", app / APPS_IN_ENVIRONMENT);
            let api = self.rollouts(Some(&namespace));
            let rollout = rollout(&format!("app{app}"), pod);
            async move {
                let object: DynamicObject = serde_json::from_value(rollout)?;
                api.create(&PostParams::default(), &object).await.context("failed to make a Rollout")?;
                anyhow::Ok(())
            }
        });
        stream::iter(making).buffer_unordered(CALLS).try_collect().await
    }

    fn rollouts(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "argoproj.io".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: "argoproj.io/v1alpha1".to_owned(),
            kind: "Rollout".to_owned(),
            plural: "rollouts".to_owned(),
        };
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    async fn all_healthy(&self, apps: u32) -> Result<()> {
        let begin = Instant::now();
        loop {
            let healthy = self.healthy().await?;
            if healthy == apps {
                return Ok(());
            }
            ensure!(begin.elapsed() < BOUND, "{healthy} of {apps} Rollouts are healthy after {BOUND:?}");
            sleep(Duration::from_secs(2)).await;
        }
    }

    async fn healthy(&self) -> Result<u32> {
        let (api, mut healthy) = (self.rollouts(None), 0);
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&parameters).await?;
            let found = page.items.iter().filter(|it| it.data["status"]["phase"] == "Healthy").count();
            healthy += u32::try_from(found)?;
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(healthy),
            }
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output =
            block_in_place(|| self.cluster.kubectl()?.args(arguments).output().context("no kubectl"))?;
        ensure!(
            output.status.success(),
            "`kubectl {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).context("kubectl's output is not UTF-8")
    }

    /// Ends the controller and removes everything that was made.
    pub async fn end(mut self) -> Result<()> {
        self.stop()?;
        namespaces::remove(&self.client, &self.namespaces).await?;
        if self.has_definitions {
            let definitions = self.kit.join("definitions").to_string_lossy().into_owned();
            self.kubectl(&["delete", "-f", &definitions, "--ignore-not-found"])?;
        }
        Ok(())
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.stop(); // it runs no more, if it was ended before
    }
}

/// A Rollout with the pods of an application, in steps as they are usual.
fn rollout(name: &str, pod: &Value) -> Value {
    let mut pod = pod.clone();
    let labels = json!({ "bench": name });
    // Whose pods it spreads against is said by labels.
    for spread in pod["topologySpreadConstraints"].as_array_mut().into_iter().flatten() {
        spread["labelSelector"] = json!({ "matchLabels": labels });
    }
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": name },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod },
            "strategy": { "canary": { "steps": [{ "setWeight": 50 }, { "pause": { "duration": "10s" } }] } },
        },
    })
}

/// A port that nobody listens on.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
