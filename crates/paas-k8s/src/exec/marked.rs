//! Commands that can be found again.

use paas_core::port::TerminalSize;

/// The variable that marks a command and everything that it starts.
const MARK: &str = "PAAS_COMMAND";

/// A command's mark.
#[derive(Debug, Clone)]
pub(super) struct Mark(String);

impl Mark {
    pub(super) fn new() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// The command, started with the mark by the image's shell, which prints the mark first if there is such a command.
    ///
    /// A terminal gets its size from the shell too: the one that the server is told may come after the command looks.
    pub(super) fn wrap(&self, command: &[String], terminal: Option<TerminalSize>) -> Vec<String> {
        let size = terminal.map(|it| format!("stty rows {} cols {} 2>/dev/null; ", it.rows, it.columns));
        let script = format!(
            "{}command -v \"$1\" >/dev/null 2>&1 || exec \"$@\"; printf %s {mark}; {MARK}={mark} exec \"$@\"",
            size.unwrap_or_default(),
            mark = self.0
        );
        let mut words = vec!["/bin/sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()];
        words.extend_from_slice(command);
        words
    }

    /// What follows the mark, if it is there: the command was found.
    pub(super) fn follows<'a>(&self, printed: &'a [u8]) -> Option<&'a [u8]> {
        printed.strip_prefix(self.0.as_bytes())
    }

    /// A command that signals whatever has the mark, but not itself.
    pub(super) fn signal(&self, signal: i32) -> Vec<String> {
        let script = format!(
            "for p in /proc/[0-9]*; do \
               if tr '\\000' '\\n' < $p/environ 2>/dev/null | grep -qx '{MARK}={}'; then \
                 kill -{signal} ${{p#/proc/}} 2>/dev/null; \
               fi; \
             done",
            self.0
        );
        vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
    }
}
