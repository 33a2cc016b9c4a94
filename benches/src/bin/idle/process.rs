//! A controller that is measured: its process, and the proxy that counts what it asks of the API server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use paas_api_proxy::{Proxy, Verb};
use paas_benches::{cpu_time, resident_kilobytes};
use tokio::time::{Instant, sleep};

/// How often it is looked at.
const TICK: Duration = Duration::from_millis(200);
/// More than this share of a processor is work.
const SHARE: u32 = 20;
/// Whoever has not worked for so long is idle.
const REST: Duration = Duration::from_secs(10);
/// The resource by which servers say that they live.
const LEASES: &str = "leases";

/// Calls by what they do and to which resource.
pub type Calls = BTreeMap<(Verb, String), u64>;

/// A process and what lies between it and the API server.
#[derive(Clone, Copy)]
pub struct Controller<'a> {
    pub process: u32,
    pub proxy: &'a Proxy,
}

/// What was used for a time.
#[derive(Debug, Default)]
pub struct Usage {
    pub took: Duration,
    pub calls: Calls,
    pub cpu: Duration,
    /// Memory at the end, and the most until then, in kilobytes.
    pub resident: u64,
    pub peak: u64,
}

impl Controller<'_> {
    fn folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.process))
    }

    fn cpu(&self) -> Result<Duration> {
        cpu_time(&self.folder()).with_context(|| format!("the process {} has ended", self.process))
    }

    /// Waits until it has asked for a resource, and neither asks nor works any more. Its processor time is that since its start,
    /// its calls are those since the last look at the proxy; the time ends with the last work.
    pub async fn settle(&self, since: Instant, bound: Duration, resource: &str) -> Result<Usage> {
        let mut calls = self.proxy.take_calls();
        // One that waits for a lease does nothing yet.
        let has_begun = |calls: &Calls| calls.keys().any(|(verb, of)| !verb.writes() && of == resource);
        let (mut busy, mut cpu) = (Instant::now(), self.cpu()?);
        while busy.elapsed() < REST || !has_begun(&calls) {
            ensure!(
                since.elapsed() < bound,
                "it still works after {bound:?}: its last calls are {:?}",
                self.proxy.take_calls()
            );
            sleep(TICK).await;
            let (now, new) = (self.cpu()?, self.proxy.take_calls());
            let asks = new.keys().any(|(_, resource)| resource != LEASES);
            if asks || now.saturating_sub(cpu) > TICK / SHARE {
                busy = Instant::now();
            }
            cpu = now;
            add(&mut calls, new);
        }
        self.used(busy - since, calls, cpu)
    }

    /// Looks on for a time.
    pub async fn watch(&self, time: Duration) -> Result<Usage> {
        drop((self.proxy.take_calls(), self.proxy.take_writes()));
        let (begin, cpu) = (Instant::now(), self.cpu()?);
        sleep(time).await;
        let used = self.cpu()?.saturating_sub(cpu);
        let writes = self.proxy.take_writes();
        for (write, status) in writes.iter().filter(|(write, _)| write.resource != LEASES) {
            eprintln!("    written while idle: {write} ({status})");
        }
        self.used(begin.elapsed(), self.proxy.take_calls(), used)
    }

    fn used(&self, took: Duration, calls: Calls, cpu: Duration) -> Result<Usage> {
        let memory = resident_kilobytes(&self.folder());
        let (resident, peak) = memory.with_context(|| format!("the process {} has ended", self.process))?;
        Ok(Usage { took, calls, cpu, resident, peak })
    }
}

fn add(to: &mut Calls, more: Calls) {
    for (call, times) in more {
        *to.entry(call).or_default() += times;
    }
}

impl Usage {
    /// Something in a minute.
    fn per_minute(&self, amount: f64) -> f64 {
        amount * 60.0 / self.took.as_secs_f64()
    }

    /// Writes, leases aside.
    pub fn writes(&self) -> u64 {
        self.count(|verb, resource| verb.writes() && resource != LEASES)
    }

    /// Writes of leases.
    pub fn lease_writes(&self) -> u64 {
        self.count(|verb, resource| verb.writes() && resource == LEASES)
    }

    /// Everything else, watches that began included.
    pub fn reads(&self) -> u64 {
        self.count(|verb, _| !verb.writes())
    }

    fn count(&self, counts: impl Fn(Verb, &str) -> bool) -> u64 {
        self.calls
            .iter()
            .filter(|((verb, resource), _)| counts(*verb, resource))
            .map(|(_, times)| times)
            .sum()
    }

    /// So many calls, as a number in a minute.
    #[expect(clippy::cast_precision_loss, reason = "calls of some minutes are far below 2^52")]
    pub fn rate(&self, calls: u64) -> String {
        let rate = self.per_minute(calls as f64);
        if rate == 0.0 || rate >= 10.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }
    }

    /// Processor time in a minute, in milliseconds.
    pub fn cpu_rate(&self) -> String {
        format!("{:.0} ms", self.per_minute(self.cpu.as_secs_f64() * 1000.0))
    }

    /// The calls in words.
    pub fn told(&self) -> String {
        let calls = self.calls.iter().map(|((verb, resource), times)| {
            let resource = if resource.is_empty() { "(no resource)" } else { resource };
            format!("{times} {} {resource}", format!("{verb:?}").to_lowercase())
        });
        let calls: Vec<String> = calls.collect();
        if calls.is_empty() { "none".to_owned() } else { calls.join(", ") }
    }
}
