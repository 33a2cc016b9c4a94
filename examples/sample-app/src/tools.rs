//! The few tools that a one-file image offers to probes, one-off commands and the console.

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crate::client;

/// Runs a tool by its name.
pub fn run(tool: &str, arguments: &[&str]) -> ExitCode {
    match (tool, arguments) {
        ("get", [url]) => get(url),
        ("env", []) => {
            let pairs: Vec<String> = std::env::vars_os()
                .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
                .collect();
            print(&[&pairs.join("\n")])
        }
        ("print", words) => print(words),
        ("cat", []) => copied(io::copy(&mut io::stdin().lock(), &mut io::stdout().lock())),
        ("cat", [path]) => {
            copied(File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::stdout().lock())))
        }
        ("append", [path, words @ ..]) => copied(append(path, &words.join(" "))),
        ("sleep", [milliseconds]) => match milliseconds.parse() {
            Ok(milliseconds) => {
                thread::sleep(Duration::from_millis(milliseconds));
                ExitCode::SUCCESS
            }
            Err(_) => refuse(&format!("sleep: {milliseconds} is no number of milliseconds")),
        },
        ("exit", [code]) => match code.parse::<u8>() {
            Ok(code) => ExitCode::from(code),
            Err(_) => refuse(&format!("exit: {code} is no exit code from 0 to 255")),
        },
        _ => refuse(&format!(
            "sample-app has no `{tool}` with {} arguments; see `sample-app help`",
            arguments.len()
        )),
    }
}

/// Prints words, and a line end.
pub fn print(words: &[&str]) -> ExitCode {
    let mut output = io::stdout().lock();
    copied(writeln!(output, "{}", words.join(" ")).and_then(|()| output.flush()))
}

fn append(path: &str, line: &str) -> io::Result<()> {
    writeln!(File::options().create(true).append(true).open(path)?, "{line}")
}

fn get(url: &str) -> ExitCode {
    match client::get(url) {
        Ok(answer) => {
            let printed = print(&[answer.body.trim_end()]);
            if (200..400).contains(&answer.status) { printed } else { ExitCode::FAILURE }
        }
        Err(error) => fail(&error.to_string(), ExitCode::FAILURE),
    }
}

fn copied<T>(outcome: io::Result<T>) -> ExitCode {
    match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string(), ExitCode::FAILURE),
    }
}

fn refuse(words: &str) -> ExitCode {
    fail(words, ExitCode::from(2))
}

fn fail(words: &str, code: ExitCode) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {words}");
    code
}
