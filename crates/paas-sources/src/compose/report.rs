//! What is found on the way: faults, which refuse the file, and notes, which do not.

use std::fmt::Display;

use paas_core::Fault;

/// The faults and notes found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) faults: Vec<Fault>,
    pub(super) notes: Vec<String>,
}

impl Report {
    pub(super) fn fault(&mut self, path: &str, message: impl Into<String>) {
        let fault = Fault::new(path, message);
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    pub(super) fn note(&mut self, path: &str, message: impl Display) {
        let note = if path.is_empty() { message.to_string() } else { format!("{path}: {message}") };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The value of a result; its error is a fault at `path`.
    pub(super) fn take<T, E: Display>(&mut self, path: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.fault(path, error.to_string())).ok()
    }
}
