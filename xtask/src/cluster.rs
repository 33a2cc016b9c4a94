//! `cargo xtask cluster`: real Kubernetes clusters on this machine, by the Go program of `tests/cluster`.
//!
//! The program and the servers are built once and kept outside the clone, under a hash of what they are built from.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::prerequisite::{self, Task};
use crate::workspace::{Workspace, shown, succeed};

/// The Go module, relative to the root.
const MODULE: &str = "tests/cluster/";

/// What was built from an older state of the module goes when nobody has used it for so long.
const KEPT: Duration = Duration::from_hours(7 * 24);

/// What the program is to do.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// up [--nodes N], down [--all], status [-o json], kubeconfig, push LAYOUT REFERENCE, test; each with [--name NAME]
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Sets up, builds, and passes the arguments on. Standard output is that of the program.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let verb = options.arguments.first().and_then(|verb| verb.to_str()).unwrap_or_default();
    if matches!(verb, "up" | "down" | "test") {
        prerequisite::ensure(Task::Cluster)?;
    }
    let kit = build(workspace)?;
    let mut command = Command::new(kit.join("bin").join("cluster"));
    let status = command
        .args(&options.arguments)
        .status()
        .with_context(|| format!("failed to start `{}`", shown(&command)))?;
    if !status.success() {
        // The program has said why.
        bail!("`cargo xtask cluster {verb}` failed");
    }
    Ok(())
}

/// The clusters of `tests/cluster` that a run of tests has for itself: two, as some tests need.
#[derive(Debug)]
pub struct TestClusters {
    program: PathBuf,
    /// Those that were not up before.
    ours: Vec<&'static str>,
}

impl TestClusters {
    /// The names that `paas-cluster-harness` asks for.
    pub const NAMES: [&str; 2] = ["a", "b"];

    /// Brings those of these names up, unless a cluster is given.
    pub fn up(workspace: &Workspace, names: &[&'static str]) -> Result<Self> {
        if prerequisite::has_kubeconfig() {
            return Ok(Self { program: PathBuf::new(), ours: Vec::new() });
        }
        prerequisite::ensure(Task::ClusterOfTests)?;
        let mut clusters = Self { program: build(workspace)?.join("bin").join("cluster"), ours: Vec::new() };
        for &name in names {
            let mut status = clusters.command("status", name);
            let was_up =
                status.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success());
            if !was_up {
                clusters.ours.push(name);
            }
            if let Err(error) = succeed(&mut clusters.command("up", name)) {
                let _ = clusters.down();
                return Err(error).context("a cluster could not be brought up");
            }
        }
        Ok(clusters)
    }

    fn command(&self, verb: &str, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([verb, "--name", name]);
        command
    }

    /// Takes down what was brought up.
    pub fn down(self) -> Result<()> {
        let ended = self.ours.iter().map(|name| succeed(&mut self.command("down", name)));
        ended.fold(Ok(()), Result::and).context("a cluster could not be taken down")
    }
}

/// The folder of everything that was built; built now if the module has changed since.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let (kit, missing) = kit(workspace)?;
    if let Some(mut command) = missing {
        succeed(&mut command).context("the cluster could not be built")?;
    }
    used(&kit)?;
    Ok(kit)
}

/// The folder of everything that is built from the module as it is, with the command that builds it, if it is not there.
fn kit(workspace: &Workspace) -> Result<(PathBuf, Option<Command>)> {
    let kit = workspace.cache.join("cluster").join(fingerprint(workspace, MODULE)?);
    if kit.is_dir() {
        return Ok((kit, None));
    }
    prerequisite::ensure(Task::ClusterBuild)?;
    eprintln!("building the cluster once, into {}", kit.display());
    let go = prerequisite::go().context("go is missing")?;
    let mut command = Command::new(&go);
    command.current_dir(workspace.root.join(MODULE)).env("PATH", path_with(&go)?);
    command.args(["run", "./cmd/assemble", "-out"]).arg(&kit);
    Ok((kit, Some(command)))
}

/// Notes that it is used now, and removes what is beside it and was not for long.
pub fn used(kit: &Path) -> Result<()> {
    fs::write(kit.join("used"), "").with_context(|| format!("failed to write into {}", kit.display()))?;
    remove_old(kit.parent().context("a folder without a parent")?, kit)
}

/// The programs of clusters while they are built, on what others leave of the processors: many tests wait for most of their time.
#[derive(Debug)]
pub struct Building {
    child: Child,
    output: PathBuf,
}

impl Building {
    /// Begins, unless a cluster is given or everything has been built.
    pub fn start(workspace: &Workspace) -> Result<Option<Self>> {
        if prerequisite::has_kubeconfig() {
            return Ok(None);
        }
        let (_, Some(command)) = kit(workspace)? else { return Ok(None) };
        let output = workspace.cache.join("cluster.log");
        let file = File::create(&output).with_context(|| format!("failed to write {}", output.display()))?;
        let mut idle = Command::new("chrt");
        idle.args(["--idle", "0"]).arg(command.get_program()).args(command.get_args());
        idle.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        idle.current_dir(command.get_current_dir().unwrap_or(&workspace.root));
        idle.stdout(file.try_clone()?).stderr(file);
        let child = idle.spawn().with_context(|| format!("failed to start `{}`", shown(&idle)))?;
        eprintln!(
            "    goes on while other tests are compiled and run; its words are in {}",
            output.display()
        );
        Ok(Some(Self { child, output }))
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Result<()> {
        let status = self.child.wait().context("failed to wait for the building of the clusters")?;
        let output = fs::read_to_string(&self.output).context("failed to read what the building said")?;
        eprint!("{output}");
        ensure!(status.success(), "the clusters could not be built");
        Ok(())
    }
}

/// A hash over the names and contents of a Go module's files, without its prose.
pub fn fingerprint(workspace: &Workspace, module: &str) -> Result<String> {
    let mut content = Vec::new();
    for file in workspace.files(&[""])? {
        let is_prose = file.extension().is_some_and(|extension| extension == "md");
        if !file.starts_with(module) || is_prose {
            continue;
        }
        let text = fs::read(workspace.root.join(&file))
            .with_context(|| format!("failed to read {}", file.display()))?;
        writeln!(content, "{} {}", file.display(), text.len())?;
        content.extend(text);
    }
    let mut command = workspace.git();
    command.args(["hash-object", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start `{}`", shown(&command)))?;
    child.stdin.take().context("git has no input")?.write_all(&content).context("failed to write to git")?;
    let output = child.wait_with_output().context("failed to wait for git")?;
    ensure!(output.status.success(), "`{}` ended with {}", shown(&command), output.status);
    let hash = String::from_utf8(output.stdout).context("git's hash is not UTF-8")?;
    Ok(hash.trim().chars().take(16).collect())
}

/// The search path with the folder of a program first.
pub fn path_with(program: &Path) -> Result<OsString> {
    let own = program.parent().map(Path::to_path_buf);
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(own.into_iter().chain(env::split_paths(&path))).context("PATH cannot be extended")
}

/// Removes what was built from other states of the module and not used for long. What a cluster runs is in use as long
/// as it runs, so that only a process that has it open matters; the kernel keeps those files until then.
fn remove_old(folder: &Path, current: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))? {
        let path = entry?.path();
        let used = fs::metadata(path.join("used")).and_then(|file| file.modified());
        let age = used.map(|used| SystemTime::now().duration_since(used).unwrap_or_default());
        if path != current && age.is_ok_and(|age| age > KEPT) {
            fs::remove_dir_all(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
    }
    Ok(())
}
