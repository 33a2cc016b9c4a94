//! One round of an exchange between two revisions: the next move towards a goal, from what is observed.
//!
//! The order is that of the specification. The side that gains is scaled, ready, then given its share; the side that
//! loses gives up its share, confirmed, and only then instances. Both directions, forward and back, are this one
//! function with the sides swapped.

use super::Machine;
use super::view::Side;
use crate::model::RevisionId;
use crate::release::numbers::{Margins, keep_old, need, share};
use crate::release::plan::Plan;
use crate::release::weights::Weights;

/// Where an exchange shall get to.
pub(super) struct Goal {
    /// The side that gains; none when the component goes.
    pub(super) gain: Option<RevisionId>,
    /// The side that loses; none at the first deploy.
    pub(super) lose: Option<RevisionId>,
    /// How many instances the gaining side reaches.
    pub(super) gain_target: u32,
    /// How many instances the losing side keeps.
    pub(super) lose_target: u32,
    /// The effective count.
    pub(super) n: u32,
    pub(super) margins: Margins,
    pub(super) traffic: bool,
    pub(super) total_weight: u32,
    /// Two revisions never run at once.
    pub(super) exclusive: bool,
    /// Whether the rollout may advance, or a hold lets it only repair and follow the scale.
    pub(super) advance: bool,
    /// Whether it is the way back.
    pub(super) back: bool,
    /// Whether instances of the losing side that are not in the way are left to whoever cleans up.
    pub(super) leave_rest: bool,
    /// Whether the gaining side has ordinals that the scale no longer has.
    pub(super) beyond: bool,
}

/// What a round did, or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    Raised,
    AwaitReady,
    Shifted,
    AwaitConfirm,
    Lowered,
    /// A hold keeps it from going on.
    Held,
    Done,
}

/// The counts and weights of one round.
struct Round<'g> {
    goal: &'g Goal,
    gain: Side,
    lose: Side,
    floor: u32,
    ceiling: u32,
    /// The gaining instances that the round's share is made for.
    serving: u32,
    /// The losing instances that are left beside them.
    left: u32,
}

impl Goal {
    /// The goal of an exchange by this plan.
    pub(super) fn new(plan: &Plan, n: u32, gain: Option<RevisionId>, lose: Option<RevisionId>) -> Self {
        Self {
            gain,
            lose,
            gain_target: n,
            lose_target: 0,
            n,
            margins: plan.margins(n),
            traffic: plan.traffic,
            total_weight: plan.total_weight,
            exclusive: plan.mode == crate::release::plan::Mode::Exclusive,
            advance: true,
            back: false,
            leave_rest: true,
            beyond: false,
        }
    }
}

impl<'g> Round<'g> {
    fn new(goal: &'g Goal, gain: Side, lose: Side) -> Self {
        let floor = goal.margins.floor(goal.n);
        let ceiling = if goal.n == 0 { 0 } else { goal.margins.ceiling(goal.n) };
        // On the way back every instance that is there takes its part; forward, a round's instances count together.
        let serving = if goal.back { gain.available } else { gain.intended }.min(goal.gain_target);
        // On the way back, only what is ready of the given-up version can go on carrying a share.
        let carrying = if goal.back { lose.ready } else { lose.intended };
        let left = carrying.min(goal.lose_target.max(keep_old(floor, serving)));
        Self { goal, gain, lose, floor, ceiling, serving, left }
    }

    /// The raised counts of both sides; the losing side's comes first where there is not room for both.
    fn raises(&self) -> (u32, u32) {
        let goal = self.goal;
        let room = self.ceiling.saturating_sub(self.gain.intended.saturating_add(self.lose.intended));
        let from_nothing = goal.lose.is_some()
            && !goal.exclusive
            && !goal.back
            && self.gain.intended == 0
            && self.lose.intended == 0;
        // Nothing runs, as after a stop in the middle of a rollout: what was proved comes back first.
        let lose_target = if from_nothing { self.floor.max(goal.lose_target) } else { goal.lose_target };
        let lose =
            if goal.lose.is_some() { lose_target.saturating_sub(self.lose.intended).min(room) } else { 0 };
        let gain = if goal.gain.is_none() || (goal.exclusive && !self.lose.is_gone()) {
            0
        } else {
            goal.gain_target.saturating_sub(self.gain.intended).min(room - lose)
        };
        (self.gain.intended + gain, self.lose.intended + lose)
    }

    /// The gaining side's weight that is right for this round; none while nothing serves.
    fn weight(&self, current: u32) -> Option<u32> {
        let goal = self.goal;
        goal.gain.as_ref()?;
        // A share on the dead is a sure error, whoever they are.
        let left = if self.lose.ready == 0 && self.gain.available > 0 { 0 } else { self.left };
        let whole = self.serving + left;
        if whole == 0 {
            return None;
        }
        let right = if left == 0 { goal.total_weight } else { share(self.serving, whole, goal.total_weight) };
        // On the way back the new revision's weight never rises.
        Some(if goal.back { right.max(current) } else { right })
    }

    /// The fewest instances that the gaining side may be lowered to, where it has too many for today's scale.
    fn gain_limit(&self) -> u32 {
        self.goal.gain_target.max(keep_old(self.floor, self.lose.ready))
    }

    /// The fewest instances that the losing side may be lowered to now.
    fn lose_limit(&self) -> u32 {
        let goal = self.goal;
        let mut keep = keep_old(self.floor, self.gain.available);
        if goal.back {
            // Instances of the given-up version that are not ready are of no use to anyone.
            keep = keep.min(self.lose.ready);
        }
        let mut limit = keep.max(goal.lose_target);
        if goal.leave_rest && !goal.exclusive {
            limit = limit.max(self.ceiling.saturating_sub(goal.gain_target));
        }
        if !goal.advance {
            limit = limit.max(self.ceiling.saturating_sub(self.gain.intended));
        }
        limit
    }

    /// Whether the goal is reached, once the weights are in force; `given` is the losing side's share.
    fn is_complete(&self, given: u32) -> bool {
        let goal = self.goal;
        let lowered = self.lose.intended <= self.lose_limit().max(goal.lose_target);
        if goal.back {
            let safe = if goal.traffic {
                given == 0
            } else {
                self.gain.available >= self.floor || self.lose.ready == 0
            };
            return goal.gain.is_none() || (self.gain.intended >= goal.gain_target && safe && lowered);
        }
        // What is beyond the scale goes first, so that the goal is that of the scale again.
        !goal.beyond
            && self.gain.intended >= goal.gain_target
            && self.gain.available >= goal.gain_target
            && lowered
    }
}

impl Machine<'_> {
    /// Makes the next move towards the goal.
    pub(super) fn round(&mut self, goal: &Goal) -> Move {
        let gain = self.side(goal.gain.as_ref());
        let lose = self.side(goal.lose.as_ref());
        let round = Round::new(goal, gain, lose);
        if goal.traffic && self.leave_the_dead(&round) {
            return Move::Shifted;
        }
        let (gain_count, lose_count) = round.raises();
        if gain_count > gain.intended || lose_count > lose.intended {
            return self.raise(&round, gain_count, lose_count);
        }
        if goal.n > 0 && lose.intended > goal.n && self.is_confirmed() {
            // The scale was lowered: what is beyond it goes, whatever the exchange waits for.
            let count = goal.n.max(self.carried(goal.lose.as_ref(), round.floor));
            if count < lose.intended {
                self.lower_side(goal.lose.as_ref(), count);
                return Move::Lowered;
            }
        }
        if goal.beyond && gain.intended > goal.gain_target && self.is_confirmed() {
            // Those that are not ready carry nothing; a revision that has a share keeps one instance at least.
            let carried = self.carried(goal.gain.as_ref(), round.floor).min(gain.ready.max(1));
            let count = goal.gain_target.max(carried);
            if count < gain.intended {
                self.lower_side(goal.gain.as_ref(), count);
                return Move::Lowered;
            }
        }
        let ready = goal.back || gain.available >= round.serving;
        if !ready {
            return self.shed_surplus(&round).unwrap_or(Move::AwaitReady);
        }
        if goal.traffic
            && let Some(step) = self.share_out(&round)
        {
            return step;
        }
        if gain.intended > goal.gain_target && round.gain_limit() < gain.intended {
            self.lower_side(goal.gain.as_ref(), round.gain_limit());
            return Move::Lowered;
        }
        let mut limit = round.lose_limit().max(if goal.traffic { round.left } else { 0 });
        if goal.traffic && !goal.advance {
            // The share stays where the hold found it, and with it what carries it.
            limit = limit.max(self.carried(goal.lose.as_ref(), round.floor));
        }
        if goal.lose.is_some() && lose.intended > limit {
            self.lower_side(goal.lose.as_ref(), limit);
            return Move::Lowered;
        }
        let given = goal.lose.as_ref().map_or(0, |id| self.state.weight_of(id));
        if round.is_complete(given) {
            Move::Done
        } else if goal.advance || goal.back {
            Move::AwaitReady
        } else {
            Move::Held
        }
    }

    fn raise(&mut self, round: &Round<'_>, gain: u32, lose: u32) -> Move {
        if let Some(id) = &round.goal.gain {
            self.set_desired(id, gain);
        }
        if let Some(id) = &round.goal.lose {
            self.set_desired(id, lose);
        }
        Move::Raised
    }

    fn lower_side(&mut self, side: Option<&RevisionId>, count: u32) {
        if let Some(id) = side {
            self.lower(id, count);
        }
    }

    /// A share on a revision that has no ready instance is a sure error: whenever that is the revision that has to
    /// prove itself, and the other one has instances, the share goes there at once, whatever holds.
    fn leave_the_dead(&mut self, round: &Round<'_>) -> bool {
        let goal = round.goal;
        let (unproven, proven) = if goal.back { (&goal.lose, &goal.gain) } else { (&goal.gain, &goal.lose) };
        let (dead, alive) = if goal.back { (round.lose, round.gain) } else { (round.gain, round.lose) };
        let (Some(unproven), Some(proven)) = (unproven.clone(), proven.clone()) else { return false };
        if dead.ready > 0 || alive.ready == 0 {
            return false;
        }
        let unserved = goal.n > 0 && self.state.weights.as_ref().is_some_and(Weights::is_out_of_service);
        // With nothing that could serve instead, being out of service is the plan's own way to make room.
        let waits = round.floor > 0 || round.serving > 0;
        if self.state.weight_of(&unproven) == 0 && (goal.exclusive || !unserved || !waits) {
            return false;
        }
        let weights = self.named_with_nothing().with(&unproven, 0).with(&proven, goal.total_weight);
        self.shift(weights);
        true
    }

    /// The weights that name every revision they name today, each with nothing.
    pub(super) fn named_with_nothing(&self) -> Weights {
        let mut weights = self.state.weights.clone().unwrap_or_default();
        for share in weights.shares.values_mut() {
            *share = 0;
        }
        weights
    }

    /// The instances that a revision needs for the share it has, one at least if it has any.
    fn carried(&self, revision: Option<&RevisionId>, floor: u32) -> u32 {
        let weight = revision.map_or(0, |id| self.scaled_weight(id));
        need(floor, weight, self.total_weight()).max(weight.min(1))
    }

    /// A revision's intended weight, in parts of today's total.
    fn scaled_weight(&self, id: &RevisionId) -> u32 {
        let total = self.total_weight();
        self.state.weights.as_ref().map_or(0, |weights| weights.scaled(id, total))
    }

    pub(super) fn shift(&mut self, weights: Weights) {
        self.state.weights = Some(weights);
        self.disturbed = true;
    }

    /// Whether the weights in force are those intended. Routes that were never written are as good as routes that
    /// give nothing to anyone.
    pub(super) fn is_confirmed(&self) -> bool {
        match (&self.state.weights, &self.state.confirmed) {
            (None, None) => true,
            (intended, confirmed) => intended == confirmed,
        }
    }

    /// Writes the round's share, or waits for its confirmation; nothing if the share is in force.
    fn share_out(&mut self, round: &Round<'_>) -> Option<Move> {
        let goal = round.goal;
        let current = goal.gain.as_ref().map_or(0, |id| self.scaled_weight(id));
        let rest = goal.lose.as_ref().map_or(0, |id| self.scaled_weight(id));
        let right = round.weight(current);
        let mut weights = self.named_with_nothing();
        if let Some(id) = &goal.lose
            && (weights.names(id) || right.is_some_and(|right| right < goal.total_weight))
        {
            weights = weights.with(id, right.map_or(0, |right| goal.total_weight - right));
        }
        if let Some(id) = &goal.gain
            && (weights.names(id) || right.is_some())
        {
            weights = weights.with(id, right.unwrap_or(0));
        }
        let written = self.state.weights.clone().unwrap_or_default();
        if weights == written {
            return (!self.is_confirmed()).then_some(Move::AwaitConfirm);
        }
        let rises = right.is_some_and(|right| right > current);
        let out_of_service = current == 0 && rest == 0;
        if rises && !goal.advance && !out_of_service {
            // What the hold keeps from rising is settled otherwise.
            return (!self.is_confirmed()).then_some(Move::AwaitConfirm);
        }
        let left_rises = right.is_some_and(|right| goal.total_weight - right > rest) && round.left > 0;
        if left_rises && round.lose.ready < round.left {
            return Some(Move::AwaitReady);
        }
        self.shift(weights);
        Some(Move::Shifted)
    }

    /// While the gaining side is not ready, a lower scale still takes instances beyond the ceiling away.
    fn shed_surplus(&mut self, round: &Round<'_>) -> Option<Move> {
        let goal = round.goal;
        let surplus = (round.gain.intended + round.lose.intended).saturating_sub(round.ceiling);
        if surplus == 0 || !self.is_confirmed() {
            return None;
        }
        let unready = round.gain.intended - round.gain.available;
        if round.gain.intended > goal.gain_target && unready > 0 {
            let count =
                round.gain.intended - surplus.min(unready).min(round.gain.intended - goal.gain_target);
            self.lower_side(goal.gain.as_ref(), count);
            return Some(Move::Lowered);
        }
        let id = goal.lose.as_ref()?;
        let carried = self.carried(Some(id), round.floor);
        let keep = keep_old(round.floor, round.gain.available).max(goal.lose_target);
        let limit = keep.max(if goal.traffic { carried } else { 0 });
        let count = round.lose.intended.saturating_sub(surplus).max(limit);
        if count < round.lose.intended {
            self.lower_side(Some(id), count);
            return Some(Move::Lowered);
        }
        None
    }
}
