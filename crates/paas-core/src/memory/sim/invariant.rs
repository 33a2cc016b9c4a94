//! The invariants of the release engine as predicates. Each is checked after every action of every history.

pub(super) mod ordered;

use std::fmt;

use jiff::Timestamp;

use super::cluster::{Cluster, Seen};
use crate::model::RevisionId;
use crate::port::Ordinals;
use crate::release::numbers::carries;
use crate::release::{
    AbortReason, Act, Command, Decision, Event, Hold, Phase, Plan, Refused, RevisionView, Stage, TrackState,
    Weights, World,
};

/// An invariant of the release engine, by the number it has in the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// 1: enough instances stay ready after each of our writes.
    ReadyFloor,
    /// 2: at most one act of a decision disturbs.
    OneDisturbance,
    /// 3: a share goes to a revision with ready instances only.
    ShareNeedsReady,
    /// 4: no revision gets a larger share than its ready instances can carry.
    ShareFitsCapacity,
    /// 5: a side that loses gives up its share, confirmed, before its instances.
    ShiftBeforeShrink,
    /// 6: nothing is emptied or removed while a route still names it.
    NoNamedShrink,
    /// 7: the way back makes nothing new.
    BackMakesNothing,
    /// 8: abort with nothing active does nothing, and twice is once.
    AbortIdempotent,
    /// 9: an abort, and everything else, ends.
    Converges,
    /// 10: the baseline is the last committed version.
    Baseline,
    /// 11: a hold stops advancing, and only a pass advances beyond a bake.
    HoldsStopAdvancing,
    /// 12: a scale event changes counts only.
    ScaleChangesCounts,
    /// 13: the reported scale is the declared one.
    DeclaredScale,
    /// 14: the deadline runs only while progress is owed.
    DeadlineOwed,
    /// 15: what is over stays over.
    TerminalSticky,
    /// 16: what was there before is restored at the end, and nothing is left behind.
    Restored,
    /// 17: a revision that loses its share is named with zero.
    ExplicitZero,
    /// 19: no decision on a view older than one's own last write.
    FreshView,
    /// 20: converged means no write.
    ConvergedIsQuiet,
    /// 21: weights sum up to all or nothing.
    WeightsWhole,
    /// 22: what is in use has no deletion deadline and is not removed.
    ReadoptedStays,
    /// 23: a refusal is a named hold.
    RefusalIsHold,
    /// 25: what shall happen once is asked for once.
    FiresOnce,
    /// 27: no two instances of an ordered track have an ordinal at once, nor shall they.
    OrdinalOnce,
}

/// A violated invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {:?}: {}", self.invariant, self.seen)
    }
}

type Checked = Result<(), Violation>;

fn ensure(holds: bool, invariant: Invariant, seen: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { invariant, seen: seen() }) }
}

fn plan(state: &TrackState) -> Option<&Plan> {
    state.rollout.as_ref().map(|rollout| &rollout.plan)
}

fn floor(state: &TrackState) -> u32 {
    let n = state.effective_count();
    plan(state).map_or(n, |plan| plan.margins(n).floor(n))
}

/// What a decision was made of.
pub(super) struct Deciding<'a> {
    pub(super) before: &'a TrackState,
    pub(super) seen: &'a Seen,
    pub(super) decision: &'a Decision,
    pub(super) now: Timestamp,
    /// The latest write of this controller that it knows of.
    pub(super) own_write: u64,
    /// The committed version, as the events told.
    pub(super) committed: Option<&'a RevisionId>,
}

impl Deciding<'_> {
    fn world(&self) -> &World {
        &self.seen.world
    }

    fn after(&self) -> &TrackState {
        &self.decision.state
    }

    /// Ready instances of a revision that stay, by this view and these intents.
    fn ready(&self, id: &RevisionId) -> u32 {
        let intended = self.after().revisions.get(id).map_or(0, |revision| revision.desired);
        self.world().revision(id).map_or(0, RevisionView::ready).min(intended)
    }

    /// The fewest instances that must stay ready, of those that take part.
    fn floor(&self) -> u32 {
        let told = |id: &RevisionId| self.world().revision(id).map(RevisionView::ordinals);
        let n = ordered::taking_part(self.after(), told);
        plan(self.after()).map_or(n, |plan| plan.margins(n).floor(n))
    }

    pub(super) fn check(&self) -> Checked {
        if !self.decision.acts.is_empty() || self.after() != self.before {
            ensure(self.world().observed_at.0 >= self.own_write, Invariant::FreshView, || {
                format!("decided on view {} after write {}", self.world().observed_at.0, self.own_write)
            })?;
        }
        if self.world().observed_at < self.before.written {
            // Not decided upon: the answer is the state as it was, whatever this view says.
            return Ok(());
        }
        self.one_disturbance()?;
        for act in &self.decision.acts {
            match act {
                Act::Shift { weights } => self.shift(weights)?,
                Act::Scale { revision, count, .. } => self.lower(revision, *count)?,
                Act::Remove { revision } => self.remove(revision)?,
                Act::Ensure { revision, .. } => self.made(revision)?,
                Act::Run { key, .. } => {
                    ensure(self.world().run(key).is_none(), Invariant::FiresOnce, || {
                        format!("asked again for run {key}")
                    })?;
                }
                Act::Judge { key, .. } => {
                    ensure(self.world().verdict(key).is_none(), Invariant::FiresOnce, || {
                        format!("asked again for a verdict on {key}")
                    })?;
                }
                _ => {}
            }
        }
        self.holds()?;
        self.deadline()?;
        self.terminal()?;
        self.in_use()?;
        self.refusal()?;
        self.baseline()
    }

    fn one_disturbance(&self) -> Checked {
        let disturbing = self
            .decision
            .acts
            .iter()
            .filter(|act| match act {
                Act::Scale { revision, .. } | Act::Ensure { revision, .. } => act.is_disruptive(
                    self.world().revision(revision).map(RevisionView::ordinals).unwrap_or_default(),
                ),
                other => other.is_disruptive(Ordinals::default()),
            })
            .count();
        ensure(disturbing <= 1, Invariant::OneDisturbance, || format!("{:?}", self.decision.acts))
    }

    fn shift(&self, weights: &Weights) -> Checked {
        let total = plan(self.after()).map_or(0, |plan| plan.total_weight);
        ensure(weights.is_whole(total), Invariant::WeightsWhole, || format!("{weights:?} of {total}"))?;
        let written = self.world().routes.written.clone().unwrap_or_default();
        for id in written.shares.keys() {
            let exists = self.after().revisions.get(id).is_some_and(|revision| revision.desired > 0);
            ensure(weights.names(id) || !exists, Invariant::ExplicitZero, || {
                format!("{id} is dropped from {written:?} by {weights:?}")
            })?;
        }
        let all: u32 =
            weights.shares.iter().filter(|(_, share)| **share > 0).map(|(id, _)| self.ready(id)).sum();
        let mut load = self.floor().min(all);
        if plan(self.after()).is_some_and(|plan| plan.ordered) {
            let n = self.after().effective_count(); // what is beyond it is about to go
            load = load.min(ordered::below(&self.seen.ordinals, n));
        }
        for (id, weight) in &weights.shares {
            if *weight == 0 {
                continue;
            }
            if !written.is_out_of_service() && *weight <= written.scaled(id, total) {
                continue;
            }
            let ready = self.ready(id);
            ensure(ready > 0 || all == 0, Invariant::ShareNeedsReady, || {
                format!("{id} gets {weight} without a ready instance, by {:?}", self.world())
            })?;
            let others: Vec<&RevisionId> = written
                .shares
                .iter()
                .filter(|(other, share)| **share > 0 && *other != id)
                .map(|(id, _)| id)
                .collect();
            // Out of service, or a share on the dead: any live instance is better than none.
            let rescue = others.iter().any(|other| self.ready(other) == 0) || others.is_empty();
            ensure(rescue || carries(ready, *weight, total, load), Invariant::ShareFitsCapacity, || {
                format!("{id} with {ready} ready gets {weight} of {total} of the load of {load}")
            })?;
        }
        Ok(())
    }

    fn in_force(&self, id: &RevisionId) -> u32 {
        let routes = &self.world().routes;
        let total = plan(self.after()).map_or(0, |plan| plan.total_weight);
        let confirmed = routes.confirmed.as_ref().map_or(0, |weights| weights.scaled(id, total));
        routes.written.as_ref().map_or(0, |weights| weights.scaled(id, total)).max(confirmed)
    }

    fn lower(&self, id: &RevisionId, count: u32) -> Checked {
        let Some(view) = self.world().revision(id).filter(|view| count < view.desired) else { return Ok(()) };
        let weight = self.in_force(id);
        ensure(count > 0 || weight == 0, Invariant::NoNamedShrink, || {
            format!("{id} is emptied with a share of {weight}")
        })?;
        let before = view.ready().min(view.desired);
        let left = before.min(count);
        let total = plan(self.after()).map_or(0, |plan| plan.total_weight);
        let carrying = self.world().revisions.keys().filter(|id| self.in_force(id) > 0);
        let load = self.floor().min(carrying.map(|id| self.ready(id)).sum());
        ensure(left == before || carries(left, weight, total, load), Invariant::ShiftBeforeShrink, || {
            format!("{id} goes to {left} ready with a share of {weight} of {total} of the load of {load}")
        })
    }

    fn remove(&self, id: &RevisionId) -> Checked {
        let routes = &self.world().routes;
        let named =
            [&routes.written, &routes.confirmed].into_iter().flatten().any(|weights| weights.names(id));
        let empty = self.world().revision(id).is_none_or(RevisionView::is_empty);
        ensure(!named && empty, Invariant::NoNamedShrink, || {
            format!("{id} is removed, named: {named}, empty: {empty}")
        })?;
        let state = self.after();
        let stable = state.stable.as_ref().is_some_and(|stable| stable.revision == *id);
        let target = state.rollout.as_ref().and_then(|rollout| rollout.target());
        let wanted = stable || (state.phase.is_forward() && target == Some(id));
        ensure(!wanted, Invariant::ReadoptedStays, || format!("{id} is in use and removed"))
    }

    fn made(&self, id: &RevisionId) -> Checked {
        let stable = self.after().stable.as_ref().is_some_and(|stable| stable.revision == *id);
        ensure(!self.after().phase.is_back() || stable, Invariant::BackMakesNothing, || {
            format!("{id} is made in {}", self.after().phase)
        })
    }

    fn holds(&self) -> Checked {
        let (before, after) = (self.before, self.after());
        let held = before.holds.iter().any(|hold| after.holds.contains(hold));
        if !held {
            return self.bake();
        }
        let committed = self.decision.events.iter().any(|event| matches!(event, Event::Committed { .. }));
        let granted = matches!(
            before.rollout.as_ref().map(|rollout| rollout.commit),
            Some(crate::release::CommitMode::Lockstep { granted: true })
        );
        ensure(!committed || granted, Invariant::HoldsStopAdvancing, || {
            format!("committed although held by {:?}", before.holds)
        })?;
        if let (Phase::Step { index: from, stage: was }, Phase::Step { index: to, .. }) =
            (before.phase, after.phase)
        {
            ensure(from == to, Invariant::HoldsStopAdvancing, || {
                format!("from step {from} to {to} although held")
            })?;
            let written = self.world().routes.written.as_ref();
            let target = after.rollout.as_ref().and_then(|rollout| rollout.target());
            if let (Some(written), Some(target)) = (written, target) {
                let rises = after.weight_of(target) > written.of(target) && !written.is_out_of_service();
                ensure(was.is_settled() || !rises, Invariant::HoldsStopAdvancing, || {
                    format!(
                        "the share of {target} rises to {:?} from {written:?} in {} although held by {:?}; {:?}",
                        after.weights,
                        before.phase,
                        before.holds,
                        self.world().revisions
                    )
                })?;
            }
        }
        Ok(())
    }

    fn bake(&self) -> Checked {
        let (Phase::Step { index, stage: Stage::Bake }, after) = (self.before.phase, self.after().phase)
        else {
            return Ok(());
        };
        let stays =
            after == self.before.phase || !after.is_forward() || matches!(after, Phase::Stalled { .. });
        let key = self.before.step_key(index);
        let passed =
            key.is_some_and(|key| self.world().verdict(&key) == Some(&crate::release::Verdict::Pass));
        ensure(stays || passed, Invariant::HoldsStopAdvancing, || {
            format!("went on to {after} without a pass")
        })
    }

    fn deadline(&self) -> Checked {
        let out = self
            .decision
            .events
            .iter()
            .any(|event| matches!(event, Event::Aborting(AbortReason::Deadline(_))));
        if !out {
            return Ok(());
        }
        let rollout = self.before.rollout.as_ref();
        let allowed = rollout.map(|rollout| rollout.plan.progress_deadline.after(rollout.started_at));
        let timed = self.before.phase.is_timed() || matches!(self.before.phase, Phase::Step { .. });
        let owed = self.before.holds.is_empty() && timed;
        ensure(owed && allowed.is_some_and(|at| self.now > at), Invariant::DeadlineOwed, || {
            format!("out of time in {} at {}, held by {:?}", self.before.phase, self.now, self.before.holds)
        })
    }

    fn terminal(&self) -> Checked {
        let (before, after) = (self.before.phase, self.after().phase);
        let over = matches!(before, Phase::Aborted | Phase::Succeeded | Phase::Detached | Phase::Idle);
        ensure(!over || before == after, Invariant::TerminalSticky, || format!("from {before} to {after}"))
    }

    fn in_use(&self) -> Checked {
        let state = self.after();
        let target =
            state.rollout.as_ref().and_then(|rollout| rollout.target()).filter(|_| state.phase.is_forward());
        let stable = state.stable.as_ref().map(|stable| &stable.revision);
        let runs = |id: &RevisionId| state.effective_count() > 0 && stable == Some(id);
        for (id, revision) in &state.revisions {
            let used = target == Some(id) || (runs(id) && !state.phase.is_forward());
            ensure(!used || revision.keep_until.is_none(), Invariant::ReadoptedStays, || {
                format!(
                    "{id} is in use in {} and due to be deleted at {:?}",
                    state.phase, revision.keep_until
                )
            })?;
        }
        Ok(())
    }

    fn refusal(&self) -> Checked {
        let Some(refusal) = &self.world().refusal else { return Ok(()) };
        let state = self.after();
        let wanted = state.revisions.get(&refusal.revision).map_or(0, |revision| revision.desired);
        let has = self.world().revision(&refusal.revision).map_or(0, |view| view.total);
        let named = state.holds.contains(&Hold::Quota(refusal.missing.clone()));
        let stays = self.before.phase == state.phase;
        let before = self.before.revisions.get(&refusal.revision).map_or(0, |revision| revision.desired);
        let wanted = wanted.min(before);
        ensure(
            wanted <= has || named || !state.phase.is_forward() || !stays,
            Invariant::RefusalIsHold,
            || format!("{refusal:?} in {} is not among {:?}", state.phase, state.holds),
        )
    }

    fn baseline(&self) -> Checked {
        let stable = self.after().stable.as_ref().map(|stable| &stable.revision);
        let now_committed = self.decision.events.iter().rev().find_map(|event| match event {
            Event::Committed { to, .. } => Some(to.as_ref().map(|to| &to.revision)),
            _ => None,
        });
        let expected = now_committed.unwrap_or(self.committed);
        ensure(stable == expected || self.after().phase.is_leaving(), Invariant::Baseline, || {
            format!("stable is {stable:?}, committed was {expected:?}")
        })
    }
}

/// What a view amounts to, for a later look back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// The ready instances in it.
    ready: u32,
    /// The ready instances that the world had taken away when it was made.
    losses: u32,
}

impl Sight {
    /// In ordered sets, only what is below the declared count counts.
    pub(super) fn of(seen: &Seen, ordered: Option<u32>) -> Self {
        let ready = match ordered {
            None => seen.world.revisions.values().map(|view| view.ready().min(view.desired)).sum(),
            Some(n) => ordered::below(&seen.ordinals, n),
        };
        Self { ready, losses: seen.losses }
    }
}

/// Checks a write against what is really there, just before it is carried out. `used` is the state that the decision made,
/// from what was `seen`: where the world had left fewer ready than must stay, not one of them may be taken.
pub(super) fn check_write(cluster: &Cluster, act: &Act, used: &TrackState, seen: Sight) -> Checked {
    if cluster.ordered {
        return ordered::check_write(cluster, act, used, seen);
    }
    let Act::Scale { revision, count, .. } = act else { return Ok(()) };
    let Some(set) = cluster.sets.get(revision) else { return Ok(()) };
    let staying = set.ready().min(set.desired);
    if staying <= *count || used.phase.is_leaving() || used.stable.is_none() {
        return Ok(());
    }
    if is_missed_by_nobody(cluster, used, revision) {
        return Ok(());
    }
    let left: u32 = cluster
        .sets
        .iter()
        .map(|(id, set)| set.ready().min(if id == revision { *count } else { set.desired }))
        .sum();
    let lost = cluster.losses - seen.losses;
    ensure(left + lost >= floor(used).min(seen.ready), Invariant::ReadyFloor, || {
        format!(
            "{revision} from {} to {count} leaves {left} ready, {lost} lost meanwhile, and {} must stay in {}",
            set.desired,
            floor(used),
            used.phase
        )
    })
}

/// Whether a revision serves nobody.
fn is_missed_by_nobody(cluster: &Cluster, used: &TrackState, revision: &RevisionId) -> bool {
    let traffic = plan(used).is_some_and(|plan| plan.traffic);
    let in_force =
        [&cluster.written, &cluster.confirmed].into_iter().flatten().any(|weights| weights.of(revision) > 0);
    let exchanging = matches!(used.phase, Phase::Step { .. } | Phase::Promoting);
    traffic && !in_force && !exchanging
}

/// Checks what a command did.
pub(super) fn check_command(
    before: &TrackState,
    command: &Command,
    after: &Result<(TrackState, Vec<Event>), Refused>,
    again: impl Fn(&TrackState) -> Result<(TrackState, Vec<Event>), Refused>,
) -> Checked {
    let Ok((after, _)) = after else { return Ok(()) };
    match command {
        Command::Abort { .. } => {
            let idle =
                matches!(before.phase, Phase::Idle | Phase::Succeeded | Phase::Aborted | Phase::Detached);
            ensure(!idle || after == before, Invariant::AbortIdempotent, || {
                format!("abort in {} led to {}", before.phase, after.phase)
            })?;
            let twice = again(after);
            ensure(twice.as_ref().is_ok_and(|(twice, _)| twice == after), Invariant::AbortIdempotent, || {
                format!("abort again in {} led to {twice:?}", after.phase)
            })
        }
        Command::Scale { count } => {
            ensure(after.declared_count() == *count, Invariant::DeclaredScale, || {
                format!("declared {count}, reported {}", after.declared_count())
            })?;
            let mut expected = before.clone();
            expected.count = after.count;
            expected.generation = after.generation;
            expected.clock = after.clock.clone();
            let (mut got, nothing) = (after.clone(), Hold::NothingRuns);
            got.holds.remove(&nothing);
            expected.holds.remove(&nothing);
            ensure(got == expected, Invariant::ScaleChangesCounts, || format!("{before:?} became {after:?}"))
        }
        Command::Pause | Command::Resume => {
            let stays = before.phase == after.phase
                || matches!(before.phase, Phase::Stalled { .. } | Phase::Step { stage: Stage::Bake, .. });
            ensure(stays, Invariant::TerminalSticky, || format!("from {} to {}", before.phase, after.phase))
        }
        _ => Ok(()),
    }
}
