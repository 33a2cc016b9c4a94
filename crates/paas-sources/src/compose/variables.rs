//! Variables: put into values, and read from `.env` files.
//!
//! Source: Compose Specification, "Interpolation"; Docker's documentation of the syntax of `.env` files.

use std::collections::BTreeMap;

use serde_json::Value;

use super::node::joined;
use super::report::Report;

/// How deeply one variable's default may name others.
const DEEPEST: usize = 16;

/// Puts variables into every text of a value; keys stay as they are.
pub(super) fn interpolate(
    value: &mut Value,
    path: &str,
    variables: &BTreeMap<String, String>,
    report: &mut Report,
) {
    match value {
        Value::String(text) if text.contains('$') => match substituted(text, variables, report, 0) {
            Ok(changed) => *text = changed,
            Err(message) => report.fault(path, message),
        },
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                interpolate(item, &format!("{path}[{i}]"), variables, report);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                interpolate(field, &joined(path, key), variables, report);
            }
        }
        _ => {}
    }
}

/// The text with its variables replaced: `$NAME`, `${NAME}` and `${NAME}` with `:-`, `-`, `:?`, `?`, `:+` or `+`; `$$` is a `$`.
pub(super) fn substituted(
    text: &str,
    variables: &BTreeMap<String, String>,
    report: &mut Report,
    depth: usize,
) -> Result<String, String> {
    if depth > DEEPEST {
        return Err(format!("has defaults within defaults, more than {DEEPEST} deep"));
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or_else(|| format!("{text:?} has a ${{ that is not closed"))?;
            out.push_str(&braced(&after[..end], variables, report, depth)?);
            rest = &after[end + 1..];
        } else {
            let length = name_length(rest);
            if length == 0 {
                return Err(format!("{text:?} has a $ without a name; write $$ for the character"));
            }
            out.push_str(&valued(&rest[..length], variables, report));
            rest = &rest[length..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the brace that was opened before `text` is closed.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'$' if bytes.peek().is_some_and(|(_, next)| *next == b'{') => {
                bytes.next();
                open += 1;
            }
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
    }
    None
}

fn braced(
    text: &str,
    variables: &BTreeMap<String, String>,
    report: &mut Report,
    depth: usize,
) -> Result<String, String> {
    let (name, rest) = text.split_at(name_length(text));
    if name.is_empty() {
        return Err(format!("${{{text}}} names no variable"));
    }
    let value = variables.get(name);
    let filled = value.filter(|value| !value.is_empty());
    let mut default = |text: &str| substituted(text, variables, report, depth + 1);
    let missing = |why: &str| Err(format!("variable {name} is needed: {why}"));
    match rest {
        "" => Ok(valued(name, variables, report)),
        _ if rest.starts_with(":-") => filled.map_or_else(|| default(&rest[2..]), |it| Ok(it.clone())),
        _ if rest.starts_with(":?") => filled.map_or_else(|| missing(&rest[2..]), |it| Ok(it.clone())),
        _ if rest.starts_with(":+") => filled.map_or(Ok(String::new()), |_| default(&rest[2..])),
        _ if rest.starts_with('-') => value.map_or_else(|| default(&rest[1..]), |it| Ok(it.clone())),
        _ if rest.starts_with('?') => value.map_or_else(|| missing(&rest[1..]), |it| Ok(it.clone())),
        _ if rest.starts_with('+') => value.map_or(Ok(String::new()), |_| default(&rest[1..])),
        _ => Err(format!("${{{text}}} is not a variable; write ${{NAME}} or ${{NAME:-DEFAULT}}")),
    }
}

fn valued(name: &str, variables: &BTreeMap<String, String>, report: &mut Report) -> String {
    variables.get(name).cloned().unwrap_or_else(|| {
        report.note("", format!("variable {name} is not set, and stands for nothing"));
        String::new()
    })
}

fn name_length(text: &str) -> usize {
    let is_part = |(at, byte): (usize, u8)| {
        byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit())
    };
    text.bytes().enumerate().take_while(|it| is_part(*it)).count()
}

/// The variables of a file of `NAME=VALUE` lines. Values may name variables of earlier lines and of `known`, but for those
/// in single quotes and in a file that is `raw`.
pub(super) fn read_lines(
    text: &str,
    raw: bool,
    known: &BTreeMap<String, String>,
    report: &mut Report,
) -> Result<BTreeMap<String, Option<String>>, String> {
    let mut found = BTreeMap::new();
    let mut scope = known.clone();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |message: String| format!("line {}: {message}", number + 1);
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            found.insert(line.trim().to_owned(), None);
            continue;
        };
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(fault(format!("{name:?} is not the name of a variable; write NAME=VALUE")));
        }
        let value = if raw { value.to_owned() } else { unquoted(value, &scope, report).map_err(fault)? };
        scope.entry(name.to_owned()).or_insert_with(|| value.clone());
        found.insert(name.to_owned(), Some(value));
    }
    Ok(found)
}

fn unquoted(value: &str, scope: &BTreeMap<String, String>, report: &mut Report) -> Result<String, String> {
    let value = value.trim();
    let unclosed = || "a quote is not closed on its line".to_owned();
    if let Some(rest) = value.strip_prefix('\'') {
        return Ok(rest[..rest.find('\'').ok_or_else(unclosed)?].to_owned());
    }
    if let Some(rest) = value.strip_prefix('"') {
        let mut text = String::new();
        let mut letters = rest.chars();
        loop {
            match letters.next().ok_or_else(unclosed)? {
                '"' => return substituted(&text, scope, report, 0),
                '\\' => match letters.next().ok_or_else(unclosed)? {
                    'n' => text.push('\n'),
                    'r' => text.push('\r'),
                    't' => text.push('\t'),
                    '$' => text.push_str("$$"),
                    other => text.push(other),
                },
                other => text.push(other),
            }
        }
    }
    let end = value.find(" #").unwrap_or(value.len());
    substituted(value[..end].trim_end(), scope, report, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, String> {
        [("A", "a"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn every_form_of_a_variable_is_replaced_as_the_specification_says() {
        let put = |text: &str| substituted(text, &variables(), &mut Report::default(), 0);
        for (text, expected) in [
            ("$A-${A}", "a-a"),
            ("$$A", "$A"),
            ("${EMPTY:-x}${EMPTY-y}${NONE-z}", "xz"),
            ("${A:+set}${EMPTY:+no}${EMPTY+there}", "setthere"),
            ("${NONE:-${ALSO_NONE:-deep}}/", "deep/"),
            ("${NONE}", ""),
        ] {
            assert_eq!(put(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, word) in [
            ("${NONE:?set it}", "NONE is needed: set it"),
            ("${EMPTY:?no}", "EMPTY"),
            ("${A", "closed"),
            ("cost: $ 5", "$$"),
            ("${A!}", "${NAME}"),
            ("${}", "no variable"),
        ] {
            assert!(put(text).unwrap_err().contains(word), "{text}");
        }
        assert_eq!(put("${EMPTY?here}").as_deref(), Ok(""));
    }

    #[test]
    fn a_variable_that_is_not_set_is_noted() {
        let mut report = Report::default();
        substituted("$NONE", &variables(), &mut report, 0).unwrap();
        assert_eq!(report.notes, ["variable NONE is not set, and stands for nothing"]);
    }

    #[test]
    fn lines_of_variables_may_be_quoted_and_name_others() {
        let text = "# first\nexport B=1 # one\nC='$B # x'\nD=\"$A-$B\\n\\$\"\n\nE=${A}/${B}\nF\nG=\n";
        let read = read_lines(text, false, &variables(), &mut Report::default()).unwrap();
        let read: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        let expected = [
            ("B", Some("1")),
            ("C", Some("$B # x")),
            ("D", Some("a-1\n$")),
            ("E", Some("a/1")),
            ("F", None),
            ("G", Some("")),
        ];
        assert_eq!(read, expected);
        let raw = read_lines("A='$B'", true, &variables(), &mut Report::default()).unwrap();
        assert_eq!(raw["A"].as_deref(), Some("'$B'"));
        let wrong = read_lines("A=1\nB='", false, &variables(), &mut Report::default()).unwrap_err();
        assert!(wrong.contains("line 2"), "{wrong}");
    }
}
