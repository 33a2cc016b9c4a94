//! What a command gave.

use std::io::Write as _;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

/// What a command gave.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        Self::new(&command.output().unwrap())
    }

    /// Runs a command to its end, with something on its standard input.
    pub fn with_input(command: &mut Command, input: &[u8]) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that reads nothing closes its input, and says why in its own words.
        let _ = child.stdin.take().unwrap().write_all(input);
        Self::new(&child.wait_with_output().unwrap())
    }

    fn new(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Everything that was printed.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// What was printed, as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same if it ended with `code`, and a failure of the journey if not.
    #[track_caller]
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// The same if all `words` were printed on the standard error.
    #[track_caller]
    pub fn complained_of(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is told: {self:?}");
        }
        self
    }
}

/// A command that runs beside the journey. It does not outlive it.
pub struct Background(Option<Child>);

impl Background {
    /// Starts a command; its output is kept for its end.
    pub fn start(command: &mut Command) -> Self {
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.0.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// What it prints, for whoever reads it as it comes.
    pub fn stdout(&mut self) -> ChildStdout {
        self.0.as_mut().and_then(|child| child.stdout.take()).unwrap()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Outcome {
        Outcome::new(&self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
