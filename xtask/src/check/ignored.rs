//! Tests that do not run by themselves: each is on a list that says what it needs, and something runs it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::prerequisite::Need;
use crate::workspace::{Package, Workspace};

/// The list, relative to the root.
const LIST: &str = "tests/ignored.toml";

/// One ignored test.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoredTest {
    /// The source file, relative to the root.
    pub file: PathBuf,
    /// The test's function.
    pub test: String,
    /// What it needs; where all of it is to be had, `cargo xtask test` runs it.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// What runs it, when `cargo xtask test` does not.
    #[serde(default)]
    pub runs_in: Option<String>,
}

/// A whole program of tests that `cargo test` leaves out: `test = false` in its `Cargo.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoredProgram {
    /// The name of the target; crates may have one each.
    pub name: String,
    /// What it needs; where all of it is to be had, `cargo xtask test` runs it.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// Features that it is built with, as `crate/feature`.
    #[serde(default)]
    pub features: Vec<String>,
}

/// What `cargo test` does not run by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Tests.
    #[serde(default, rename = "test")]
    pub tests: Vec<IgnoredTest>,
    /// Programs.
    #[serde(default, rename = "program")]
    pub programs: Vec<IgnoredProgram>,
}

/// The checked-in list.
pub fn read(workspace: &Workspace) -> Result<List> {
    let text =
        fs::read_to_string(workspace.root.join(LIST)).with_context(|| format!("failed to read {LIST}"))?;
    toml::from_str(&text).with_context(|| format!("failed to read {LIST}"))
}

/// The list and the sources name the same tests, each with a reason in the source and a place where it runs.
pub fn check(workspace: &Workspace) -> Result<()> {
    let mut faults = Vec::new();
    let mut in_sources = BTreeSet::new();
    for file in workspace.files(&[".rs"])? {
        let text = fs::read_to_string(workspace.root.join(&file))
            .with_context(|| format!("failed to read {}", file.display()))?;
        for found in ignored_in(&text) {
            if !found.has_reason {
                faults.push(format!(
                    "{}: `{}` is ignored without a reason; write #[ignore = \"needs …\"]",
                    file.display(),
                    found.test
                ));
            }
            in_sources.insert((file.clone(), found.test));
        }
    }
    let List { tests, programs } = read(workspace)?;
    let on_list: BTreeSet<_> = tests.iter().map(|entry| (entry.file.clone(), entry.test.clone())).collect();
    faults.extend(in_sources.difference(&on_list).map(|(file, test)| {
        format!("{}: `{test}` is ignored and not in {LIST}, so nothing runs it", file.display())
    }));
    faults.extend(on_list.difference(&in_sources).map(|(file, test)| {
        format!("{LIST}: `{test}` in {} is not an ignored test; remove the entry", file.display())
    }));
    faults.extend(faults_of_programs(workspace, &programs));
    for entry in &tests {
        if entry.needs.is_empty() && entry.runs_in.is_none() {
            faults.push(format!("{LIST}: `{}` says neither what it needs nor what runs it", entry.test));
        }
    }
    for fault in &faults {
        eprintln!("    {fault}");
    }
    match faults.len() {
        0 => Ok(()),
        count => bail!("{count} findings"),
    }
}

/// Programs that are left out and not listed, and the other way round.
fn faults_of_programs(workspace: &Workspace, listed: &[IgnoredProgram]) -> Vec<String> {
    let targets = workspace.packages.iter().flat_map(|package| &package.targets);
    let left_out: BTreeSet<&str> = targets
        .filter(|target| target.kind.iter().any(|kind| kind == "test") && !target.test)
        .map(|target| &*target.name)
        .collect();
    let listed: BTreeSet<&str> = listed.iter().map(|entry| &*entry.name).collect();
    let missing = left_out.difference(&listed).map(|name| {
        format!("`cargo test` leaves the program `{name}` out, and it is not in {LIST}, so nothing runs it")
    });
    let stale = listed
        .difference(&left_out)
        .map(|name| format!("{LIST}: no program `{name}` is left out by `cargo test`; remove the entry"));
    missing.chain(stale).collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    test: String,
    has_reason: bool,
}

/// The functions under an `#[ignore]`, also a conditional one.
fn ignored_in(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut pending = None;
    for line in text.lines().map(str::trim_start) {
        let attribute = line.strip_prefix("#[").unwrap_or_default();
        let conditional = attribute.starts_with("cfg_attr(") && attribute.contains(" ignore");
        if attribute.starts_with("ignore") || conditional {
            pending = Some(line.contains("ignore = \""));
        } else if let (Some(has_reason), Some(test)) = (pending, function_name(line)) {
            found.push(Found { test: test.to_owned(), has_reason });
            pending = None;
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let words = line.split_once("fn ")?;
    let is_declaration = words.0.split_whitespace().all(|word| matches!(word, "pub" | "async" | "const"));
    is_declaration.then(|| words.1.split(['(', '<']).next().unwrap_or_default())
}

impl IgnoredTest {
    /// What follows `cargo test` to run it and nothing else of its package.
    pub fn cargo_test(&self, workspace: &Workspace) -> Result<Vec<String>> {
        let package = workspace
            .package_of(&self.file)
            .with_context(|| format!("{} belongs to no crate of the workspace", self.file.display()))?;
        let mut arguments = self.target(package, workspace);
        arguments.extend(["--".to_owned(), "--ignored".to_owned(), self.test.clone()]);
        Ok(arguments)
    }

    /// The test binary: `tests/name.rs` or a file below `tests/name/`, else the libraries and the binaries. It is
    /// named among those of the whole workspace: for a package alone cargo chooses other features of what lies below, and
    /// builds most of it again.
    fn target(&self, package: &Package, workspace: &Workspace) -> Vec<String> {
        let inside = workspace.root.join(&self.file);
        let folder = package.folder().unwrap_or(Path::new(""));
        let mut parts = inside.strip_prefix(folder).unwrap_or(&self.file).components();
        match parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned()).as_deref() {
            Some("tests") => {
                let name = parts.next().map(|part| PathBuf::from(part.as_os_str())).unwrap_or_default();
                let name = name.with_extension("").display().to_string();
                vec!["--workspace".to_owned(), "--test".to_owned(), name]
            }
            _ => ["--workspace", "--lib", "--bins"].map(str::to_owned).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tests_are_found_with_and_without_a_reason() {
        // Written in two halves, so that this file has no ignored test itself.
        let text = ["#[test]\n#[ign", "ore = \"needs root\"]\n#[should_panic]\nfn mounts() {\n", "}\n"]
            .concat()
            + &["    #[ign", "ore]\n    async fn waits<T>() {}\nfn other() {}\n"].concat()
            + &["#[cfg_attr(miri, ign", "ore)]\npub async fn maps() {}"].concat();
        let found = ignored_in(&text);
        let names: Vec<(&str, bool)> = found.iter().map(|found| (&*found.test, found.has_reason)).collect();
        assert_eq!(names, [("mounts", true), ("waits", false), ("maps", false)]);
    }
}
