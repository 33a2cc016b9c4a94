//! The end of a history: nothing goes wrong any more, and everything has to come to rest.

use super::super::cluster::{Quality, Set};
use super::super::invariant::{Invariant, Violation};
use super::super::op::Trouble;
use super::{History, Step};
use crate::release::{Command, Detach, Hold, Mode, Phase};

/// How many reconciles a history may take to come to rest when nothing goes wrong any more.
const PATIENCE: u32 = 600;

impl History<'_> {
    /// Nothing goes wrong any more: everything must come to rest within bounds, and then nothing must be written.
    pub(super) fn settle(&mut self) -> Step {
        self.cluster.calm();
        self.restart(self.leader);
        self.command(&Command::Online)?;
        if self.stored.count == 0 {
            self.command(&Command::Scale { count: 2 })?;
        }
        for _ in 0..PATIENCE {
            self.free()?;
            let who = self.leader;
            let wrote = self.reconcile(who, 0, Trouble::None)?;
            if wrote {
                self.cluster.advance(10);
                continue;
            }
            let wake =
                self.setting.subject.next(&self.stored, &self.cluster.look().world, self.cluster.now).wake_at;
            let next = wake.into_iter().chain(self.cluster.next_change()).min();
            match next {
                Some(at) => {
                    self.cluster.now = self.cluster.now.max(at);
                    self.cluster.react();
                }
                None => return self.at_rest(),
            }
        }
        Err(Violation {
            invariant: Invariant::Converges,
            seen: format!("still in {} after {PATIENCE} reconciles: {:?}", self.stored.phase, self.stored),
        })
    }

    /// Takes away what waits for a person.
    fn free(&mut self) -> Step {
        let waits = self.stored.holds.iter().any(|hold| !matches!(hold, Hold::Quota(_)));
        if waits {
            self.command(&Command::Resume)?;
            let approvals: Vec<String> = self
                .stored
                .holds
                .iter()
                .filter_map(|hold| if let Hold::Approval(name) = hold { Some(name.clone()) } else { None })
                .collect();
            for name in approvals {
                self.command(&Command::Approve { name })?;
            }
        }
        self.grant()
    }

    fn at_rest(&mut self) -> Step {
        let before = self.stored.clone();
        for _ in 0..3 {
            // An hour later, and after a forced look at everything.
            self.cluster.advance(3_600_000);
            let who = self.leader;
            self.controllers[who].fresh = true;
            let wrote = self.reconcile(who, 0, Trouble::None)?;
            if wrote || self.stored != before {
                return Err(Violation {
                    invariant: Invariant::ConvergedIsQuiet,
                    seen: format!("in {}: {before:?} became {:?}", before.phase, self.stored),
                });
            }
        }
        self.has_arrived()
    }

    fn has_arrived(&self) -> Step {
        let state = &self.stored;
        let fail = |seen: String| Err(Violation { invariant: Invariant::Converges, seen });
        match state.phase {
            Phase::Detached => return self.is_restored(),
            Phase::Stalled { back: false, .. } => return Ok(()),
            // A version that never becomes ready can be stable if it was released to a stopped app.
            Phase::Stalled { .. } if self.is_hopeless() => return Ok(()),
            phase if !phase.is_at_rest() || phase == Phase::Draining => {
                return fail(format!("rests in {phase}, held by {:?}", state.holds));
            }
            _ => {}
        }
        let is_run = self.setting.plans.iter().any(|plan| plan.mode == Mode::Run);
        let Some(stable) = state.stable.as_ref().filter(|_| !is_run) else {
            let nothing =
                self.cluster.sets.is_empty() && self.cluster.written.as_ref().is_none_or(|it| it.sum() == 0);
            return if nothing {
                Ok(())
            } else {
                fail(format!("nothing is stable, and {:?} is left", self.cluster.sets))
            };
        };
        let ready = self.cluster.sets.get(&stable.revision).map_or(0, Set::ready);
        let never = self.is_hopeless();
        if ready != state.count && !never {
            return fail(format!("{ready} of {} are ready of {stable}", state.count));
        }
        if self.cluster.sets.len() != 1 {
            return fail(format!("more than {stable} is left: {:?}", self.cluster.sets));
        }
        let traffic = state.rollout.as_ref().is_some_and(|rollout| rollout.plan.traffic);
        let weight = self.cluster.confirmed.as_ref().map_or(0, |weights| weights.of(&stable.revision));
        let total = state.rollout.as_ref().map_or(0, |rollout| rollout.plan.total_weight);
        if traffic && !never && weight != total {
            return fail(format!("{stable} has {weight} of {total}"));
        }
        Ok(())
    }

    fn is_hopeless(&self) -> bool {
        let stable = self.stored.stable.as_ref().map(|stable| &stable.revision);
        stable.is_some_and(|stable| self.cluster.qualities.get(stable) == Some(&Quality::Never))
    }

    pub(super) fn is_restored(&self) -> Step {
        let cluster = &self.cluster;
        let left = self.stored.detach == Some(Detach::Delete) && !cluster.sets.is_empty();
        let restored = cluster.written.is_none() && cluster.unowned.0 == "before";
        if left || !restored || cluster.sets.values().any(|set| left && set.is_empty()) {
            return Err(Violation {
                invariant: Invariant::Restored,
                seen: format!("{:?} is left, routes say {:?}", cluster.sets.keys(), cluster.unowned),
            });
        }
        Ok(())
    }
}
