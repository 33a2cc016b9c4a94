//! Which faults struck in which phases.

use std::collections::BTreeMap;
use std::fmt;

use crate::release::{AbortStage, Phase, Stage};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Ready instances died.
    Killed,
    /// A raise was refused for want of quota.
    Refused,
    /// The router took its time to confirm.
    RouterLag,
    /// The decision was asked for on an old view.
    StaleView,
    /// A write did not arrive.
    LostWrite,
    /// A write arrived, and its answer did not.
    LostAnswer,
    /// The process died before it stored its decision.
    DiedBeforeStore,
    /// The process died between storing its decision and carrying it out, or between two acts.
    DiedBeforeAct,
    /// A controller stood still while another one led, and its late write was fenced.
    Fenced,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Killed,
        Self::Refused,
        Self::RouterLag,
        Self::StaleView,
        Self::LostWrite,
        Self::LostAnswer,
        Self::DiedBeforeStore,
        Self::DiedBeforeAct,
        Self::Fenced,
    ];
}

/// A phase without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhaseKind(pub &'static str);

impl PhaseKind {
    /// Every phase in which a track can be found stored, but for those that it leaves for good.
    pub const ALL: [Self; 24] = [
        Self("Idle"),
        Self("Preparing"),
        Self("Step.Scale"),
        Self("Step.Ready"),
        Self("Step.Shift"),
        Self("Step.Confirm"),
        Self("Step.Shrink"),
        Self("Step.Bake"),
        Self("Step.Hold"),
        Self("Promoting"),
        Self("Draining"),
        Self("Succeeded"),
        Self("Aborting.RestoreCapacity"),
        Self("Aborting.ShiftBack"),
        Self("Aborting.Confirm"),
        Self("Aborting.Delay"),
        Self("Aborting.Shrink"),
        Self("Aborted"),
        Self("Yielding.RestoreCapacity"),
        Self("Yielding.ShiftBack"),
        Self("Yielding.Confirm"),
        Self("Yielding.Shrink"),
        Self("Stalled"),
        Self("Detaching"),
    ];

    /// The kind of a phase; nothing for those that are never stored or never left.
    pub fn of(phase: Phase) -> Option<Self> {
        let name = match phase {
            Phase::Idle => "Idle",
            Phase::Preparing => "Preparing",
            Phase::Step { stage, .. } => match stage {
                Stage::Scale => "Step.Scale",
                Stage::Ready => "Step.Ready",
                Stage::Shift => "Step.Shift",
                Stage::Confirm => "Step.Confirm",
                Stage::Shrink => "Step.Shrink",
                Stage::Bake => "Step.Bake",
                Stage::Hold => "Step.Hold",
            },
            Phase::Promoting => "Promoting",
            Phase::Draining => "Draining",
            Phase::Succeeded => "Succeeded",
            Phase::Aborting(AbortStage::RestoreCapacity) => "Aborting.RestoreCapacity",
            Phase::Aborting(AbortStage::ShiftBack) => "Aborting.ShiftBack",
            Phase::Aborting(AbortStage::Confirm) => "Aborting.Confirm",
            Phase::Aborting(AbortStage::Delay) => "Aborting.Delay",
            Phase::Aborting(AbortStage::Shrink) => "Aborting.Shrink",
            Phase::Aborted => "Aborted",
            Phase::Yielding(AbortStage::RestoreCapacity) => "Yielding.RestoreCapacity",
            Phase::Yielding(AbortStage::ShiftBack) => "Yielding.ShiftBack",
            Phase::Yielding(AbortStage::Confirm) => "Yielding.Confirm",
            Phase::Yielding(AbortStage::Shrink) => "Yielding.Shrink",
            Phase::Stalled { .. } => "Stalled",
            Phase::Detaching => "Detaching",
            _ => return None,
        };
        Some(Self(name))
    }

    /// Why this fault cannot strike in this phase, if it cannot.
    pub fn excludes(self, fault: FaultKind) -> Option<&'static str> {
        match fault {
            _ if self.0 == "Idle" => Some("nothing runs and nothing is written before the first rollout"),
            FaultKind::Refused if self.never_raises() => Some("no instance is raised in this phase"),
            FaultKind::RouterLag if self.0 == "Step.Shrink" => {
                Some("a step takes instances away only after the router has confirmed")
            }
            FaultKind::LostWrite | FaultKind::LostAnswer | FaultKind::DiedBeforeAct if self.only_waits() => {
                Some("this phase waits for the router and writes nothing")
            }
            _ => None,
        }
    }

    fn only_waits(self) -> bool {
        matches!(self.0, "Step.Confirm" | "Aborting.Confirm" | "Yielding.Confirm")
    }

    /// Phases whose decisions, once made, are about something else than raising counts.
    fn never_raises(self) -> bool {
        matches!(
            self.0,
            "Step.Shift"
                | "Step.Confirm"
                | "Aborting.ShiftBack"
                | "Aborting.Confirm"
                | "Yielding.ShiftBack"
                | "Yielding.Confirm"
                | "Yielding.Shrink"
                | "Detaching"
        )
    }
}

/// How often each kind of fault struck in each kind of phase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    cells: BTreeMap<(PhaseKind, FaultKind), u64>,
}

impl Coverage {
    pub(super) fn record(&mut self, phase: Phase, fault: FaultKind) {
        if let Some(kind) = PhaseKind::of(phase) {
            *self.cells.entry((kind, fault)).or_default() += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (cell, times) in &other.cells {
            *self.cells.entry(*cell).or_default() += times;
        }
    }

    /// How often this fault struck in this phase.
    pub fn times(&self, phase: PhaseKind, fault: FaultKind) -> u64 {
        self.cells.get(&(phase, fault)).copied().unwrap_or(0)
    }

    /// The cells that could have been filled and were not.
    pub fn empty_cells(&self) -> Vec<(PhaseKind, FaultKind)> {
        let all = PhaseKind::ALL.into_iter().flat_map(|phase| FaultKind::ALL.map(|fault| (phase, fault)));
        all.filter(|(phase, fault)| phase.excludes(*fault).is_none() && self.times(*phase, *fault) == 0)
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<25}", "")?;
        for fault in FaultKind::ALL {
            write!(f, "{:>16}", format!("{fault:?}"))?;
        }
        for phase in PhaseKind::ALL {
            write!(f, "\n{:<25}", phase.0)?;
            for fault in FaultKind::ALL {
                let times = self.times(phase, fault);
                let cell = if times == 0 && phase.excludes(fault).is_some() {
                    "-".to_owned()
                } else {
                    times.to_string()
                };
                write!(f, "{cell:>16}")?;
            }
        }
        Ok(())
    }
}
