//! Rules of the tree that no compiler knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, output_of};

/// A file longer than this, tests included, is shown: is there one idea in it?
const LONG: usize = 500;

/// A source is smaller than this, in bytes.
const LARGE: u64 = 500 * 1024;

/// The roles that the server needs, and where they have to be once more: neither kustomize nor Helm reads outside of its folder.
const ROLES: &str = "crates/paas-k8s";
const ROLE_FILES: [&str; 3] = ["rbac.yaml", "rbac-manifests.yaml", "rbac-operations.yaml"];
const ROLE_COPIES: [&str; 2] = ["deploy/kubernetes/base", "deploy/chart/paas/files"];

/// No file names a place of the machine that it was written on, and no doc example is skipped by the compiler.
pub fn forbidden_text(workspace: &Workspace) -> Result<()> {
    let mut places = machine_places(workspace)?;
    places.retain(|place| place.len() > "/root".len());
    let mut findings = Vec::new();
    for file in workspace.files(&[""])? {
        let Ok(text) = fs::read_to_string(workspace.root.join(&file)) else {
            continue; // not text
        };
        for (index, line) in text.lines().enumerate() {
            let at = format!("{}:{}", file.display(), index + 1);
            if let Some(place) = places.iter().find(|place| line.contains(place.as_str())) {
                findings.push(format!("{at}: names {place}, which is on this machine only"));
            }
            if is_skipped_example(&file, line) {
                findings.push(format!("{at}: a doc example that is never compiled; use `no_run` or `text`"));
            }
        }
    }
    report(&findings)
}

/// No file is so large that it must have been made by a build; the history would carry it for ever.
pub fn large_files(workspace: &Workspace) -> Result<()> {
    let mut findings = Vec::new();
    for file in workspace.files(&[""])? {
        let size = fs::metadata(workspace.root.join(&file))
            .with_context(|| format!("failed to look at {}", file.display()))?
            .len();
        if size > LARGE {
            findings.push(format!(
                "{} has {} kB; what is built stays out of the tree",
                file.display(),
                size / 1024
            ));
        }
    }
    report(&findings)
}

/// A role that the server needs is one, wherever it is written.
pub fn roles(workspace: &Workspace) -> Result<()> {
    let read = |file: &str| {
        fs::read_to_string(workspace.root.join(file)).with_context(|| format!("failed to read {file}"))
    };
    let mut findings = Vec::new();
    for file in ROLE_FILES {
        let original = read(&format!("{ROLES}/{file}"))?;
        for folder in ROLE_COPIES {
            if read(&format!("{folder}/{file}"))? != original {
                findings.push(format!("{folder}/{file} differs from the one in {ROLES}; copy it there"));
            }
        }
    }
    report(&findings)
}

/// The clone, git's real folder of it (a worktree lies elsewhere), and the home directory.
fn machine_places(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let mut command = workspace.git();
    command.args(["rev-parse", "--path-format=absolute", "--git-common-dir"]);
    let git = String::from_utf8(output_of(&mut command)?).context("git's folder is not UTF-8")?;
    let repository = Path::new(git.trim()).parent().map(Path::to_path_buf);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let places = [Some(workspace.root.clone()), repository, home];
    Ok(places.into_iter().flatten().map(|path| path.display().to_string()).collect())
}

fn is_skipped_example(file: &Path, line: &str) -> bool {
    let is_rust = file.extension().is_some_and(|extension| extension == "rs");
    let fence = line.trim_start().trim_start_matches(['/', '!', ' ']);
    let Some(language) = fence.strip_prefix("```") else {
        return false;
    };
    is_rust && language.split(',').any(|word| word.trim() == "ignore")
}

/// Names the long files. It fails nothing: length is a hint, and some tables are one idea.
pub fn file_lengths(workspace: &Workspace) -> Result<()> {
    let mut long = Vec::new();
    for file in workspace.files(&[".rs"])? {
        let lines = fs::read_to_string(workspace.root.join(&file))
            .with_context(|| format!("failed to read {}", file.display()))?
            .lines()
            .count();
        if lines > LONG {
            long.push((lines, file));
        }
    }
    long.sort_by(|left, right| right.cmp(left));
    for (lines, file) in &long {
        eprintln!("    warning: {} has {lines} lines; is there one idea in it?", file.display());
    }
    Ok(())
}

fn report(findings: &[String]) -> Result<()> {
    for finding in findings {
        eprintln!("    {finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} findings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ignored_rust_example_is_a_skipped_one() {
        let rust = Path::new("a.rs");
        assert!(is_skipped_example(rust, "/// ```ignore"));
        assert!(is_skipped_example(rust, "    //! ```rust,ignore"));
        assert!(!is_skipped_example(rust, "/// ```no_run"));
        assert!(!is_skipped_example(rust, "/// ```"));
        assert!(!is_skipped_example(rust, "/// ignore"));
        assert!(!is_skipped_example(Path::new("a.md"), "```ignore"));
    }
}
