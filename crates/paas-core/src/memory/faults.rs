//! Calls that fail, hang or are slow, by rule or by seed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Call, Interceptor};
use crate::error::{Error, ErrorKind, Result};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAction {
    /// It fails with this kind and has no effect.
    FailBefore(ErrorKind),
    /// It takes effect, and fails with this kind all the same: its answer was lost.
    FailAfter(ErrorKind),
    /// It never returns and has no effect.
    Hang,
    /// It takes so much longer.
    Delay(Duration),
}

/// Faults for the calls of any number of ports.
///
/// A rule names an operation (`runtime.scale`), a whole port (`runtime`) or everything (`*`), the number of
/// matching calls that it lets pass first, and how many it strikes. The first rule that strikes decides; without one a
/// seed may decide.
#[derive(Debug, Default)]
pub struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seeded: Option<Seeded>,
    /// Calls that shall fail in `after`, decided in `before`.
    owed: Vec<(Call, ErrorKind)>,
    struck: u64,
}

#[derive(Debug)]
struct Rule {
    pattern: String,
    skip: u64,
    times: u64,
    action: FaultAction,
}

#[derive(Debug)]
struct Seeded {
    state: u64,
    permille: u64,
}

impl Seeded {
    /// `SplitMix64` (Steele, Lea, Flood 2014): a bijective mix of a counter, enough for choosing faults.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Faults {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Random faults in `permille` of a thousand calls, the same ones for the same seed and order of calls: half of
    /// them fail before, a quarter after they took effect, a quarter are up to a second late.
    pub fn seeded(seed: u64, permille: u64) -> Self {
        let faults = Self::default();
        faults.lock().seeded = Some(Seeded { state: seed, permille });
        faults
    }

    /// Strikes every call that matches `pattern` until [`Faults::clear`].
    pub fn always(&self, pattern: &str, action: FaultAction) {
        self.nth(pattern, 0, u64::MAX, action);
    }

    /// Lets `skip` calls that match `pattern` pass, then strikes `times` of them.
    pub fn nth(&self, pattern: &str, skip: u64, times: u64, action: FaultAction) {
        self.lock().rules.push(Rule { pattern: pattern.to_owned(), skip, times, action });
    }

    /// Ends all faults, those of the seed included.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.rules.clear();
        state.seeded = None;
    }

    /// How many calls were struck.
    pub fn struck(&self) -> u64 {
        self.lock().struck
    }

    fn decide(&self, call: &Call) -> Option<FaultAction> {
        let mut state = self.lock();
        // A call that failed by itself never reached `after`; its successor owes nothing.
        state.owed.retain(|(owed, _)| owed != call);
        let mut chosen = None;
        for rule in &mut state.rules {
            if !matches(&rule.pattern, call) || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            chosen = Some(rule.action);
            break;
        }
        if chosen.is_none()
            && let Some(seeded) = &mut state.seeded
            && seeded.next() % 1000 < seeded.permille
        {
            chosen = Some(match seeded.next() % 4 {
                0 | 1 => FaultAction::FailBefore(ErrorKind::Unavailable),
                2 => FaultAction::FailAfter(ErrorKind::Unavailable),
                _ => FaultAction::Delay(Duration::from_millis(seeded.next() % 1000)),
            });
        }
        if let Some(action) = chosen {
            state.struck += 1;
            if let FaultAction::FailAfter(kind) = action {
                state.owed.push((call.clone(), kind));
            }
        }
        chosen
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn matches(pattern: &str, call: &Call) -> bool {
    match pattern.split_once('.') {
        Some((port, operation)) => port == call.port && operation == call.operation,
        None => pattern == "*" || pattern == call.port,
    }
}

fn injected(call: &Call, kind: ErrorKind) -> Error {
    Error::new(kind, format!("call {}.{}", call.port, call.operation))
        .with_context("object", &call.object)
        .with_source("a fault was injected")
}

#[async_trait]
impl Interceptor for Faults {
    async fn before(&self, call: &Call) -> Result<()> {
        match self.decide(call) {
            Some(FaultAction::FailBefore(kind)) => Err(injected(call, kind)),
            Some(FaultAction::Hang) => std::future::pending().await,
            Some(FaultAction::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            Some(FaultAction::FailAfter(_)) | None => Ok(()),
        }
    }

    async fn after(&self, call: &Call) -> Result<()> {
        let mut state = self.lock();
        match state.owed.iter().position(|(owed, _)| owed == call) {
            Some(index) => Err(injected(call, state.owed.swap_remove(index).1)),
            None => Ok(()),
        }
    }
}
