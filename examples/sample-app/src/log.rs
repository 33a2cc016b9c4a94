//! Log lines on standard output. `println!` would end the process when nobody reads any longer; a log must not.

use std::io::Write;

/// Writes one line; what cannot be written is dropped.
pub fn line(text: impl AsRef<str>) {
    let mut whole = String::with_capacity(text.as_ref().len() + 1);
    whole.push_str(text.as_ref());
    whole.push('\n');
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(whole.as_bytes()).and_then(|()| output.flush());
}
