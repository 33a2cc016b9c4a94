//! Tracks whose instances have ordinals.

use super::*;
use crate::port::Ordinals;
use crate::release::Ordered;

fn ordered(batches: &[u32]) -> Plan {
    let batches = batches.iter().copied().map(Amount::Count).collect();
    let ordered = Ordered { batches, pause: Seconds(60) };
    ordered.compile(&StrategyContext::new(false)).expect("a valid plan")
}

/// A track of so many instances that pauses with the highest ordinal on the new revision.
fn paused(count: u32) -> Track {
    let mut track = Track::new(count);
    track.command(&Command::Start(start(1, ordered(&[])))).expect("at rest");
    track.run();
    track.command(&Command::Start(start(2, ordered(&[1])))).expect("at rest");
    track.settle();
    assert_eq!(track.told(), [("r1", 0, count - 1), ("r2", count - 1, 1)]);
    track
}

impl Track {
    /// What each set that has instances was told: its revision, the first ordinal and the count.
    fn told(&self) -> Vec<(&str, u32, u32)> {
        let sets = self.world.revisions.iter().filter(|(_, view)| view.desired > 0);
        sets.map(|(id, view)| (id.as_str(), view.first, view.desired)).collect()
    }
}

#[test]
fn the_highest_ordinals_are_exchanged_first_and_one_is_missing_at_most() {
    let mut track = paused(3);
    track.least_ready = u32::MAX;
    track.run();
    assert_eq!(track.told(), [("r2", 0, 3)]);
    assert_eq!(track.least_ready, 2);
}

#[test]
fn scaling_in_the_middle_of_a_release_adds_and_takes_the_highest_ordinals() {
    let mut track = paused(3);
    track.command(&Command::Scale { count: 5 }).expect("a count");
    track.settle();
    assert_eq!(track.told(), [("r1", 0, 2), ("r2", 2, 3)], "nothing is exchanged back");
    track.command(&Command::Scale { count: 4 }).expect("a count");
    track.settle();
    assert_eq!(track.told(), [("r1", 0, 2), ("r2", 2, 2)]);
    track.command(&Command::Scale { count: 2 }).expect("a count");
    let decision = track.decide();
    assert_eq!(decision.acts, [Act::Scale { revision: revision("r2"), count: 0, first: 2 }]);
    track.settle();
    assert_eq!(track.told(), [("r1", 0, 1), ("r2", 1, 1)], "the batch is one of two now");
}

#[test]
fn an_abort_gives_the_lowest_of_the_new_ordinals_back_first() {
    let mut track = paused(3);
    track.command(&Command::Scale { count: 4 }).expect("a count");
    track.settle();
    assert_eq!(track.told(), [("r1", 0, 2), ("r2", 2, 2)]);
    track.acts.clear();
    track.command(&Command::Abort { reason: AbortReason::User(String::new()) }).expect("it runs");
    track.run();
    let given_back: Vec<Ordinals> = track
        .acts
        .iter()
        .filter_map(|act| match act {
            Act::Scale { revision: id, count, first } if *id == revision("r2") => {
                Some(Ordinals { first: *first, count: *count })
            }
            _ => None,
        })
        .collect();
    assert_eq!(given_back[0], Ordinals { first: 3, count: 1 });
    assert_eq!(given_back.last().map(|told| told.count), Some(0));
    assert_eq!(track.told(), [("r1", 0, 4)]);
}

#[test]
fn what_is_scaled_up_on_the_way_back_comes_when_all_is_given_back() {
    let mut track = paused(3);
    track.command(&Command::Abort { reason: AbortReason::User(String::new()) }).expect("it runs");
    track.command(&Command::Scale { count: 5 }).expect("a count");
    let decision = track.decide();
    assert!(decision.acts.iter().all(|act| !matches!(act, Act::Ensure { .. })), "{:?}", decision.acts);
    track.run();
    assert_eq!(track.told(), [("r1", 0, 5)]);
}

#[test]
fn an_ordered_plan_with_a_surge_is_refused() {
    let plan = Plan { max_surge: Amount::Count(1), ..ordered(&[]) };
    assert_eq!(plan.validate(), Err(crate::release::PlanError::Ordered));
}

#[test]
fn a_release_is_not_done_while_it_has_ordinals_beyond_the_scale() {
    let batches = Ordered { batches: vec![Amount::Count(3)], pause: Seconds(60) };
    let plan = batches.compile(&StrategyContext::new(true)).expect("a valid plan");
    let mut track = Track::new(6);
    track.command(&Command::Start(start(1, plan.clone()))).expect("at rest");
    track.run();
    track.command(&Command::Start(start(2, plan))).expect("at rest");
    track.settle();
    assert_eq!(track.told(), [("r1", 0, 3), ("r2", 3, 3)]);
    // All that serves is the new revision's, and most of it is beyond the scale.
    track.world.revisions.get_mut(&revision("r1")).expect("it is there").ready_since.clear();
    track.command(&Command::Scale { count: 4 }).expect("a count");
    for _ in 0..20 {
        track.decide();
        track.now = track.now.saturating_add(SignedDuration::from_secs(10)).expect("a time");
        assert_eq!(track.state.stable, Some(version(1)));
    }
}
