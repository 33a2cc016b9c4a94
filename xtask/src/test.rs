//! `cargo xtask test`: all set-up, then every test that this machine can run; the others are named.

use anyhow::Result;

use crate::check::{self, IgnoredTest};
use crate::prerequisite;
use crate::sample;
use crate::step::Steps;
use crate::workspace::{Workspace, cargo, succeed};

/// How to test.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only the tests of this crate
    #[arg(long, value_name = "CRATE")]
    package: Option<String>,
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
    let cargo_test = |arguments: &[String]| {
        let mut command = cargo();
        command.current_dir(&workspace.root).env("PAAS_SAMPLE_BINARY", &sample);
        succeed(command.args(arguments))
    };
    let selection = match &options.package {
        Some(package) => vec!["--package".to_owned(), package.clone()],
        None => vec!["--workspace".to_owned()],
    };
    steps.step("cargo test", || {
        let arguments = ["test", "--locked", "--no-fail-fast"].map(str::to_owned);
        cargo_test(&[&arguments[..], &selection].concat())
    });
    for test in check::read_ignored(workspace)? {
        let of_selection = options.package.as_ref().is_none_or(|wanted| {
            workspace.package_of(&test.file).is_some_and(|package| package.name == *wanted)
        });
        if of_selection {
            ignored(workspace, &mut steps, &test, &cargo_test);
        }
    }
    steps.finish()
}

/// Runs a test of the list, or says why not.
fn ignored(
    workspace: &Workspace,
    steps: &mut Steps,
    test: &IgnoredTest,
    cargo_test: &impl Fn(&[String]) -> Result<()>,
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
