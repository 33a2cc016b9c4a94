//! The fuzzing of the REST interface. It uses one processor for minutes, so it runs while the tests are compiled.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};

use crate::workspace::{Workspace, cargo, succeed};

const SCRIPT: &str = "examples/reference-server/tests/fuzz/fuzz.sh";

/// Fuzzing that was started.
pub struct Fuzzing {
    script: Child,
    output: PathBuf,
}

impl Fuzzing {
    /// Builds the server, and begins to fuzz every operation of its OpenAPI document with so many examples.
    pub fn start(workspace: &Workspace, examples: u32) -> Result<Self> {
        let mut build = cargo();
        build.current_dir(&workspace.root);
        // As a part of a test of the whole workspace, so that features resolve as they do for the others and nothing is built
        // twice.
        build.args(["test", "--locked", "--workspace", "--no-run", "--test", "journeys"]);
        succeed(&mut build).context("the server could not be built")?;
        let output = workspace.target.join("fuzz.log");
        let file = File::create(&output).with_context(|| format!("failed to write {}", output.display()))?;
        let mut command = Command::new("sh");
        command.env("PAAS_FUZZ_VENV", workspace.cache.join("tools").join("schemathesis"));
        command.arg(workspace.root.join(SCRIPT)).arg(workspace.target.join("debug").join("paas"));
        command.arg(examples.to_string()).stdout(file.try_clone()?).stderr(file);
        let script = command.spawn().context("failed to start the fuzzing")?;
        eprintln!("    goes on while the tests are compiled and run");
        Ok(Self { script, output })
    }

    /// Waits for the end and shows what was found.
    pub fn finish(mut self) -> Result<()> {
        let status = self.script.wait().context("failed to wait for the fuzzing")?;
        let output = fs::read_to_string(&self.output).context("failed to read what the fuzzing said")?;
        if status.success() {
            // The summary is at the end.
            let summary = output.rfind("= SUMMARY =").map_or(output.as_str(), |at| &output[at..]);
            eprintln!("{summary}");
        } else {
            eprintln!("{output}");
        }
        ensure!(
            status.success(),
            "the REST interface broke its own description, or could not be fuzzed: {}",
            self.output.display()
        );
        Ok(())
    }
}
