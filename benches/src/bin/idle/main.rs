//! `idle PAAS SAMPLE ARGO`: what many applications cost that do nothing, beside as many Rollouts of argo-rollouts.
//!
//! Both controllers run on this machine, one after the other, before the same cluster with the same nodes that are nothing but
//! objects. Between each and the API server lies a proxy that counts every call. Prints a table in Markdown.

mod namespaces;
mod nodes;
mod ours;
mod process;
mod theirs;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use paas_benches::megabytes;
use paas_cluster_harness::TestCluster;
use paas_k8s::kube::config::{KubeConfigOptions, Kubeconfig};
use paas_k8s::kube::{Client, Config};
use serde_json::json;

use crate::nodes::FakeNodes;
use crate::ours::Ours;
use crate::process::Usage;
use crate::theirs::Theirs;

/// How many applications an environment has, and how many Rollouts a namespace.
const APPS_IN_ENVIRONMENT: u32 = 100;
/// How many objects come with one list.
const PAGE: u32 = 500;
/// How long anything may take: thousands of objects are made and removed.
const BOUND: Duration = Duration::from_mins(40);

#[derive(Debug, Parser)]
struct Options {
    /// The binary `paas`
    paas: PathBuf,
    /// The sample's static binary
    sample: PathBuf,
    /// The folder with the controller of argo-rollouts, its definitions and its version
    argo: PathBuf,
    /// How many applications and Rollouts
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    apps: u32,
    /// How many minutes each is looked on while idle
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// The image of the applications, where the cluster's registry is not of `tests/cluster`
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
}

impl Options {
    fn environments(&self) -> u32 {
        self.apps.div_ceil(APPS_IN_ENVIRONMENT)
    }

    fn time(&self) -> Duration {
        Duration::from_mins(self.minutes.into())
    }
}

/// What was measured of a controller.
struct Figures {
    /// From the first declaration until all is ready.
    ready: Duration,
    /// Until it has nothing to do.
    deployed: Usage,
    idle: Usage,
    /// From its start anew to its first answer, and until it has nothing to do.
    answers: Duration,
    restart: Usage,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let cluster = paas_cluster_harness::cluster()?;
    let (kubeconfig, chosen) = (Kubeconfig::read_from(&cluster.kubeconfig)?, KubeConfigOptions::default());
    let config = Config::from_custom_kubeconfig(kubeconfig, &chosen).await;
    let mut config = config.context("failed to read the kubeconfig")?;
    config.default_retry = false;
    let client = Client::try_from(config)?;
    let image = match &options.image {
        Some(image) => image.clone(),
        None => push(&cluster, &options)?,
    };
    let open = nodes::cordon(&client).await?;
    let outcome = on_fake_nodes(&options, &cluster, &client, &image).await;
    nodes::uncordon(&client, &open).await?;
    let (ours, theirs) = outcome?;
    let version = fs::read_to_string(options.argo.join("version"))?;
    print(&options, version.trim(), &ours, &theirs);
    Ok(())
}

async fn on_fake_nodes(
    options: &Options,
    cluster: &TestCluster,
    client: &Client,
    image: &str,
) -> Result<(Figures, Figures)> {
    let nodes = FakeNodes::register(client, options.apps as usize).await?;
    let outcome = both(options, cluster, client, image).await;
    outcome.and_then_remove(nodes.remove().await)
}

/// One after the other; each is removed whatever comes of it.
async fn both(
    options: &Options,
    cluster: &TestCluster,
    client: &Client,
    image: &str,
) -> Result<(Figures, Figures)> {
    eprintln!("paas, with {} applications", options.apps);
    let mut ours = Ours::start(&options.paas, client).await?;
    let measured = unless_interrupted(async {
        let figures = ours.measure(options, image).await?;
        Ok((figures, ours.pod().await?))
    })
    .await;
    let (our_figures, pod) = measured.and_then_remove(ours.end().await)?;
    eprintln!("argo-rollouts, with {} Rollouts", options.apps);
    let mut theirs = Theirs::new(&options.argo, cluster, client).await?;
    let measured = unless_interrupted(theirs.measure(options, &pod)).await;
    let their_figures = measured.and_then_remove(theirs.end().await)?;
    Ok((our_figures, their_figures))
}

/// An outcome after which something was removed.
trait Removed: Sized {
    /// The outcome, unless the removal alone has failed.
    fn and_then_remove(self, removed: Result<()>) -> Self;
}

impl<T> Removed for Result<T> {
    fn and_then_remove(self, removed: Result<()>) -> Self {
        match (self, removed) {
            (Ok(value), Ok(())) => Ok(value),
            (Ok(_), Err(error)) => Err(error).context("failed to remove what was made"),
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(removal)) => {
                Err(error.context(format!("what was made could not be removed either: {removal:#}")))
            }
        }
    }
}

async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}

/// Puts the sample where the cluster's nodes would find it; the platform asks for its digest.
fn push(cluster: &TestCluster, options: &Options) -> Result<String> {
    let registry = cluster.registry.as_ref();
    let registry = registry.context("the cluster has no registry to push to; name an image by --image")?;
    let folder = tempfile::tempdir()?;
    let layout = folder.path().join("images");
    sample_images::write_layout(&options.sample, &layout)?;
    cluster.push(&layout, "bench/sample")?;
    Ok(format!("{}/bench/sample:1", registry.pull))
}

/// A kubeconfig for a proxy, which asks nobody who they are.
fn kubeconfig(proxy: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": "bench" } }],
        "clusters": [{ "name": "bench", "cluster": { "server": format!("http://{proxy}") } }],
        "users": [{ "name": "bench", "user": {} }],
    })
    .to_string()
}

fn print(options: &Options, version: &str, ours: &Figures, theirs: &Figures) {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    let memory = |kilobytes: u64| format!("{:.0} MB", megabytes(kilobytes));
    let row = |what: &str, figure: &dyn Fn(&Figures) -> String| {
        println!("| {what} | {} | {} |", figure(ours), figure(theirs));
    };
    println!("| what, with {} of each | paas | argo-rollouts {version} |\n|---|---|---|", options.apps);
    row("idle: writes a minute, leases aside", &|it| it.idle.rate(it.idle.writes()));
    row("idle: writes of leases a minute", &|it| it.idle.rate(it.idle.lease_writes()));
    row("idle: reads a minute, watches that begin included", &|it| it.idle.rate(it.idle.reads()));
    row("idle: processor time a minute", &|it| it.idle.cpu_rate());
    row("memory (RSS), after all were made", &|it| memory(it.idle.resident));
    row("memory (RSS), the most until then", &|it| memory(it.idle.peak));
    row("memory (RSS), after a restart", &|it| memory(it.restart.resident));
    row("memory (RSS), the most in a restart", &|it| memory(it.restart.peak));
    row("restart, to its first answer", &|it| seconds(it.answers));
    row("restart, until it has looked at everything", &|it| seconds(it.restart.took));
    row("restart: processor time", &|it| seconds(it.restart.cpu));
    row("restart: writes, leases aside", &|it| it.restart.writes().to_string());
    row("restart: reads", &|it| it.restart.reads().to_string());
    row("all made anew: until ready", &|it| seconds(it.ready));
    row("all made anew: processor time", &|it| seconds(it.deployed.cpu));
    row("all made anew: writes, leases aside", &|it| it.deployed.writes().to_string());
    row("all made anew: reads", &|it| it.deployed.reads().to_string());
    for (name, figures) in [("paas", ours), ("argo-rollouts", theirs)] {
        println!("\n{name}, its calls while idle in {} minutes: {}", options.minutes, figures.idle.told());
        println!("{name}, its calls at the restart: {}", figures.restart.told());
        println!("{name}, its calls for all made anew: {}", figures.deployed.told());
    }
}
