//! The server with its applications.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use paas_api_proxy::Proxy;
use paas_benches::{Backend, Platform, http_get};
use paas_k8s::kube::api::ListParams;
use paas_k8s::kube::{Api, Client};
use serde_json::Value;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use crate::process::Controller;
use crate::{APPS_IN_ENVIRONMENT, BOUND, Figures, Options, PAGE, kubeconfig, namespaces};

/// How many command lines deploy at once.
const DEPLOYERS: u32 = 4;
/// How often the server is asked how far it is.
const LOOK: Duration = Duration::from_secs(2);

pub struct Ours {
    platform: Platform,
    proxy: Proxy,
    client: Client,
}

impl Ours {
    /// A server with the cluster added.
    pub async fn start(paas: &Path, client: &Client) -> Result<Self> {
        let proxy = Proxy::start(client.clone()).await?;
        let platform = block_in_place(|| Platform::start(paas, Backend::None))?;
        let ours = Self { platform, proxy, client: client.clone() };
        let access = ours.platform.folder().join("kubeconfig");
        fs::write(&access, kubeconfig(ours.proxy.address()))?;
        ours.run(&["cluster", "add", "k8s", "--kubeconfig", &access.to_string_lossy()])?;
        Ok(ours)
    }

    fn run(&self, arguments: &[&str]) -> Result<Duration> {
        block_in_place(|| self.platform.run(arguments))
    }

    fn controller(&self) -> Controller<'_> {
        Controller { process: self.platform.server(), proxy: &self.proxy }
    }

    /// Deploys, looks on, and starts the server anew.
    pub async fn measure(&mut self, options: &Options, image: &str) -> Result<Figures> {
        let begin = Instant::now();
        block_in_place(|| self.deploy(options, image))?;
        eprintln!("    {} applications are declared after {:.0?}", options.apps, begin.elapsed());
        self.all_ready(options.apps).await?;
        let ready = begin.elapsed();
        eprintln!("    all are ready after {ready:.0?}");
        let deployed = self.controller().settle(begin, BOUND, "deployments").await?;
        let before = self.commits()?;
        let idle = self.controller().watch(options.time()).await?;
        let commits = self.commits()?.saturating_sub(before);
        eprintln!("    while idle its own store took {commits} commits");
        drop(self.proxy.take_calls());
        let begin = Instant::now();
        let answers = block_in_place(|| self.platform.restart())?;
        let restart = self.controller().settle(begin, BOUND, "deployments").await?;
        Ok(Figures { ready, deployed, idle, answers, restart })
    }

    fn deploy(&self, options: &Options, image: &str) -> Result<()> {
        let file = self.platform.folder().join("app.yaml");
        let text = format!(
            "components:\n  - name: web\n    image: {image}\n    args: [web]\n    ports: [{{ name: http, number: 8080 }}]\n    \
             instances: {{ count: 1 }}\n    probes: {{ readiness: {{ http: {{ path: /readyz }} }} }}\n"
        );
        fs::write(&file, text)?;
        let file = file.to_string_lossy();
        for environment in 0..options.environments() {
            self.platform.run(&["env", "create", &format!("e{environment}"), "--cluster", "k8s"])?;
        }
        thread::scope(|scope| {
            let deployers: Vec<_> = (0..DEPLOYERS)
                .map(|mine| {
                    let file = &file;
                    scope.spawn(move || {
                        for app in (mine..options.apps).step_by(DEPLOYERS as usize) {
                            let environment = format!("e{}", app / APPS_IN_ENVIRONMENT);
                            let name = format!("app{app}");
                            let deploy = ["deploy", &name, "--create", "--file", file, "--env", &environment];
                            self.platform.run(&deploy)?;
                        }
                        anyhow::Ok(())
                    })
                })
                .collect();
            deployers.into_iter().try_for_each(|it| it.join().expect("a deployer does not panic"))
        })
    }

    /// Waits until every application runs. To tell that, the server looks at all of them, which is work; so it is asked when the
    /// cluster says that they are ready.
    async fn all_ready(&self, apps: u32) -> Result<()> {
        let begin = Instant::now();
        loop {
            let ready = self.ready().await?;
            if ready == apps {
                break;
            }
            ensure!(begin.elapsed() < BOUND, "{ready} of {apps} Deployments are ready after {BOUND:?}");
            sleep(LOOK).await;
        }
        loop {
            let running = self.metric("paas_applications{state=\"running\"}")?.unwrap_or_default();
            if running == u64::from(apps) {
                return Ok(());
            }
            ensure!(begin.elapsed() < BOUND, "{running} of {apps} applications run after {BOUND:?}");
            sleep(LOOK).await;
        }
    }

    /// How many Deployments of the platform have a ready pod.
    async fn ready(&self) -> Result<u32> {
        let (api, mut ready) = (Api::<Deployment>::all(self.client.clone()), 0);
        let mut parameters = ListParams::default().labels("paas.local/app").limit(PAGE);
        loop {
            let page = api.list(&parameters).await?;
            let is_ready = |it: &&Deployment| it.status.as_ref().and_then(|it| it.ready_replicas) == Some(1);
            ready += u32::try_from(page.items.iter().filter(is_ready).count())?;
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(ready),
            }
        }
    }

    fn commits(&self) -> Result<u64> {
        self.metric("paas_store_revision")?.context("the server does not tell its store's revision")
    }

    fn metric(&self, name: &str) -> Result<Option<u64>> {
        let text = block_in_place(|| http_get(self.platform.api(), "/metrics", Duration::from_mins(1)))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().parse().with_context(|| format!("{name} is {value}"))).transpose()
    }

    /// The pods of an application as the platform makes them.
    pub async fn pod(&self) -> Result<Value> {
        let made = ListParams::default().labels("paas.local/app=app0");
        let found = Api::<Deployment>::all(self.client.clone()).list(&made).await?;
        let deployment = found.items.into_iter().next().context("the platform has made no Deployment")?;
        let spec = deployment.spec.context("a Deployment without a spec")?.template.spec;
        Ok(serde_json::to_value(spec)?)
    }

    /// Ends the server and removes everything that it has made.
    pub async fn end(self) -> Result<()> {
        let made = self.proxy.take_made();
        let spaces: Vec<String> =
            made.into_iter().filter(|it| it.resource == "namespaces").map(|it| it.name).collect();
        block_in_place(|| self.platform.end())?;
        namespaces::remove(&self.client, &spaces).await
    }
}
