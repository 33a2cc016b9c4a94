//! What every component of the sample does at its start, and what it counts.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::log;
use crate::settings::Settings;
use crate::signals::StopSignal;

/// One running instance.
#[derive(Debug)]
pub struct Instance {
    /// The knobs.
    pub settings: Settings,
    requests: AtomicU64,
    started: Instant,
    stopping: AtomicBool,
    held: Mutex<Vec<Vec<u8>>>,
}

impl Instance {
    /// Counts a request and returns its number, from 1.
    pub fn count(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it takes new requests.
    pub fn is_ready(&self) -> bool {
        !self.settings.never_ready && !self.is_stopping() && self.uptime() >= self.settings.ready_delay
    }

    /// Whether it was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Notes that it was asked to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Takes memory, touches every page of it, and keeps it. Returns the megabytes held by now.
    pub fn allocate(&self, megabytes: usize) -> usize {
        const MEGABYTE: usize = 1 << 20;
        let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for _ in 0..megabytes {
            held.push(vec![1; MEGABYTE]);
        }
        held.len()
    }
}

/// Reads the knobs, does what they say about the start, and runs the component until it is asked to stop.
pub fn run(component: impl FnOnce(&'static Instance, &StopSignal) -> std::io::Result<()>) -> ExitCode {
    let settings = match Settings::from_environment() {
        Ok(settings) => settings,
        Err(fault) => {
            log::line(format!("error: {fault}"));
            return ExitCode::from(2);
        }
    };
    if let Some(code) = settings.crash_at_start {
        log::line(format!("crashing at the start with {code}, because CRASH_AT_START says so"));
        return ExitCode::from(code);
    }
    let stop = match StopSignal::install() {
        Ok(stop) => stop,
        Err(error) => {
            log::line(format!("error: failed to handle signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    crash_later(settings.crash_after);
    let start_delay = settings.start_delay;
    // It lives as long as the process, and threads share it.
    let instance: &'static Instance = Box::leak(Box::new(Instance {
        settings,
        requests: AtomicU64::new(0),
        started: Instant::now(),
        stopping: AtomicBool::new(false),
        held: Mutex::new(Vec::new()),
    }));
    instance.allocate(instance.settings.alloc_mb);
    thread::sleep(start_delay);
    match component(instance, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn crash_later(after: Option<Duration>) {
    let Some(after) = after else { return };
    thread::spawn(move || {
        thread::sleep(after);
        log::line(format!("crashing with 1 after {} ms, because CRASH_AFTER_MS says so", after.as_millis()));
        std::process::exit(1);
    });
}
