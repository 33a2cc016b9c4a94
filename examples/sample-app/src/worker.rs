//! The worker: a piece of work now and then, and a line about it.

use std::io;
use std::time::Instant;

use crate::client;
use crate::instance::Instance;
use crate::log;
use crate::signals::{StopSignal, Woken};

const LIMIT: usize = 20_000;

/// Works until asked to stop.
pub fn work(instance: &'static Instance, stop: &StopSignal) -> io::Result<()> {
    let settings = &instance.settings;
    log::line(format!("worker {} begins", settings.version));
    loop {
        let number = instance.count();
        let started = Instant::now();
        let found = primes_below(LIMIT);
        let took = started.elapsed().as_micros();
        log::line(format!("job {number}: {found} primes below {LIMIT} in {took} us{}", reported(instance)));
        if stop.wait(None, Some(settings.work_interval))? == Woken::Stop && !settings.ignore_sigterm {
            log::line(format!("stopped after {number} jobs"));
            return Ok(());
        }
    }
}

/// What the API says of the time, when the worker may call it.
fn reported(instance: &Instance) -> String {
    let Some(url) = &instance.settings.api_url else {
        return String::new();
    };
    match client::get(&format!("{url}/time")) {
        Ok(answer) => format!(", the API says {}", answer.body.trim_end()),
        Err(error) => format!(", {error}"),
    }
}

/// By the sieve of Eratosthenes.
fn primes_below(limit: usize) -> usize {
    let mut is_composite = vec![false; limit];
    let mut found = 0;
    for number in 2..limit {
        if !is_composite[number] {
            found += 1;
            for multiple in (number * number..limit).step_by(number) {
                is_composite[multiple] = true;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_primes_as_the_tables_say() {
        assert_eq!([10, 100, 20_000].map(primes_below), [4, 25, 2262]);
    }
}
