//! Results on the standard output: tables for people, JSON and YAML for programs.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color as Tint, ContentArrangement, Table};
use jiff::Timestamp;
use serde::Serialize;

use super::args::{Color, Common, Format};
use super::failure::{Exit, Failure};

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    color: bool,
}

/// How a cell looks on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Well.
    Good,
    /// Under way, or worth a look.
    Warn,
    /// Broken.
    Bad,
    /// Of little weight.
    Faint,
}

/// A text with its tone.
#[derive(Debug, Clone)]
pub struct Text {
    pub text: String,
    pub tone: Tone,
}

impl Text {
    /// A text with a tone.
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: ToString> From<T> for Text {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), tone: Tone::Plain }
    }
}

impl Text {
    /// A time, to the second.
    pub fn time(time: Timestamp) -> Self {
        Self::from(seconds(time))
    }
}

/// A time as people read it, to the second and in UTC.
pub fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Output {
    /// As the options say.
    pub fn new(common: &Common) -> Self {
        let color = match common.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Self { format: common.output, color }
    }

    /// Whether results are for people.
    pub fn is_table(self) -> bool {
        self.format == Format::Table
    }

    /// Whether colour is used.
    pub fn is_colored(self) -> bool {
        self.color
    }

    /// Prints a value for programs, or what `people` makes of it.
    pub fn show<T: Serialize>(self, value: &T, people: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => people(value),
            Format::Json => {
                let mut text = serde_json::to_string_pretty(value).map_err(|error| unprintable(&error))?;
                text.push('\n');
                text
            }
            Format::Yaml => serde_saphyr::to_string(value).map_err(|error| unprintable(&error))?,
        };
        print(&text)
    }

    /// Prints one item of a stream: a line for people, one document per item for programs.
    pub fn item<T: Serialize>(self, value: &T, people: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let text = match self.format {
            Format::Table => people(value),
            Format::Json => serde_json::to_string(value).map_err(|error| unprintable(&error))? + "\n",
            Format::Yaml => {
                "---\n".to_owned() + &serde_saphyr::to_string(value).map_err(|error| unprintable(&error))?
            }
        };
        print(&text)
    }

    /// Prints a sentence for people, and nothing for programs.
    pub fn say(self, text: &str) -> Result<(), Failure> {
        if self.is_table() { print(&format!("{text}\n")) } else { Ok(()) }
    }

    /// A table as text.
    pub fn table(self, header: &[&str], rows: Vec<Vec<Text>>) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if self.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(header.iter().map(|title| {
            let cell = Cell::new(title);
            if self.color { cell.add_attribute(Attribute::Dim) } else { cell }
        }));
        for row in rows {
            table.add_row(row.into_iter().map(|text| self.cell(text)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// A text in its tone.
    pub fn paint(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            _ if !self.color => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => 32,
            Tone::Warn => 33,
            Tone::Bad => 31,
            Tone::Faint => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    fn cell(self, text: Text) -> Cell {
        let cell = Cell::new(printable(&text.text));
        match text.tone {
            _ if !self.color => cell,
            Tone::Plain => cell,
            Tone::Good => cell.fg(Tint::Green),
            Tone::Warn => cell.fg(Tint::Yellow),
            Tone::Bad => cell.fg(Tint::Red),
            Tone::Faint => cell.add_attribute(Attribute::Dim),
        }
    }
}

/// A text without what would steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Prints text. A reader that has gone away ends the command in silence, as `head` expects.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

fn unprintable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Error, format!("the result cannot be printed: {error}"))
}
