//! `cargo xtask run`: from a clean machine to a running sample, in one command.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::prerequisite::{self, Task};
use crate::sample;
use crate::workspace::{Workspace, cargo, output_of, shown, succeed};
use server::Server;

const ORG: &str = "demo";
const ENVIRONMENT: &str = "dev";
const APP: &str = "sample";
/// How long deleting everything may take; an application may use five minutes to drain its connections.
const BOUND: Duration = Duration::from_mins(6);
/// How the command line says that something exists already.
const EXISTS: i32 = 8;

/// What to run, and where.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder for everything that runs; `.paas` in the clone if absent
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the server's interface listens
    #[arg(long, default_value = "127.0.0.1:7878", value_name = "ADDRESS")]
    listen: String,
    /// Where the applications answer
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    gateway: String,
    /// Stop the server; the applications go on, and the next run finds them
    #[arg(long, conflicts_with = "down")]
    stop: bool,
    /// Delete every application, stop everything and remove the folder
    #[arg(long)]
    down: bool,
    /// Build as a part of a test of the whole workspace, so that nothing is built twice: features resolve otherwise than for
    /// the server alone
    #[arg(long, hide = true)]
    as_tests: bool,
}

/// Where things are.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    paas: PathBuf,
}

impl Place {
    fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    fn login(&self) -> PathBuf {
        self.folder.join("login.json")
    }

    /// The command line, with the login of this folder.
    fn paas(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.paas);
        for variable in ["PAAS_SERVER", "PAAS_TOKEN"] {
            command.env_remove(variable);
        }
        command.env("PAAS_CONFIG", self.login()).env("PAAS_ORG", ORG).env("PAAS_ENV", ENVIRONMENT);
        command.args(arguments);
        command
    }
}

/// Builds, starts and deploys; or stops.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let folder = options.dir.clone().unwrap_or_else(|| workspace.root.join(".paas"));
    let folder = std::path::absolute(&folder).context("failed to make the folder's path absolute")?;
    let place = Place { folder, paas: workspace.target.join("debug").join("paas") };
    if options.stop {
        return stop(&place);
    }
    if options.down {
        return down(&place);
    }
    up(workspace, &place, options)
}

fn up(workspace: &Workspace, place: &Place, options: &Options) -> Result<()> {
    progress(1, "prerequisites");
    prerequisite::ensure(Task::Run)?;
    progress(2, "building the server and the sample (minutes the first time, seconds afterwards)");
    build(workspace, options.as_tests)?;
    progress(3, "making the sample's images");
    fs::create_dir_all(&place.folder)
        .with_context(|| format!("failed to make {}", place.folder.display()))?;
    make_images(workspace, place)?;
    progress(4, "starting the server");
    let server = Server::start(place, &options.listen, &options.gateway)?;
    log_in(place, &server)?;
    progress(5, "deploying the sample: web, three instances; api; worker");
    for arguments in [["org", "create", ORG], ["env", "create", ENVIRONMENT]] {
        create(place, &arguments)?;
    }
    let specification = copy_specification(workspace, place)?;
    let file = specification.to_string_lossy();
    succeed(&mut place.paas(&["deploy", APP, "--create", "--file", &file, "--wait"])).with_context(|| {
        format!(
            "the sample could not be deployed; the server's log is {}",
            place.folder.join("server.log").display()
        )
    })?;
    println!("{}", invitation(place, &server));
    Ok(())
}

fn progress(step: u32, what: &str) {
    eprintln!("[{step}/5] {what}");
}

fn build(workspace: &Workspace, as_tests: bool) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root);
    command.args(["build", "--locked"]);
    if as_tests {
        command.args(["--workspace", "--test", "journeys", "--bin", "paas", "--bin", "sample-images"]);
    } else {
        command.args(["--package", "reference-server", "--package", "sample-images"]);
    }
    succeed(&mut command).context("the server could not be built")
}

/// Writes every version of the sample into one OCI layout.
fn make_images(workspace: &Workspace, place: &Place) -> Result<()> {
    let binary = sample::build(workspace)?;
    let mut command = Command::new(workspace.target.join("debug").join("sample-images"));
    command.env(sample::BINARY_VARIABLE, binary).arg(place.images());
    succeed(&mut command).context("the sample's images could not be made")
}

/// Logs in with the token of the first start; a later start finds the login.
fn log_in(place: &Place, server: &Server) -> Result<()> {
    if let Some(token) = server::first_token(place)? {
        let file = place.folder.join("token");
        server::write_private(&file, &token)?;
        let file = file.to_string_lossy().into_owned();
        let mut command = place.paas(&["login", &server.api, "--token-file", &file]);
        output_of(&mut command).context("the command line could not log in")?;
    }
    Ok(())
}

/// Creates something; that it exists already is no failure.
fn create(place: &Place, arguments: &[&str]) -> Result<()> {
    let mut command = place.paas(arguments);
    let output = command.output().with_context(|| format!("failed to start `{}`", shown(&command)))?;
    if output.status.success() || output.status.code() == Some(EXISTS) {
        return Ok(());
    }
    bail!("`{}` failed: {}", shown(&command), String::from_utf8_lossy(&output.stderr).trim())
}

/// The sample's specification, beside the images that it names.
fn copy_specification(workspace: &Workspace, place: &Place) -> Result<PathBuf> {
    let source = workspace.root.join("examples").join("sample-app").join("paas.yaml");
    let file = place.folder.join("paas.yaml");
    fs::copy(&source, &file)
        .with_context(|| format!("failed to copy {} to {}", source.display(), file.display()))?;
    Ok(file)
}

fn invitation(place: &Place, server: &Server) -> String {
    let tools = place.paas.parent().unwrap_or(Path::new(".")).display();
    let images = place.images();
    let images = images.display();
    format!(
        "
The sample answers at http://{APP}-{ENVIRONMENT}-{ORG}.localhost:{port}/

To use the command line in this shell:

  export PATH={tools}:$PATH PAAS_CONFIG={login} PAAS_ORG={ORG} PAAS_ENV={ENVIRONMENT}

Then try, with the page open beside it:

  paas status {APP}
  paas deploy {APP} --image web=oci:{images}:2 --wait     # release version 2: no request is lost
  paas releases {APP}
  paas rollback {APP} --wait                              # back to version 1, without a build or a pull
  paas deploy {APP} --image web=oci:{images}:never-ready  # a bad one: it holds, and says why (paas status, paas abort)

The server runs in the background (log: {log}).
  cargo xtask run --stop   stops the server; the applications go on serving, and the next run finds them
  cargo xtask run --down   removes everything",
        port = server.gateway.rsplit(':').next().unwrap_or_default(),
        login = place.login().display(),
        log = place.folder.join("server.log").display(),
    )
}

fn stop(place: &Place) -> Result<()> {
    match Server::find(place)? {
        None => eprintln!("no server runs in {}", place.folder.display()),
        Some(server) => {
            server.stop()?;
            eprintln!("the server has stopped; the applications go on. `cargo xtask run` starts it again");
        }
    }
    Ok(())
}

/// Deletes every application of every organisation, and waits until nothing of them runs.
fn delete_applications(place: &Place, server: &Server) -> Result<()> {
    let started = Instant::now();
    loop {
        let mut left = Vec::new();
        for org in names(place, server, &["org", "list", "-o", "json"])? {
            for app in names(place, server, &["app", "list", "--org", &org, "-o", "json"])? {
                left.push((org.clone(), app));
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        ensure!(started.elapsed() < BOUND, "these applications are not gone within {BOUND:?}: {left:?}");
        for (org, app) in &left {
            // One that is being deleted already is deleted once more, which changes nothing.
            output_of(&mut on(place, server, &["app", "delete", app, "--org", org, "--yes"]))?;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// The names in a list of the command line.
fn names(place: &Place, server: &Server, words: &[&str]) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let listed = output_of(&mut on(place, server, words))?;
    let listed: Vec<Named> = serde_json::from_slice(&listed).context("failed to read a list")?;
    Ok(listed.into_iter().map(|it| it.name).collect())
}

/// The command line, for this server.
fn on(place: &Place, server: &Server, words: &[&str]) -> Command {
    let mut command = place.paas(words);
    command.env("PAAS_SERVER", &server.api);
    command
}

fn down(place: &Place) -> Result<()> {
    if !place.folder.exists() {
        eprintln!("there is nothing in {}", place.folder.display());
        return Ok(());
    }
    let server = match Server::find(place)? {
        Some(server) => server,
        // Only a server can take its instances down.
        None => Server::start(place, "127.0.0.1:0", "127.0.0.1:0")?,
    };
    if let Err(error) = delete_applications(place, &server) {
        eprintln!("warning: {error:#}");
    }
    server.stop()?;
    server::stop_gateway(place)?;
    fs::remove_dir_all(&place.folder)
        .with_context(|| format!("failed to remove {}", place.folder.display()))?;
    eprintln!("everything is removed");
    Ok(())
}
