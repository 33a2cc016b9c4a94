//! Rules of strategies.

use super::Checker;
use crate::error::Fault;
use crate::model::{Amount, StrategySpec, Validate};

const MAX_BATCHES: usize = 100;
const DAY: u64 = 86_400;

impl Validate for StrategySpec {
    fn faults(&self, path: &str, faults: &mut Vec<Fault>) {
        strategy(&mut Checker::new(path, faults), self);
    }
}

pub(super) fn strategy(check: &mut Checker<'_>, spec: &StrategySpec) {
    let (deadline, min_ready) = match spec {
        StrategySpec::Rolling {
            batches,
            pause_seconds,
            progress_deadline_seconds,
            min_ready_seconds,
            ..
        } => {
            let mut list = check.field("batches");
            list.at_most(batches.len(), MAX_BATCHES, "batches");
            for (index, batch) in batches.iter().enumerate() {
                let empty = match batch {
                    Amount::Count(count) => *count == 0,
                    Amount::Percent(percent) => percent.get() == 0,
                };
                list.item(index).require(!empty, || "a batch of nothing; write at least 1 or 1%".to_owned());
            }
            check.field("pause_seconds").range(u64::from(*pause_seconds), 0, DAY, " s");
            (*progress_deadline_seconds, *min_ready_seconds)
        }
        StrategySpec::Recreate { progress_deadline_seconds, min_ready_seconds } => {
            (*progress_deadline_seconds, *min_ready_seconds)
        }
    };
    check.field("progress_deadline_seconds").range(deadline.into(), 1, 7 * DAY, " s");
    check.field("min_ready_seconds").require(min_ready < deadline, || {
        format!("{min_ready} s is not less than the progress deadline of {deadline} s, so that no release could succeed")
    });
}
