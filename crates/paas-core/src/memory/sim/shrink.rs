//! Makes a history that violates an invariant as short as it gets.

use super::history::{History, Setting};
use super::invariant::Violation;
use super::op::{Op, Trouble};

/// Leaves out ever smaller stretches of the history as long as the same invariant is violated, then takes troubles out of
/// what is left.
pub(super) fn shrink(
    setting: &Setting<'_>,
    mut ops: Vec<Op>,
    mut violation: Violation,
) -> (Vec<Op>, Violation) {
    let again = |ops: &[Op], wanted: &Violation| {
        History::run(setting, ops).violation.filter(|found| found.invariant == wanted.invariant)
    };
    let mut stretch = ops.len() / 2;
    while stretch > 0 {
        let mut start = 0;
        while start < ops.len() {
            let end = (start + stretch).min(ops.len());
            let shorter: Vec<Op> = ops[..start].iter().chain(&ops[end..]).cloned().collect();
            if let Some(found) = again(&shorter, &violation) {
                (ops, violation) = (shorter, found);
            } else {
                start = end;
            }
        }
        stretch /= 2;
    }
    for index in 0..ops.len() {
        if let Op::Reconcile { who, .. } = ops[index] {
            let mut simpler = ops.clone();
            simpler[index] = Op::Reconcile { who, lag: 0, trouble: Trouble::None };
            if let Some(found) = again(&simpler, &violation) {
                (ops, violation) = (simpler, found);
            }
        }
    }
    (ops, violation)
}
