//! Rules of environments.

use super::{Checker, strategy};
use crate::error::Fault;
use crate::model::{Environment, Validate};

const MAX_TARGETS: usize = 50;

impl Validate for Environment {
    fn faults(&self, path: &str, faults: &mut Vec<Fault>) {
        let mut check = Checker::new(path, faults);
        let mut targets = check.field("targets");
        targets.require(!self.targets.is_empty(), || "an environment needs at least one cluster".to_owned());
        targets.at_most(self.targets.len(), MAX_TARGETS, "targets");
        targets.unique("cluster", self.targets.iter().map(|target| &target.cluster));
        for (index, target) in self.targets.iter().enumerate() {
            let mut check = targets.item(index);
            check.field("min_instances").range(target.min_instances.into(), 1, 1000, "");
            check.field("max_instances").range(target.max_instances.into(), 1, 1000, "");
            check.field("min_instances").require(target.min_instances <= target.max_instances, || {
                format!("{} is more than the maximum {}", target.min_instances, target.max_instances)
            });
        }
        strategy::strategy(&mut check.field("strategy"), &self.strategy);
    }
}
