//! Commands in instances, over a WebSocket.
//!
//! The caller's first message is text: [`Start`]. Every other one is binary: one byte that names the channel, then its content. From the caller come [`STDIN`],
//! [`CLOSE_STDIN`], [`RESIZE`] (columns and rows, two bytes each, most significant first) and [`SIGNAL`] (one byte). From
//! the server come [`STDOUT`], [`STDERR`], then [`EXIT`] (four bytes, most significant first) or [`PROBLEM`] (problem
//! details in JSON) as the last one.

use paas_core::port::{ExecInput, ExecOutput, TerminalSize};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The subprotocol that both sides name.
pub const PROTOCOL: &str = "paas.exec.v1";

/// Bytes for the standard input.
pub const STDIN: u8 = 0;
/// Bytes of the standard output, or of the terminal.
pub const STDOUT: u8 = 1;
/// Bytes of the error output.
pub const STDERR: u8 = 2;
/// The exit code.
pub const EXIT: u8 = 3;
/// The terminal has another size.
pub const RESIZE: u8 = 4;
/// The end of the standard input.
pub const CLOSE_STDIN: u8 = 5;
/// A signal for the command.
pub const SIGNAL: u8 = 6;
/// Why the command could not be run to its end.
pub const PROBLEM: u8 = 7;

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Size {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

impl From<Size> for TerminalSize {
    fn from(size: Size) -> Self {
        Self { columns: size.columns, rows: size.rows }
    }
}

/// The caller's first message, as text: what runs and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The command and its arguments; empty when attaching to a run.
    #[serde(default)]
    pub command: Vec<String>,
    /// The instance; the first ready one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// With a terminal of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Size>,
    /// Whether input is passed on.
    #[serde(default)]
    pub stdin: bool,
}

/// A message on `channel`.
pub fn message(channel: u8, content: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(content.len() + 1);
    message.push(channel);
    message.extend_from_slice(content);
    message
}

/// The message that tells of a new size.
pub fn resize(size: Size) -> Vec<u8> {
    let [a, b] = size.columns.to_be_bytes();
    let [c, d] = size.rows.to_be_bytes();
    message(RESIZE, &[a, b, c, d])
}

/// Reads a message of the caller; nothing if it has no known meaning.
pub fn input(message: &[u8]) -> Option<ExecInput> {
    let (channel, content) = message.split_first()?;
    match (*channel, content) {
        (STDIN, bytes) => Some(ExecInput::Stdin(bytes.to_vec())),
        (CLOSE_STDIN, []) => Some(ExecInput::CloseStdin),
        (RESIZE, [a, b, c, d]) => Some(ExecInput::Resize(TerminalSize {
            columns: u16::from_be_bytes([*a, *b]),
            rows: u16::from_be_bytes([*c, *d]),
        })),
        (SIGNAL, [number]) => Some(ExecInput::Signal(i32::from(*number))),
        _ => None,
    }
}

/// The message that tells of an output.
pub fn output(output: &ExecOutput) -> Option<Vec<u8>> {
    match output {
        ExecOutput::Stdout(bytes) => Some(message(STDOUT, bytes)),
        ExecOutput::Stderr(bytes) => Some(message(STDERR, bytes)),
        ExecOutput::Exit(code) => Some(message(EXIT, &code.to_be_bytes())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_caller_read_back_as_what_they_mean() {
        assert_eq!(input(&message(STDIN, b"ls\n")), Some(ExecInput::Stdin(b"ls\n".to_vec())));
        assert_eq!(input(&[CLOSE_STDIN]), Some(ExecInput::CloseStdin));
        let size = Size { columns: 300, rows: 24 };
        assert_eq!(input(&resize(size)), Some(ExecInput::Resize(size.into())));
        assert_eq!(input(&[SIGNAL, 2]), Some(ExecInput::Signal(2)));
    }

    #[test]
    fn messages_without_a_meaning_are_recognised() {
        for wrong in
            [&[][..], &[99], &[RESIZE, 1], &[SIGNAL], &[SIGNAL, 1, 2], &[CLOSE_STDIN, 0], &[STDOUT, 1]]
        {
            assert_eq!(input(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_exit_code_keeps_its_value() {
        assert_eq!(output(&ExecOutput::Exit(143)), Some(vec![EXIT, 0, 0, 0, 143]));
    }
}
