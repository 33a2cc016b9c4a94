//! `cargo xtask check`: everything that can be judged without running the product.

mod dependencies;
mod go;
mod ignored;
mod lints;
mod tree;

pub use ignored::{IgnoredProgram, IgnoredTest, read as read_ignored};

use anyhow::Result;

use crate::prerequisite;
use crate::step::Steps;
use crate::tool;
use crate::workspace::Workspace;

/// Why what is written in Go is not checked.
const NO_GO: &str = "Go 1.26 or later is not here; install: https://go.dev/doc/install";

/// How to check.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only what takes seconds: formatting, the rules of the tree, the dependency rule
    #[arg(long)]
    quick: bool,
    /// Also look the dependencies up in the advisory database, which is fetched from the network
    #[arg(long)]
    advisories: bool,
    /// Also let `go vet` look at the Go code, for which Kubernetes is compiled
    #[arg(long)]
    vet: bool,
}

/// Runs all checks, the quick ones first, and reports all findings.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut steps = Steps::new("check");
    steps.step("formatting", || lints::formatting(workspace));
    steps.step("no machine paths, no ignored doc examples", || tree::forbidden_text(workspace));
    steps.step("nothing that a build made", || tree::large_files(workspace));
    steps.step("file lengths", || tree::file_lengths(workspace));
    steps.step("every ignored test is on the list", || ignored::check(workspace));
    steps.step("edges between the workspace's crates", || dependencies::edges(workspace));
    steps.step("the dependency rule: paas-core does no I/O", || dependencies::core_is_pure(workspace));
    steps.step("one role in the crate, the manifests and the chart", || tree::roles(workspace));
    let go = prerequisite::go();
    match &go {
        Some(go) => drop(steps.step("formatting of Go", || go::formatting(workspace, go))),
        None => steps.skip("formatting of Go, go vet, the chart", NO_GO),
    }
    if options.quick {
        steps.skip("lints, docs, licences", "--quick");
        return steps.finish();
    }
    let deny = tool::cargo_deny(workspace);
    match deny {
        Ok(deny) => {
            steps.step("licences, bans, sources", || {
                tool::deny(workspace, &deny, &["bans", "licenses", "sources"])
            });
            if options.advisories {
                steps.step("advisories", || tool::deny(workspace, &deny, &["advisories"]));
            } else {
                steps.skip("advisories", "they need the network: `cargo xtask check --advisories`");
            }
        }
        Err(error) => {
            steps.step("licences, bans, sources", || Err(error));
        }
    }
    // Features only add: what is compiled with all of them holds everything, but for what stands in for one.
    steps.step("clippy, all features", || {
        lints::clippy(workspace, &["--workspace", "--all-targets", "--all-features"])
    });
    steps.step("clippy, programs of tests that cargo leaves out", || lints::clippy_of_programs(workspace));
    steps.step("clippy, no features", || lints::clippy_without_features(workspace));
    if let Some(go) = &go {
        if options.vet {
            steps.step("go vet", || go::vet(workspace, go));
        } else {
            steps.skip("go vet", "it compiles Kubernetes: `cargo xtask check --vet`");
        }
        steps.step("the manifests and the chart", || go::deploy(workspace, go));
    }
    steps.step("documentation", || lints::documentation(workspace));
    steps.finish()
}
