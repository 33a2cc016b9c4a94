//! `cargo xtask test`: all set-up, then every test that this machine can run; the others are named.

mod fuzz;
mod outcome;

use anyhow::Result;

use crate::check::{self, IgnoredProgram, IgnoredTest};
use crate::cluster::{Building, TestClusters};
use crate::prerequisite::{self, Need, Task};
use crate::sample;
use crate::step::Steps;
use crate::workspace::{Workspace, cargo};
use fuzz::Fuzzing;
use outcome::Outcome;

/// How to test.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only the tests of this crate
    #[arg(long, value_name = "CRATE")]
    package: Option<String>,
    /// How many examples each operation of the REST interface is fuzzed with; 0 leaves the fuzzing out
    #[arg(long, default_value_t = 5, value_name = "EXAMPLES")]
    fuzz: u32,
    /// Also what runs on real Kubernetes clusters; they are built once, in minutes, and brought up
    #[arg(long)]
    cluster: bool,
}

/// Sets up and runs the tests.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut steps = Steps::new("test");
    let ready = steps.step("prerequisites", || prerequisite::ensure(Task::Test));
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
    let mut building = None;
    if options.cluster && options.package.is_none() && Need::Cluster.can_be_met() {
        steps.step("the clusters begin to be built, unless they are", || {
            building = Building::start(workspace)?;
            Ok(())
        });
    }
    let mut fuzzing = None;
    if options.package.is_none() && options.fuzz > 0 {
        steps.step("schemathesis begins to fuzz the REST interface", || {
            fuzzing = Some(Fuzzing::start(workspace, options.fuzz)?);
            Ok(())
        });
    } else {
        steps.skip("fuzzing", "it was left out; `cargo xtask test` without options fuzzes");
    }
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
    let list = check::read_ignored(workspace)?;
    for test in list.tests {
        let of_selection = options.package.as_ref().is_none_or(|wanted| {
            workspace.package_of(&test.file).is_some_and(|package| package.name == *wanted)
        });
        if of_selection {
            ignored(workspace, &mut steps, &test, &mut cargo_test);
        }
    }
    for program in &list.programs {
        if options.package.is_some() {
            steps.skip(format!("the program `{}`", program.name), "--package");
        } else if program.needs.contains(&Need::Cluster) && !options.cluster {
            let reason = "it takes minutes and runs on clusters: `cargo xtask test --cluster`";
            steps.skip(format!("the program `{}`", program.name), reason);
        } else {
            if let Some(building) = building.take_if(|_| program.needs.contains(&Need::Cluster)) {
                steps.step("the clusters are built", || building.finish());
            }
            run_program(workspace, &mut steps, program, &mut cargo_test);
        }
    }
    if let Some(building) = building {
        steps.step("the clusters are built", || building.finish());
    }
    if let Some(fuzzing) = fuzzing {
        steps.step("schemathesis has fuzzed the REST interface", || fuzzing.finish());
    }
    eprintln!("\n{outcome}");
    steps.finish()
}

/// Runs the programs of one name, or says why not.
fn run_program(
    workspace: &Workspace,
    steps: &mut Steps,
    program: &IgnoredProgram,
    cargo_test: &mut impl FnMut(&[String]) -> Result<()>,
) {
    let name = format!("the program `{}`", program.name);
    if let Some(need) = program.needs.iter().find(|need| !need.can_be_met()) {
        return steps.skip(name, format!("needs {}; {}", need.what(), need.remedy()));
    }
    let mut clusters = None;
    if program.needs.contains(&Need::Cluster) {
        let ready = steps.step("Kubernetes clusters (built once, in minutes)", || {
            clusters = Some(TestClusters::up(workspace, &TestClusters::NAMES)?);
            Ok(())
        });
        if !ready {
            return;
        }
    }
    let mut arguments =
        ["--workspace", "--no-fail-fast", "--test", &program.name].map(str::to_owned).to_vec();
    if !program.features.is_empty() {
        arguments.extend(["--features".to_owned(), program.features.join(",")]);
    }
    steps.step(name, || cargo_test(&arguments));
    if let Some(clusters) = clusters {
        steps.step("the clusters are gone", || clusters.down());
    }
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
