//! Progress: named steps, each with its time, and a summary that says at the end which failed and where to look.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The steps of one task. A failed step does not end the task: a person wants all findings of one run.
#[derive(Debug)]
pub struct Steps {
    task: &'static str,
    done: Vec<Done>,
}

#[derive(Debug)]
struct Done {
    name: String,
    took: Duration,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Steps {
    /// No steps yet.
    pub fn new(task: &'static str) -> Self {
        Self { task, done: Vec::new() }
    }

    /// Runs a step and shows how it ended. Returns whether it passed.
    pub fn step(&mut self, name: impl Into<String>, work: impl FnOnce() -> Result<()>) -> bool {
        let name = name.into();
        eprintln!("\n==> {name}");
        let started = Instant::now();
        let outcome = match work() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                eprintln!("{error:#}");
                Outcome::Failed(format!("{error:#}"))
            }
        };
        let passed = matches!(outcome, Outcome::Passed);
        let took = started.elapsed();
        eprintln!("    {} in {:.1} s", if passed { "passed" } else { "FAILED" }, took.as_secs_f64());
        self.done.push(Done { name, took, outcome });
        passed
    }

    /// Notes a step that does not run here, and why. It stands in the summary, so that nobody takes it for passed.
    pub fn skip(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        let (name, reason) = (name.into(), reason.into());
        eprintln!("\n==> {name}\n    not run: {reason}");
        self.done.push(Done { name, took: Duration::ZERO, outcome: Outcome::Skipped(reason) });
    }

    /// The summary; an error when a step failed.
    pub fn finish(self) -> Result<()> {
        eprintln!("\ncargo xtask {}:", self.task);
        for step in &self.done {
            let seconds = step.took.as_secs_f64();
            match &step.outcome {
                Outcome::Passed => eprintln!("  passed  {seconds:>7.1} s  {}", step.name),
                Outcome::Skipped(reason) => eprintln!("  not run            {}: {reason}", step.name),
                Outcome::Failed(reason) => {
                    let first = reason.lines().next().unwrap_or_default();
                    eprintln!("  FAILED  {seconds:>7.1} s  {}: {first}", step.name);
                }
            }
        }
        let total: Duration = self.done.iter().map(|step| step.took).sum();
        let failed = self.done.iter().filter(|step| matches!(step.outcome, Outcome::Failed(_))).count();
        if failed > 0 {
            bail!("{failed} of {} steps failed; look above for `FAILED`", self.done.len());
        }
        eprintln!("  all passed in {:.0} s", total.as_secs_f64());
        Ok(())
    }
}
