//! Stateful components: their plans, and what a release cannot change of them.

use std::collections::BTreeSet;

use crate::error::Fault;
use crate::model::{Component, ComponentKind, Release, StrategySpec};
use crate::name::{ClusterName, VolumeName};
use crate::release::{Ordered, Plan, PlanError, Recreate, Seconds, Strategy as _, StrategyContext};

/// The way there and the way back: ordinal by ordinal, or all at once where no two versions may run. Surge and
/// unavailability that `rolling` declares are for components without ordinals.
pub(super) fn plans(context: &StrategyContext, declared: &StrategySpec) -> Result<(Plan, Plan), PlanError> {
    match declared {
        StrategySpec::Rolling { batches, pause_seconds, .. } => {
            let ordered = Ordered { batches: batches.clone(), pause: Seconds(*pause_seconds) };
            Ok((ordered.compile(context)?, Ordered::default().compile(context)?))
        }
        StrategySpec::Recreate { .. } => {
            let all = Recreate {}.compile(&StrategyContext { keep_aborted: Seconds::ZERO, ..*context })?;
            let all = Plan { ordered: true, ..all };
            Ok((all.clone(), all))
        }
    }
}

/// That a cluster has no ordered sets.
pub(super) fn refused(path: &str, cluster: &ClusterName) -> Fault {
    let message = format!(
        "cluster {cluster} cannot run stateful components; use another cluster, or a service or worker whose instances \
         need no identity"
    );
    Fault::new(format!("{path}.kind"), message)
}

/// What cannot change while a component keeps its name: whether its instances have ordinals, and which volumes belong to
/// those. Both would leave data behind that nobody asked to give up.
pub(super) fn changed(path: &str, component: &Component, current: &Release) -> Option<Fault> {
    let before = current.version.spec.components.iter().find(|it| it.name == component.name)?;
    let is_stateful = |component: &Component| component.kind == ComponentKind::Stateful;
    if is_stateful(before) != is_stateful(component) {
        let message =
            "a component becomes stateful, or ceases to be, only under another name: its volumes do not move";
        return Some(Fault::new(format!("{path}.kind"), message));
    }
    let names = |component: &Component| -> BTreeSet<VolumeName> {
        component.volumes.iter().map(|volume| volume.name.clone()).collect()
    };
    let (was, is) = (names(before), names(component));
    if is_stateful(component) && was != is {
        let told = if was.is_empty() {
            "none".to_owned()
        } else {
            was.iter().map(VolumeName::as_str).collect::<Vec<_>>().join(", ")
        };
        let message = format!(
            "the volumes of a stateful component stay as they were made, and it has {told}; use another name for a \
             component with other volumes"
        );
        return Some(Fault::new(format!("{path}.volumes"), message));
    }
    None
}
