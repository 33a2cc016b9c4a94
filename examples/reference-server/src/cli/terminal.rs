//! The caller's terminal: raw mode, size, and the tidying up afterwards.

use std::io;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::rest::exec::Size;

/// A terminal in raw mode: every key goes to the command. Dropping it gives the terminal back as it was.
pub struct RawTerminal(Termios);

impl RawTerminal {
    /// Takes the terminal of the standard input.
    pub fn enter() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Drain, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Whether the standard input is a terminal.
pub fn is_terminal() -> bool {
    isatty(rustix::stdio::stdin())
}

/// The size of the terminal, or that of most if it cannot be known.
pub fn size() -> Size {
    match tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size { columns: size.ws_col, rows: size.ws_row },
        _ => Size { columns: 80, rows: 24 },
    }
}

/// Reads a line from the terminal without showing it.
pub fn read_hidden_line() -> Result<Vec<u8>, super::failure::Failure> {
    use std::io::BufRead as _;

    use rustix::termios::LocalModes;

    struct Restore(Termios);
    impl Drop for Restore {
        fn drop(&mut self) {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.0);
            eprintln!();
        }
    }

    let stdin = rustix::stdio::stdin();
    let before = tcgetattr(stdin).map_err(io::Error::from)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin, OptionalActions::Drain, &hidden).map_err(io::Error::from)?;
    let restore = Restore(before);
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line)?;
    drop(restore);
    if line.ends_with(b"\n") {
        line.pop();
    }
    Ok(line)
}
