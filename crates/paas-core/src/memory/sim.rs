//! A simulated cluster that walks the release machine through made-up histories, and checks every invariant after every
//! action.
//!
//! A history is a sequence of deploys of good and bad versions, restarts, scalings, aborts, rollbacks, pauses, stops, deletions,
//! deaths of instances, refused quotas, slow routers, old views, lost writes, and deaths of the controller between any two
//! of its writes. At its end nothing goes wrong any more, and everything has to come to rest. Histories are made from one
//! seed; a violation is answered with that seed and the shortest history that still shows it.
//!
//! An embedder tests a strategy of their own with it:
//!
//! ```
//! use std::sync::Arc;
//! use paas_core::memory::sim::Simulation;
//! use paas_core::release::RollingByBatches;
//!
//! let report = Simulation::new(7).with_histories(50).with_strategy(Arc::new(RollingByBatches::default())).run();
//! assert!(report.failure.is_none(), "{report}");
//! ```

mod cluster;
mod coverage;
mod history;
mod invariant;
mod op;
mod rng;
mod shrink;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Timestamp;

use crate::model::Amount;
use crate::release::{
    Bake, Command, Decision, Event, Mode, Ordered, Plan, Reach, Recreate, Refused, RollbackJump,
    RollingByBatches, RunOnce, Seconds, Share, Step, StepHold, Strategy, StrategyContext, TakeNote,
    TrackState, World,
};

pub use coverage::{Coverage, FaultKind, PhaseKind};
pub use invariant::{Invariant, Violation};

use history::{History, Outcome, Setting};
use rng::Rng;

/// What is simulated: the release machine, or something in its place that ought to be caught.
pub trait Subject: Send + Sync {
    /// In the place of [`next`](crate::release::next).
    fn next(&self, state: &TrackState, world: &World, now: Timestamp) -> Decision {
        crate::release::next(state, world, now)
    }

    /// In the place of [`TrackState::apply`].
    ///
    /// # Errors
    /// As there.
    fn apply(
        &self,
        state: &TrackState,
        command: &Command,
        now: Timestamp,
    ) -> Result<(TrackState, Vec<Event>), Refused> {
        state.apply(command, now)
    }
}

/// The release machine as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReleaseMachine;

impl Subject for ReleaseMachine {}

/// A run of many histories.
pub struct Simulation {
    seed: u64,
    histories: u64,
    threads: usize,
    subject: Arc<dyn Subject>,
    strategies: Vec<Arc<dyn Strategy>>,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("histories", &self.histories)
            .field("strategies", &self.strategies)
            .finish_non_exhaustive()
    }
}

/// What a run of histories found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The histories that were walked through.
    pub histories: u64,
    /// The median of their actions, without those of the coming to rest.
    pub median_actions: usize,
    /// Which faults struck where.
    pub coverage: Coverage,
    /// The first violation, by seed, if there was any.
    pub failure: Option<Failure>,
}

/// A violated invariant, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed of the history.
    pub seed: u64,
    /// What was violated.
    pub violation: Violation,
    /// The shortest history found that still violates it.
    pub history: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        writeln!(f, "seen again with PAAS_SIM_SEED={} PAAS_SIM_HISTORIES=1; shortened:", self.seed)?;
        for op in &self.history {
            writeln!(f, "  {op}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} histories with {} actions at the median", self.histories, self.median_actions)?;
        writeln!(f, "{}", self.coverage)?;
        if let Some(failure) = &self.failure {
            write!(f, "{failure}")?;
        }
        Ok(())
    }
}

impl Simulation {
    /// A run of 1,000 histories from this seed, with the built-in strategies.
    pub fn new(seed: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { seed, histories: 1_000, threads, subject: Arc::new(ReleaseMachine), strategies: Vec::new() }
    }

    /// The same, with the seed and the number of histories that `PAAS_SIM_SEED` and `PAAS_SIM_HISTORIES` say, where they
    /// do.
    #[must_use]
    pub fn from_env(mut self) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
        self.seed = number("PAAS_SIM_SEED").unwrap_or(self.seed);
        self.histories = number("PAAS_SIM_HISTORIES").unwrap_or(self.histories);
        self
    }

    /// With so many histories.
    #[must_use]
    pub fn with_histories(mut self, histories: u64) -> Self {
        self.histories = histories;
        self
    }

    /// With this strategy, and others added so, in the place of the built-in ones. Plans are all ordered or none is.
    #[must_use]
    pub fn with_strategy(mut self, strategy: Arc<dyn Strategy>) -> Self {
        self.strategies.push(strategy);
        self
    }

    /// With something in the place of the release machine.
    #[must_use]
    pub fn with_subject(mut self, subject: Arc<dyn Subject>) -> Self {
        self.subject = subject;
        self
    }

    /// Walks through all histories, on all processors, or up to the first violation.
    pub fn run(&self) -> Report {
        let settings: Vec<Setting<'_>> = Kind::ALL.into_iter().map(|kind| self.setting(kind)).collect();
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let parts: Vec<Part> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.threads).map(|_| scope.spawn(|| self.work(&settings, &next, &stop))).collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
        });
        let mut coverage = Coverage::default();
        let mut actions: Vec<usize> = Vec::new();
        let mut failed: Option<(u64, Violation)> = None;
        for part in parts {
            coverage.merge(&part.coverage);
            actions.extend(part.actions);
            if let Some(found) = part.failed
                && failed.as_ref().is_none_or(|(seed, _)| found.0 < *seed)
            {
                failed = Some(found);
            }
        }
        actions.sort_unstable();
        let failure = failed.map(|(seed, violation)| Self::shrunk(&settings, seed, violation));
        Report {
            histories: actions.len() as u64,
            median_actions: actions.get(actions.len() / 2).copied().unwrap_or(0),
            coverage,
            failure,
        }
    }

    fn work(&self, settings: &[Setting<'_>], next: &AtomicU64, stop: &AtomicBool) -> Part {
        let mut part = Part::default();
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= self.histories {
                break;
            }
            let seed = self.seed.wrapping_add(index);
            let (setting, ops) = made_up(settings, seed);
            let Outcome { violation, coverage, actions } = History::run(setting, &ops);
            part.coverage.merge(&coverage);
            part.actions.push(actions);
            if let Some(violation) = violation {
                stop.store(true, Ordering::Relaxed);
                part.failed = Some((seed, violation));
            }
        }
        part
    }

    fn shrunk(settings: &[Setting<'_>], seed: u64, violation: Violation) -> Failure {
        let (setting, ops) = made_up(settings, seed);
        let (ops, violation) = shrink::shrink(setting, ops, violation);
        Failure { seed, violation, history: ops.iter().map(|op| format!("{op:?}")).collect() }
    }

    fn setting(&self, kind: Kind) -> Setting<'_> {
        let context = StrategyContext::new(kind == Kind::Service);
        let plans = if self.strategies.is_empty() {
            built_in(kind, &context)
        } else {
            self.strategies.iter().filter_map(|strategy| strategy.compile(&context).ok()).collect()
        };
        let note = TakeNote {}.compile(&context).unwrap_or_else(|_| Plan::new("note", context.traffic));
        let back = if plans.iter().any(|plan| plan.ordered) {
            Ordered::default().compile(&context)
        } else {
            RollbackJump::default().compile(&context)
        };
        let back = back.unwrap_or_else(|_| note.clone());
        Setting {
            subject: self.subject.as_ref(),
            back: if plans.iter().any(|plan| plan.mode == Mode::Run) { note.clone() } else { back },
            plans,
            removal: note,
        }
    }
}

#[derive(Default)]
struct Part {
    coverage: Coverage,
    actions: Vec<usize>,
    failed: Option<(u64, Violation)>,
}

/// What kind of component a history is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Service,
    Worker,
    Job,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Service, Self::Worker, Self::Job];
}

/// The history of a seed.
fn made_up<'s, 'a>(settings: &'s [Setting<'a>], seed: u64) -> (&'s Setting<'a>, Vec<op::Op>) {
    let mut rng = Rng::new(seed);
    let kind = match rng.below(20) {
        0..=12 => 0,
        13..=18 => 1,
        _ => 2,
    };
    let setting = &settings[kind.min(settings.len() - 1)];
    let length = 30 + rng.below(50) as usize;
    let ops = op::history(&mut rng, length);
    (setting, ops)
}

/// Plans of the built-in strategies with many parameters, and steps with bakes and approvals.
fn built_in(kind: Kind, context: &StrategyContext) -> Vec<Plan> {
    if kind == Kind::Job {
        return RunOnce::default().compile(context).into_iter().collect();
    }
    let percent = |text: &str| text.parse().unwrap_or(Amount::Count(1));
    let batches = vec![Amount::Count(1), percent("30%")];
    let rolling = [
        RollingByBatches::default(),
        RollingByBatches { batches: batches.clone(), pause: Seconds(60), ..Default::default() },
        RollingByBatches { max_surge: Amount::ZERO, max_unavailable: Amount::Count(1), ..Default::default() },
        RollingByBatches {
            batches,
            max_surge: Amount::ZERO,
            max_unavailable: percent("40%"),
            ..Default::default()
        },
        RollingByBatches { max_surge: percent("50%"), warm_window: Seconds(120), ..Default::default() },
        RollingByBatches {
            max_surge: Amount::Count(2),
            max_unavailable: Amount::Count(1),
            ..Default::default()
        },
        RollingByBatches { max_surge: percent("100%"), ..Default::default() },
    ];
    let mut plans: Vec<Plan> = rolling.iter().filter_map(|rolling| rolling.compile(context).ok()).collect();
    plans.extend(Recreate {}.compile(context));
    plans.extend(RollbackJump { warm_window: Seconds(300), ..Default::default() }.compile(context));
    if let Some(first) = plans.first().cloned() {
        plans.push(Plan { abort_on_deadline: false, min_ready: Seconds(3), ..first.clone() });
        plans.push(Plan { keep_aborted: Seconds::ZERO, total_weight: 100, ..first.clone() });
        let step = |reach, bake, hold| Step { reach, share: Share::ByCapacity, bake, hold };
        let judged = Some(Bake { judge: "errors".to_owned() });
        let half = Reach::Batches(vec![percent("50%")]);
        plans.push(Plan {
            steps: vec![
                step(half, judged.clone(), Some(StepHold::Approval("go".to_owned()))),
                step(Reach::All, judged, None),
            ],
            ..first
        });
    }
    debug_assert!(plans.iter().all(|plan| plan.validate().is_ok() && plan.mode != Mode::Run));
    plans
}
