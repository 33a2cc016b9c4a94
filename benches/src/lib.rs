//! Benches of the parts, and measurements of the whole; the figures and the way they are taken are in `README.md`.

mod memory;
mod platform;

pub use memory::{cpu_time, megabytes, proportional_kilobytes, resident_kilobytes};
pub use platform::{Backend, Platform, http_get};

use std::time::Duration;

use anyhow::Result;

/// How many runs count.
pub const RUNS: usize = 9;
/// How long anything may take.
pub const BOUND: Duration = Duration::from_mins(1);

/// One run that does not count, then the runs that do, sorted.
///
/// # Errors
/// The first one of a run.
pub fn measure(mut run: impl FnMut(usize) -> Result<Duration>) -> Result<Vec<Duration>> {
    run(0)?;
    let mut times = (1..=RUNS).map(run).collect::<Result<Vec<_>>>()?;
    times.sort();
    Ok(times)
}

/// A row of a table: the median, the least and the most of sorted times, in milliseconds.
pub fn row(what: &str, times: &[Duration]) -> String {
    let [least, median, most] = [0, times.len() / 2, times.len() - 1].map(|index| times[index].as_millis());
    format!("| {what} | {median} ms | {least} ms | {most} ms |")
}
