//! The sample application: `web`, the `api` that it calls, and a `worker`, in one small static binary.
//!
//! It shows what an application should do on a platform (tell when it is ready, finish what it has begun when asked to
//! stop), and its knobs let tests do what an application should not: start late, never get ready, crash, eat memory.

mod api;
mod client;
mod http;
mod instance;
mod json;
mod log;
mod page;
mod server;
mod settings;
mod signals;
mod tools;
mod web;
mod websocket;
mod worker;

use std::process::ExitCode;

const HELP: &str = "\
sample-app COMPONENT

components:
  web              a page, JSON, a WebSocket; calls the API at API_URL
  api              answers JSON
  worker           does a piece of work every WORK_INTERVAL_MS

tools, because an image of one file has no shell:
  get URL          prints the answer; exits with 1 unless its status is 200 to 399
  env              prints the environment
  print WORD…      prints its arguments
  append FILE WORD…  writes a line at the end of a file
  cat [FILE]       copies a file, or standard input, to standard output
  sleep MS         waits
  exit CODE        exits

knobs (environment):
  PORT=8080  VERSION=1  API_URL=http://api:8080  WORK_INTERVAL_MS=3000  LOG_REQUESTS=1
  START_DELAY_MS   waits before it listens          READY_DELAY_MS   listens, but is not ready for so long
  NEVER_READY=1    never passes /readyz             CRASH_AT_START   exits at once with this code
  CRASH_AFTER_MS   exits with 1 after this time     ALLOC_MB         holds so much memory from the start
  SLOW_MS          answers every request so late    FAIL_PERCENT     answers so many requests with 500
  IGNORE_SIGTERM=1 does not stop when asked to
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["web"] => instance::run(web::serve),
        ["api"] => instance::run(api::serve),
        ["worker"] => instance::run(worker::work),
        ["help" | "--help" | "-h"] => tools::print(&[HELP.trim_end()]),
        [tool, rest @ ..] => tools::run(tool, rest),
        [] => {
            log::line(HELP);
            ExitCode::from(2)
        }
    }
}
