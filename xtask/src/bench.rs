//! `cargo xtask bench`: measurements of the whole, then the benches of the parts, with the release profile. What is measured
//! on a real cluster is asked for by its name.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result};

use crate::argo;
use crate::cluster::TestClusters;
use crate::prerequisite::{self, Task};
use crate::sample;
use crate::workspace::{Workspace, cargo, succeed};

/// The name of what measures the whole, beside those of criterion's benches.
const SCENARIOS: &str = "scenarios";
/// The name of what measures on a real cluster.
const CLUSTERS: &str = "clusters";
/// The name of what measures many applications that do nothing.
const IDLE: &str = "idle";

/// Which benches.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only benches whose name contains this: `scenarios`, or one of criterion's; or by their whole names `clusters`, `idle`
    filter: Option<String>,
    #[command(flatten)]
    idle: Idle,
}

/// What `idle` takes, and passes on.
#[derive(Debug, clap::Args)]
struct Idle {
    /// For `idle`: how many applications, and Rollouts of argo-rollouts
    #[arg(long, value_name = "NUMBER", default_value_t = 2000)]
    apps: u32,
    /// For `idle`: how many minutes each is looked on
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    minutes: u32,
    /// For `idle`: the image of the applications, where the cluster is not of `tests/cluster`
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
}

/// Runs them; criterion compares with the last run.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let filter = options.filter.as_deref();
    if filter == Some(CLUSTERS) {
        return clusters(workspace);
    }
    if filter == Some(IDLE) {
        return idle(workspace, &options.idle);
    }
    if filter.is_none_or(|filter| SCENARIOS.contains(filter)) {
        scenarios(workspace)?;
    }
    if filter != Some(SCENARIOS) {
        parts(workspace, filter)?;
    }
    Ok(())
}

/// The real binary with real containers.
fn scenarios(workspace: &Workspace) -> Result<()> {
    measure(workspace, SCENARIOS, &[])
}

/// The real binary on a real cluster.
fn clusters(workspace: &Workspace) -> Result<()> {
    // One: another beside it would take its share of the machine.
    let clusters = TestClusters::up(workspace, &TestClusters::NAMES[..1])?;
    let measured = measure(workspace, CLUSTERS, &[]);
    measured.and(clusters.down())
}

/// The real binary with many applications on a real cluster, beside argo-rollouts.
fn idle(workspace: &Workspace, options: &Idle) -> Result<()> {
    let mut arguments = vec![argo::build(workspace)?.into_os_string()];
    arguments.extend(["--apps".into(), options.apps.to_string().into()]);
    arguments.extend(["--minutes".into(), options.minutes.to_string().into()]);
    if let Some(image) = &options.image {
        arguments.extend(["--image".into(), image.into()]);
    }
    let clusters = TestClusters::up(workspace, &TestClusters::NAMES[..1])?;
    let measured = measure(workspace, IDLE, &arguments);
    measured.and(clusters.down())
}

/// Builds the binary and a program that measures it, and runs them.
fn measure(workspace: &Workspace, program: &str, arguments: &[OsString]) -> Result<()> {
    prerequisite::ensure(Task::Bench)?;
    let sample = sample::build(workspace)?;
    let mut build = cargo();
    build.current_dir(&workspace.root);
    build.args([
        "build",
        "--locked",
        "--release",
        "--package",
        "reference-server",
        "--package",
        "paas-benches",
    ]);
    build.args(["--bin", "paas", "--bin", program]);
    succeed(&mut build).context("what is measured could not be built")?;
    let folder = workspace.target.join("release");
    succeed(Command::new(folder.join(program)).arg(folder.join("paas")).arg(sample).args(arguments))
}

fn parts(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args(["bench", "--locked", "--package", "paas-benches", "--benches", "--"]).args(filter);
    succeed(&mut command)
}
