//! Plans: what every strategy compiles to, and all that the machine knows of strategies.

use serde::{Deserialize, Serialize};

use super::amount::Seconds;
use super::numbers::{DEFAULT_TOTAL_WEIGHT, MAX_TOTAL_WEIGHT, Margins};
use crate::model::Amount;

/// The version of the plan's form that this machine compiles and understands.
pub const PLAN_FORMAT: u32 = 1;

/// The compiled course of one track's rollout, stored with it: a later version of a strategy never changes a rollout
/// that is under way.
///
/// Made by a [`Strategy`](super::Strategy) and checked by [`Plan::validate`] before anything happens, so that a plan of
/// an embedder's own cannot break the machine's invariants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The form of this document, [`PLAN_FORMAT`].
    pub format: u32,
    /// The strategy's name, for people.
    pub strategy: String,
    /// How instances are exchanged.
    pub mode: Mode,
    /// Whether instances have ordinals, of which no two run at once: then none more than declared may run, and they are
    /// exchanged from the highest ordinal down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// The steps, in order; the last one reaches everything. Empty for a track that only takes note of a version.
    pub steps: Vec<Step>,
    /// Whether a router splits traffic between the revisions; without it there is nothing to shift or confirm.
    pub traffic: bool,
    /// The sum of the weights on the track's routes, at most [`MAX_TOTAL_WEIGHT`].
    pub total_weight: u32,
    /// How many instances more than declared may run meanwhile. Rounds up.
    pub max_surge: Amount,
    /// How many of the declared instances may be missing meanwhile. Rounds down.
    pub max_unavailable: Amount,
    /// How long an instance must have been ready before it counts.
    pub min_ready: Seconds,
    /// How long a phase may go without progress.
    pub progress_deadline: Seconds,
    /// Whether a missed deadline aborts; otherwise the track is [`Stalled`](super::Phase::Stalled).
    pub abort_on_deadline: bool,
    /// How long the old instances are kept after the commit, for a fast rollback.
    pub warm_window: Seconds,
    /// How long the new instances are kept after an abort, for an inquiry.
    pub keep_aborted: Seconds,
    /// Whether the track may be without a ready instance at some moment of this plan.
    pub may_interrupt: bool,
}

/// How a plan exchanges instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Old and new run side by side, within surge and unavailability.
    SideBySide,
    /// The old instances end, drained, before the first new one starts.
    Exclusive,
    /// One run to completion decides: start it, await its exit status.
    Run,
}

/// One step of a plan. Its stages have a fixed order: scale, ready, shift, confirm, shrink, bake, hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How many new instances there are when the step is done.
    pub reach: Reach,
    /// The share of traffic that the new revision has when the step is done.
    pub share: Share,
    /// A judgement that must pass before the step is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Bake>,
    /// What to wait for before the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<StepHold>,
}

/// How many instances of the new revision a step reaches, for today's declared count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// The sum of these batches: counts stay and cap at the declared count; a percentage rounds up, and below 100 %
    /// leaves at least one old instance, if the batches before it have left one. No batch reaches fewer than those before it.
    Batches(Vec<Amount>),
    /// All of them.
    All,
}

impl Reach {
    /// The count for `n` declared instances.
    pub fn of(&self, n: u32) -> u32 {
        match self {
            Self::All => n,
            Self::Batches(batches) => batches.iter().fold(0, |reached: u32, batch| {
                let most = if batch.is_partial_percentage() { n.saturating_sub(1) } else { n };
                reached.saturating_add(batch.ceil_of(n)).min(most).max(reached)
            }),
        }
    }
}

/// How a step shares traffic out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Share {
    /// In proportion to the instances of both revisions.
    ByCapacity,
}

/// A judgement on the new revision: it fires once per rollout, attempt and step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bake {
    /// What judges, in the embedder's own terms (a metric query, a hook's address).
    pub judge: String,
}

/// What a finished step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepHold {
    /// So much time.
    Pause(Seconds),
    /// An approval under this name.
    Approval(String),
}

/// Why a plan was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// It is of a form that this machine does not understand.
    #[error("plan has format {found}, and this machine understands {PLAN_FORMAT}")]
    Format {
        /// The form found.
        found: u32,
    },
    /// The sum of weights is out of bounds.
    #[error("plan has a total weight of {found}, and it must be from 1 to {MAX_TOTAL_WEIGHT}")]
    TotalWeight {
        /// The sum found.
        found: u32,
    },
    /// The last step does not reach every instance, so the plan would never end.
    #[error("the last step of the plan must reach all instances")]
    Unfinished,
    /// A step reaches less than the one before it.
    #[error("step {step} reaches fewer instances than the step before it")]
    Backward {
        /// The step's index, from 0.
        step: usize,
    },
    /// The plan may leave the track without a ready instance, and does not say so.
    #[error("plan can interrupt the component and does not say so")]
    Interrupts,
    /// A run to completion has exactly one step and no traffic.
    #[error("a run has one step and no traffic")]
    Run,
    /// An exchange without two versions at once cannot go step by step.
    #[error("a plan that never runs two versions at once has one step")]
    Exclusive,
    /// Two instances of an ordered track never have the same ordinal, so there is none for one more.
    #[error("an ordered plan cannot run more instances than are declared; its surge must be 0")]
    Ordered,
    /// The progress deadline is zero, so the rollout would end before it began.
    #[error("plan has no time to make progress")]
    Deadline,
}

impl Plan {
    /// A plan with the usual values and no steps yet: side by side, one instance of surge, none unavailable, ten
    /// minutes to make progress, abort on deadline, old instances removed at once, aborted ones after 30 seconds.
    pub fn new(strategy: impl Into<String>, traffic: bool) -> Self {
        Self {
            format: PLAN_FORMAT,
            strategy: strategy.into(),
            mode: Mode::SideBySide,
            ordered: false,
            steps: Vec::new(),
            traffic,
            total_weight: DEFAULT_TOTAL_WEIGHT,
            max_surge: Amount::Count(1),
            max_unavailable: Amount::ZERO,
            min_ready: Seconds::ZERO,
            progress_deadline: Seconds(600),
            abort_on_deadline: true,
            warm_window: Seconds::ZERO,
            keep_aborted: Seconds(30),
            may_interrupt: false,
        }
    }

    /// The margins for `n` declared instances.
    pub fn margins(&self, n: u32) -> Margins {
        if self.mode == Mode::Exclusive {
            return Margins { surge: 0, unavailable: n };
        }
        Margins::resolve(n, self.max_surge, self.max_unavailable)
    }

    /// The most instances that may run at once for `n` declared ones: what a quota reserves.
    pub fn peak(&self, n: u32) -> u32 {
        self.margins(n).ceiling(n)
    }

    /// The step at `index`.
    pub fn step(&self, index: usize) -> Option<&Step> {
        self.steps.get(index)
    }

    /// Checks all that the machine relies on.
    ///
    /// # Errors
    /// The first rule that the plan breaks.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.format != PLAN_FORMAT {
            return Err(PlanError::Format { found: self.format });
        }
        if self.total_weight == 0 || self.total_weight > MAX_TOTAL_WEIGHT {
            return Err(PlanError::TotalWeight { found: self.total_weight });
        }
        if self.progress_deadline == Seconds::ZERO {
            return Err(PlanError::Deadline);
        }
        if self.mode == Mode::Run && (self.traffic || self.steps.len() != 1) {
            return Err(PlanError::Run);
        }
        if self.mode == Mode::Exclusive && self.steps.len() != 1 {
            return Err(PlanError::Exclusive);
        }
        if self.ordered && self.mode == Mode::SideBySide && self.max_surge != Amount::ZERO {
            return Err(PlanError::Ordered);
        }
        if self.steps.last().is_some_and(|last| last.reach != Reach::All) {
            return Err(PlanError::Unfinished);
        }
        if let Some(step) = self.first_backward_step() {
            return Err(PlanError::Backward { step });
        }
        if !self.may_interrupt && !self.steps.is_empty() && self.can_interrupt() {
            return Err(PlanError::Interrupts);
        }
        Ok(())
    }

    /// Batches are cumulative, so each step's list must begin with the whole list of the step before.
    fn first_backward_step(&self) -> Option<usize> {
        self.steps
            .windows(2)
            .position(|pair| match (&pair[0].reach, &pair[1].reach) {
                (_, Reach::All) => false,
                (Reach::All, Reach::Batches(_)) => true,
                (Reach::Batches(before), Reach::Batches(after)) => !after.starts_with(before),
            })
            .map(|before| before + 1)
    }

    /// Whether the margins allow that no instance is ready, for some declared count.
    fn can_interrupt(&self) -> bool {
        match self.mode {
            Mode::Run => false,
            Mode::Exclusive => true,
            // One instance is the count at which any absolute unavailability takes everything.
            Mode::SideBySide => self.margins(1).floor(1) == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(batches: &[&str], n: u32) -> Vec<u32> {
        let batches: Vec<Amount> = batches.iter().map(|it| it.parse().unwrap()).collect();
        (1..=batches.len()).map(|count| Reach::Batches(batches[..count].to_vec()).of(n)).collect()
    }

    #[test]
    fn a_share_leaves_an_old_instance_and_takes_nothing_back() {
        assert_eq!(reached(&["1", "30%"], 10), [1, 4]);
        assert_eq!(reached(&["1", "30%"], 3), [1, 2]);
        assert_eq!(reached(&["1", "30%"], 2), [1, 1]);
        assert_eq!(reached(&["1", "30%"], 1), [1, 1], "the first batch was everything");
        assert_eq!(reached(&["30%", "99%"], 10), [3, 9]);
        assert_eq!(reached(&["30%", "100%"], 10), [3, 10]);
    }

    #[test]
    fn no_batch_reaches_fewer_than_those_before_it() {
        let amounts = ["0", "1", "3", "7", "0%", "1%", "30%", "99%", "100%"];
        for (first, second) in amounts.iter().flat_map(|first| amounts.map(|second| (*first, second))) {
            for third in amounts {
                for n in 0..12 {
                    let reached = reached(&[first, second, third], n);
                    assert!(
                        reached.is_sorted() && reached[2] <= n,
                        "{first}, {second}, {third} of {n}: {reached:?}"
                    );
                }
            }
        }
    }
}
