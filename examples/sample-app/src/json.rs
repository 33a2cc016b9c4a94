//! JSON objects, written by hand.

use std::fmt::Write;

/// An object under construction.
#[derive(Debug, Default)]
pub struct Object {
    text: String,
}

impl Object {
    /// Adds a text.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        let quoted = quoted(value);
        self.raw(name, &quoted)
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, name: &str, value: impl std::fmt::Display) -> Self {
        let number = value.to_string();
        self.raw(name, &number)
    }

    /// Adds something that is JSON already.
    #[must_use]
    pub fn raw(mut self, name: &str, json: &str) -> Self {
        let separator = if self.text.is_empty() { "" } else { "," };
        self.text.push_str(separator);
        self.text.push_str(&quoted(name));
        self.text.push(':');
        self.text.push_str(json);
        self
    }

    /// The whole, with a line end.
    pub fn finish(self) -> String {
        format!("{{{}}}\n", self.text)
    }
}

/// A JSON string (RFC 8259, section 7).
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_quotes_and_control_characters_stays_one_string() {
        assert_eq!(quoted("a\"b\\c\nd\u{1}é"), "\"a\\\"b\\\\c\\nd\\u0001é\"");
    }

    #[test]
    fn members_are_separated() {
        let object = Object::default().text("a", "b").number("n", 1).raw("x", "[]");
        assert_eq!(object.finish(), "{\"a\":\"b\",\"n\":1,\"x\":[]}\n");
    }
}
