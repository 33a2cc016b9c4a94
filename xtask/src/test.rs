//! `cargo xtask test`: all set-up, then every test that this machine can run; the others are named.

mod outcome;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::check::{self, IgnoredTest};
use crate::prerequisite;
use crate::sample;
use crate::step::Steps;
use crate::workspace::{Workspace, cargo, succeed};
use outcome::Outcome;

const FUZZ: &str = "examples/reference-server/tests/fuzz/fuzz.sh";

/// How to test.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only the tests of this crate
    #[arg(long, value_name = "CRATE")]
    package: Option<String>,
    /// How many examples each operation of the REST interface is fuzzed with; not at all if absent
    #[arg(long, default_value_t = 0, value_name = "EXAMPLES")]
    fuzz: u32,
}

/// Sets up and runs the tests.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut steps = Steps::new("test");
    let ready = steps.step("prerequisites", || prerequisite::ensure(&prerequisite::TEST));
    if !ready {
        return steps.finish();
    }
    let mut sample = None;
    steps.step("the sample's static binary", || {
        sample = Some(sample::build(workspace)?);
        Ok(())
    });
    let Some(sample) = sample else {
        return steps.finish();
    };
    let mut outcome = Outcome::default();
    let mut cargo_test = |arguments: &[String]| {
        let mut command = cargo();
        command.current_dir(&workspace.root).env(sample::BINARY_VARIABLE, &sample);
        outcome.add(command.arg("test").arg("--locked").args(arguments))
    };
    let selection = match &options.package {
        Some(package) => vec!["--package".to_owned(), package.clone()],
        None => vec!["--workspace".to_owned()],
    };
    steps.step("cargo test", || cargo_test(&[&["--no-fail-fast".to_owned()], &selection[..]].concat()));
    for test in check::read_ignored(workspace)? {
        let of_selection = options.package.as_ref().is_none_or(|wanted| {
            workspace.package_of(&test.file).is_some_and(|package| package.name == *wanted)
        });
        if of_selection {
            ignored(workspace, &mut steps, &test, &mut cargo_test);
        }
    }
    let script = workspace.root.join(FUZZ);
    if !script.exists() {
        steps.skip("fuzzing", format!("{FUZZ} is not there yet"));
    } else if options.fuzz == 0 {
        steps.skip("fuzzing", "it takes minutes: `cargo xtask test --fuzz 25`");
    } else if options.package.is_none() {
        steps.step("schemathesis fuzzes the REST interface", || fuzz(workspace, &script, options.fuzz));
    }
    eprintln!("\n{outcome}");
    steps.finish()
}

/// Runs a test of the list, or says why not.
fn ignored(
    workspace: &Workspace,
    steps: &mut Steps,
    test: &IgnoredTest,
    cargo_test: &mut impl FnMut(&[String]) -> Result<()>,
) {
    if let Some(place) = &test.runs_in {
        return steps.skip(&test.test, format!("it runs in {place}"));
    }
    match test.needs.iter().find(|need| !need.is_met()) {
        Some(need) => steps.skip(&test.test, format!("needs {}, because {}", need.what(), need.why())),
        None => {
            steps.step(test.test.clone(), || cargo_test(&test.cargo_test(workspace)?));
        }
    }
}

/// Every operation of the OpenAPI document, against the binary that the tests have built.
fn fuzz(workspace: &Workspace, script: &Path, examples: u32) -> Result<()> {
    let mut command = Command::new("sh");
    command.env("PAAS_FUZZ_VENV", workspace.cache.join("tools").join("schemathesis"));
    command.arg(script).arg(workspace.target.join("debug").join("paas")).arg(examples.to_string());
    succeed(&mut command).context("the REST interface broke its own description, or could not be fuzzed")
}
