//! The only entry to the project's tasks: `cargo xtask run | test | check | bench | cluster | image`.
//!
//! Every task does all of its set-up by itself. What it cannot do it names, with the reason and the command that does.

mod argo;
mod bench;
mod check;
mod cluster;
mod image;
mod prerequisite;
mod run;
mod sample;
mod step;
mod test;
mod tool;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's tasks", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the platform, start it in the background, deploy the sample, say what to try next
    Run(run::Options),
    /// Formatting, lints, docs, licences, the dependency rule, the rules of the tree
    Check(check::Options),
    /// Measurements of the whole, and the benches of the parts
    Bench(bench::Options),
    /// Real Kubernetes clusters on this machine, for tests
    Cluster(cluster::Options),
    /// The server's image as an OCI layout, for a registry of yours
    Image(image::Options),
    /// The sample's static binary, for tests that are run by `cargo test` alone
    Sample,
    /// Every test: unit, conformance, journeys against the real binary with real containers
    Test(test::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Workspace::locate().and_then(|workspace| match arguments.task {
        Task::Run(options) => run::run(&workspace, &options),
        Task::Bench(options) => bench::run(&workspace, &options),
        Task::Cluster(options) => cluster::run(&workspace, &options),
        Task::Image(options) => image::run(&workspace, &options),
        Task::Sample => sample::build(&workspace).map(|path| println!("{}", path.display())),
        Task::Check(options) => check::run(&workspace, &options),
        Task::Test(options) => test::run(&workspace, &options),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
