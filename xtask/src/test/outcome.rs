//! Runs `cargo test`, passes its output on, and counts what it says.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::shown;

/// What the closing lines of test binaries add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
}

impl Outcome {
    /// Runs a command whose output is that of the test harness; every line of it is passed on.
    pub fn add(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start `{}`", shown(command)))?;
        let output = child.stdout.take().context("the output of the tests is missing")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = String::from_utf8_lossy(&line.context("failed to read the output of the tests")?)
                .into_owned();
            // Who started this task may have stopped reading; the tests go on.
            let _ = writeln!(std::io::stdout(), "{line}");
            self.read(&line);
        }
        let status = child.wait().context("failed to wait for the tests")?;
        if !status.success() {
            bail!("`{}` ended with {status}{}", shown(command), self.named_failures());
        }
        Ok(())
    }

    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.trim().to_owned());
        }
    }

    fn named_failures(&self) -> String {
        if self.failures.is_empty() {
            String::new()
        } else {
            format!("; failed: {}", self.failures.join(", "))
        }
    }
}

/// The number before a word, as in `12 passed; 0 failed; …`.
fn count(counts: &str, word: &str) -> u64 {
    let parts = counts.split([';', '.']).map(str::trim);
    parts.filter_map(|part| part.strip_suffix(word)?.trim().parse::<u64>().ok()).sum()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tests passed, {} failed, {} not run by themselves",
            self.passed, self.failed, self.ignored
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up_and_failures_are_named() {
        let mut outcome = Outcome::default();
        let lines = "test a::b ... FAILED\ntest c ... ok\n\
                     test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.01s\n\
                     test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s";
        lines.lines().for_each(|line| outcome.read(line));
        assert_eq!(outcome, Outcome { passed: 11, failed: 1, ignored: 2, failures: vec!["a::b".to_owned()] });
        assert_eq!(outcome.named_failures(), "; failed: a::b");
    }
}
