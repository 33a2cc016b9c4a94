//! The knobs, all by environment.

use std::env;
use std::time::Duration;

/// What the environment says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The port it listens on.
    pub port: u16,
    /// What it calls itself; the page takes its colour from it.
    pub version: String,
    /// Which of the instances this is.
    pub instance: String,
    /// Where the API component answers, when this component may call it.
    pub api_url: Option<String>,
    /// The time between two pieces of the worker's work.
    pub work_interval: Duration,
    /// Whether every request is logged.
    pub log_requests: bool,
    /// Waits before it listens.
    pub start_delay: Duration,
    /// Is not ready for so long after it listens.
    pub ready_delay: Duration,
    /// Never becomes ready.
    pub never_ready: bool,
    /// Exits at once with this code.
    pub crash_at_start: Option<u8>,
    /// Exits with 1 after this time.
    pub crash_after: Option<Duration>,
    /// Holds so many megabytes from the start.
    pub alloc_mb: usize,
    /// Answers every request so late.
    pub slow: Duration,
    /// Answers so many of a hundred requests with 500.
    pub fail_percent: u64,
    /// Does not stop when asked to.
    pub ignore_sigterm: bool,
}

impl Settings {
    /// Reads the environment; a value that cannot be read is an error that names it.
    pub fn from_environment() -> Result<Self, String> {
        Ok(Self {
            port: number("PORT")?.unwrap_or(8080),
            version: text("VERSION").unwrap_or_else(|| "1".to_owned()),
            instance: instance(),
            api_url: text("API_URL"),
            work_interval: milliseconds("WORK_INTERVAL_MS")?.unwrap_or(Duration::from_secs(3)),
            log_requests: flag("LOG_REQUESTS"),
            start_delay: milliseconds("START_DELAY_MS")?.unwrap_or_default(),
            ready_delay: milliseconds("READY_DELAY_MS")?.unwrap_or_default(),
            never_ready: flag("NEVER_READY"),
            crash_at_start: number("CRASH_AT_START")?,
            crash_after: milliseconds("CRASH_AFTER_MS")?,
            alloc_mb: number("ALLOC_MB")?.unwrap_or(0),
            slow: milliseconds("SLOW_MS")?.unwrap_or_default(),
            fail_percent: number("FAIL_PERCENT")?.unwrap_or(0),
            ignore_sigterm: flag("IGNORE_SIGTERM"),
        })
    }
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn flag(name: &str) -> bool {
    text(name).is_some_and(|value| value != "0" && value != "false")
}

fn number<N: std::str::FromStr>(name: &str) -> Result<Option<N>, String> {
    text(name)
        .map(|value| value.parse().map_err(|_| format!("{name}={value} is not a number that fits")))
        .transpose()
}

fn milliseconds(name: &str) -> Result<Option<Duration>, String> {
    Ok(number(name)?.map(Duration::from_millis))
}

/// The platform's name for this instance, else the host name.
fn instance() -> String {
    ["PAAS_INSTANCE", "HOSTNAME"]
        .into_iter()
        .find_map(text)
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map_or_else(|| "unnamed".to_owned(), |name| name.trim().to_owned())
}
