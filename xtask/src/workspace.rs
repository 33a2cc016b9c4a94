//! Where things are: the clone, cargo's target directory, the cache for tools; and the crates of the workspace.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The clone that this task runs in.
#[derive(Debug)]
pub struct Workspace {
    /// The clone's top folder.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// What outlives a clone: tools, the environment of schemathesis.
    pub cache: PathBuf,
    /// Members, in the order in which cargo names them.
    pub packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
    /// Its declared features.
    pub features: std::collections::BTreeMap<String, Vec<String>>,
    /// Its declared dependencies, of every kind.
    pub dependencies: Vec<Dependency>,
    /// What cargo builds of it.
    pub targets: Vec<Target>,
}

/// A library, binary, test, … of a package.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// `lib`, `bin`, `test`, `bench`, `example`, `custom-build`.
    pub kind: Vec<String>,
    /// Its name, unique among those of its kind in a package.
    pub name: String,
    /// Whether `cargo test` runs it when nothing is asked for by name.
    pub test: bool,
}

/// A declared dependency.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// The crate's name.
    pub name: String,
    /// Where it lies, when it lies in the workspace.
    pub path: Option<PathBuf>,
    /// `None` for a normal one, else `dev` or `build`.
    pub kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

impl Workspace {
    /// Asks cargo.
    pub fn locate() -> Result<Self> {
        let mut command = cargo();
        command.args(["metadata", "--format-version", "1", "--no-deps"]);
        let metadata: Metadata =
            serde_json::from_slice(&output_of(&mut command)?).context("failed to read `cargo metadata`")?;
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
            .context("neither XDG_CACHE_HOME nor HOME is set: there is no place for tools; set one of them")?
            .join("paas");
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            cache,
            packages: metadata.packages,
        })
    }

    /// The package that a file of the clone belongs to, by the longest folder.
    pub fn package_of(&self, file: &Path) -> Option<&Package> {
        let file = self.root.join(file);
        self.packages
            .iter()
            .filter(|package| package.folder().is_some_and(|folder| file.starts_with(folder)))
            .max_by_key(|package| package.manifest_path.components().count())
    }

    /// Git in the clone, also when somebody else owns the clone, as happens where CI makes it.
    pub fn git(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.root).args(["-c", "safe.directory=*"]);
        command
    }

    /// Paths of the files that git knows or would add, relative to the root, whose name ends so.
    pub fn files(&self, endings: &[&str]) -> Result<Vec<PathBuf>> {
        let mut command = self.git();
        command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed =
            String::from_utf8(output_of(&mut command)?).context("a path of the clone is not UTF-8")?;
        let mut files: Vec<PathBuf> = listed
            .split('\0')
            .filter(|path| !path.is_empty() && endings.iter().any(|ending| path.ends_with(ending)))
            .map(PathBuf::from)
            .filter(|path| self.root.join(path).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }
}

impl Package {
    /// The folder of its `Cargo.toml`.
    pub fn folder(&self) -> Option<&Path> {
        self.manifest_path.parent()
    }

    /// Whether it has a library.
    pub fn has_library(&self) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "lib"))
    }
}

/// The cargo that started this task.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command whose output goes to the terminal; an exit other than 0 is an error that names it.
pub fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("failed to start `{}`", shown(command)))?;
    ensure!(status.success(), "`{}` ended with {status}", shown(command));
    Ok(())
}

/// Runs a command and returns its standard output; its standard error goes to the terminal.
pub fn output_of(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("failed to start `{}`", shown(command)))?;
    ensure!(output.status.success(), "`{}` ended with {}", shown(command), output.status);
    Ok(output.stdout)
}

/// A command as a person would type it.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(std::ffi::OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
