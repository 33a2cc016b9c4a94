//! The invariants of tracks whose instances have ordinals.

use super::{Checked, Cluster, Invariant, Sight, ensure, is_missed_by_nobody, plan};
use crate::memory::sim::cluster::Set;
use crate::model::RevisionId;
use crate::port::Ordinals;
use crate::release::{Act, TrackState};

/// How many of these ordinals are below the declared count.
pub(super) fn below(ordinals: &[u32], n: u32) -> u32 {
    u32::try_from(ordinals.iter().filter(|ordinal| **ordinal < n).count()).unwrap_or(u32::MAX)
}

/// No two instances run with the same ordinal.
pub(in crate::memory::sim) fn check_running(cluster: &Cluster) -> Checked {
    let twice: Vec<u32> =
        cluster.running().into_iter().filter(|(_, count)| *count > 1).map(|(ordinal, _)| ordinal).collect();
    ensure(!cluster.ordered || twice.is_empty(), Invariant::OrdinalOnce, || {
        format!("{twice:?} run twice in {:?}", cluster.sets)
    })
}

/// How many instances are exchanged: on the way back those that were there when it began, for what is declared beyond them
/// comes when it has ended.
pub(super) fn taking_part(used: &TrackState, told: impl Fn(&RevisionId) -> Option<Ordinals>) -> u32 {
    let n = used.effective_count();
    let Some(rollout) = used.rollout.as_ref().filter(|it| it.plan.ordered && used.phase.is_back()) else {
        return n;
    };
    let told = rollout.target().and_then(told).filter(|told| told.count > 0);
    told.map_or(n, |told| n.min(told.end()))
}

/// No two sets are told the same ordinal; and of what is declared, a write leaves as many ready as must stay. Which instance
/// goes is what the ordinals say, so one of those that stay may be unready without any fault of the write.
pub(super) fn check_write(cluster: &Cluster, act: &Act, used: &TrackState, seen: Sight) -> Checked {
    let (Act::Scale { revision, count, first } | Act::Ensure { revision, count, first }) = act else {
        return Ok(());
    };
    let told = Ordinals { first: *first, count: *count };
    let others = || cluster.sets.iter().filter(|(other, _)| *other != revision);
    for (other, set) in others() {
        let shared = told.iter().find(|ordinal| set.ordinals().contains(*ordinal));
        ensure(shared.is_none(), Invariant::OrdinalOnce, || {
            format!("{revision} is told {told}, and {other} has {} in {}", set.ordinals(), used.phase)
        })?;
    }
    let n = taking_part(used, |id| cluster.sets.get(id).map(Set::ordinals));
    let Some(set) = cluster.sets.get(revision) else { return Ok(()) };
    let takes = set.ready_ordinals().any(|ordinal| ordinal < n && !told.contains(ordinal));
    if !takes || used.phase.is_leaving() || used.stable.is_none() {
        return Ok(());
    }
    if is_missed_by_nobody(cluster, used, revision) {
        return Ok(());
    }
    let elsewhere: Vec<u32> = others().flat_map(|(_, set)| set.ready_ordinals()).collect();
    let stay: Vec<u32> = told.iter().chain(elsewhere).collect();
    let (left, lost) = (below(&stay, n), cluster.losses - seen.losses);
    let floor = plan(used).map_or(n, |plan| plan.margins(n).floor(n));
    ensure(left + lost >= floor.min(seen.ready), Invariant::ReadyFloor, || {
        format!(
            "{revision} from {} to {told} leaves {left} ready, {lost} lost meanwhile, and {floor} must stay in {}",
            set.ordinals(),
            used.phase
        )
    })
}
