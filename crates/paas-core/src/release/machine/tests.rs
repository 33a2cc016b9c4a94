//! Single behaviours of the machine in a world that does at once what it is told. The simulator covers the rest.

mod ordered;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Amount, ReleaseNumber, RevisionId, StrategySpec};
use crate::release::{
    AbortReason, AbortStage, Act, Command, CommitMode, Decision, Detach, Event, Hold, Phase, Plan, Recreate,
    Refusal, Refused, RevisionView, RollbackJump, RollingByBatches, RolloutId, RunOnce, RunView, Seconds,
    Stage, StartRollout, Strategy, StrategyContext, TrackState, TrackVersion, World, next,
};

fn revision(name: &str) -> RevisionId {
    RevisionId::new(name).expect("a valid revision")
}

fn version(number: u64) -> TrackVersion {
    TrackVersion { release: ReleaseNumber(number), revision: revision(&format!("r{number}")) }
}

fn start(number: u64, plan: Plan) -> StartRollout {
    StartRollout::new(RolloutId::new(format!("rollout-{number}")), Some(version(number)), plan)
}

fn rolling(traffic: bool) -> Plan {
    StrategySpec::default().compile(&StrategyContext::new(traffic)).expect("a valid plan")
}

/// A track whose backends do at once what they are told; instances of a broken revision never become ready.
struct Track {
    state: TrackState,
    world: World,
    now: Timestamp,
    broken: Vec<RevisionId>,
    events: Vec<Event>,
    /// The fewest ready instances seen after any act.
    least_ready: u32,
    acts: Vec<Act>,
}

impl Track {
    fn new(count: u32) -> Self {
        let key = "acme/prod/shop/web@local".parse().expect("a valid track");
        Self {
            state: TrackState::new(key, count),
            world: World::default(),
            now: Timestamp::UNIX_EPOCH,
            broken: Vec::new(),
            events: Vec::new(),
            least_ready: u32::MAX,
            acts: Vec::new(),
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), Refused> {
        let (state, events) = self.state.apply(command, self.now)?;
        self.state = state;
        self.events.extend(events);
        Ok(())
    }

    fn decide(&mut self) -> Decision {
        let decision = next(&self.state, &self.world, self.now);
        self.state = decision.state.clone();
        self.events.extend(decision.events.iter().cloned());
        for act in &decision.acts {
            self.carry_out(act);
            let ready = self.world.revisions.values().map(RevisionView::ready).sum();
            self.least_ready = self.least_ready.min(ready);
        }
        self.acts.extend(decision.acts.iter().cloned());
        decision
    }

    fn carry_out(&mut self, act: &Act) {
        match act {
            Act::Ensure { revision, count, first } | Act::Scale { revision, count, first } => {
                let ready = if self.broken.contains(revision) { 0 } else { *count };
                let view = self.world.revisions.entry(revision.clone()).or_default();
                view.desired = *count;
                view.first = *first;
                view.total = *count;
                view.ready_since = vec![self.now; ready as usize];
                view.failing = if ready < *count { vec!["exited with 1".to_owned()] } else { Vec::new() };
            }
            Act::Shift { weights } => {
                self.world.routes.written = Some(weights.clone());
                self.world.routes.confirmed = Some(weights.clone());
            }
            Act::Unroute { .. } => {
                self.world.routes.written = None;
                self.world.routes.confirmed = None;
            }
            Act::Remove { revision } => {
                self.world.revisions.remove(revision);
            }
            Act::Run { key, .. } => {
                self.world.runs.insert(key.to_string(), RunView::Running);
            }
            Act::StopRun { key } => {
                self.world.runs.insert(key.to_string(), RunView::Failed("stopped".to_owned()));
            }
            Act::Judge { .. } => {}
        }
    }

    /// Decides until nothing is to be done now.
    fn settle(&mut self) -> Decision {
        for _ in 0..200 {
            let before = self.state.clone();
            let decision = self.decide();
            if decision.acts.is_empty() && self.state == before {
                return decision;
            }
        }
        panic!(
            "the track does not settle: {:?}, last acts {:?}",
            self.state,
            self.acts.iter().rev().take(6).collect::<Vec<_>>()
        );
    }

    /// Settles, and lets time pass to whatever it waits for, until it waits for nothing.
    fn run(&mut self) {
        for _ in 0..100 {
            match self.settle().wake_at {
                Some(at) => self.now = at,
                None => return,
            }
        }
        panic!("the track waits for ever: {:?}", self.state);
    }

    fn deployed(count: u32, traffic: bool) -> Self {
        let mut track = Self::new(count);
        track.command(&Command::Start(start(1, rolling(traffic)))).expect("at rest");
        track.run();
        assert_eq!(track.state.phase, Phase::Succeeded);
        track.least_ready = u32::MAX;
        track.events.clear();
        track.acts.clear();
        track
    }

    fn counts(&self) -> BTreeMap<String, u32> {
        self.world.revisions.iter().map(|(id, view)| (id.to_string(), view.desired)).collect()
    }
}

#[test]
fn first_deploy_serves_only_when_all_instances_are_ready() {
    let mut track = Track::new(3);
    track.command(&Command::Start(start(1, rolling(true)))).expect("at rest");
    let first = track.decide();
    assert_eq!(first.acts, [Act::Ensure { revision: revision("r1"), count: 3, first: 0 }]);
    track.run();
    assert_eq!(track.state.phase, Phase::Succeeded);
    assert_eq!(track.state.stable, Some(version(1)));
    assert_eq!(
        track.state.weight_of(&revision("r1")),
        track.state.rollout.as_ref().map_or(0, |r| r.plan.total_weight)
    );
}

#[test]
fn rolling_release_never_drops_below_the_declared_count() {
    for traffic in [true, false] {
        for count in [1, 2, 3, 10, 17, 40] {
            let mut track = Track::deployed(count, traffic);
            track.command(&Command::Start(start(2, rolling(traffic)))).expect("at rest");
            track.run();
            assert_eq!(track.state.phase, Phase::Succeeded);
            assert_eq!(track.counts(), BTreeMap::from([("r2".to_owned(), count)]));
            assert_eq!(track.least_ready, count);
            let shifts = track.acts.iter().filter(|act| matches!(act, Act::Shift { .. })).count();
            assert_eq!(shifts > 0, traffic, "a worker has no traffic to shift");
        }
    }
}

#[test]
fn batches_are_reached_one_after_the_other_with_their_pause() {
    let batches = vec![Amount::Count(1), "30%".parse().expect("an amount")];
    let plan = RollingByBatches { batches, pause: Seconds(60), ..Default::default() };
    let plan = plan.compile(&StrategyContext::new(true)).expect("a valid plan");
    let mut track = Track::deployed(10, true);
    track.command(&Command::Start(start(2, plan))).expect("at rest");
    for (index, reached) in [(0, 1), (1, 4)] {
        track.settle();
        assert_eq!(track.state.phase, Phase::Step { index, stage: Stage::Hold });
        assert_eq!(
            track.counts(),
            BTreeMap::from([("r1".to_owned(), 10 - reached), ("r2".to_owned(), reached)])
        );
        track.now += SignedDuration::from_secs(60);
    }
    track.run();
    assert_eq!(track.state.phase, Phase::Succeeded);
}

#[test]
fn no_surge_and_no_unavailability_means_one_may_be_missing() {
    let plan = RollingByBatches { max_surge: Amount::ZERO, ..Default::default() };
    let plan = plan.compile(&StrategyContext::new(true)).expect("a valid plan");
    assert!(plan.may_interrupt);
    for count in [1, 2, 5, 17] {
        let mut track = Track::deployed(count, true);
        track.command(&Command::Start(start(2, plan.clone()))).expect("at rest");
        track.run();
        assert_eq!(track.state.phase, Phase::Succeeded);
        assert_eq!(track.least_ready, count - 1);
    }
}

#[test]
fn recreate_ends_the_old_ones_before_the_new_ones_start() {
    let plan = Recreate {}.compile(&StrategyContext::new(true)).expect("a valid plan");
    let mut track = Track::deployed(3, true);
    track.command(&Command::Start(start(2, plan))).expect("at rest");
    track.run();
    assert_eq!(track.state.phase, Phase::Succeeded);
    let of = |wanted: &Act| track.acts.iter().position(|act| act == wanted);
    let down = of(&Act::Scale { revision: revision("r1"), count: 0, first: 0 });
    let up = of(&Act::Ensure { revision: revision("r2"), count: 3, first: 0 });
    assert!(down.is_some() && down < up, "{:?}", track.acts);
}

#[test]
fn bad_version_costs_no_old_instance_and_aborts_at_the_deadline_with_its_reason() {
    for traffic in [true, false] {
        let mut track = Track::deployed(3, traffic);
        track.broken.push(revision("r2"));
        track.command(&Command::Start(start(2, rolling(traffic)))).expect("at rest");
        track.settle();
        assert_eq!(track.state.phase, Phase::Step { index: 0, stage: Stage::Ready });
        track.now += SignedDuration::from_secs(600);
        track.settle();
        assert_eq!(
            track.state.phase,
            Phase::Step { index: 0, stage: Stage::Ready },
            "at the deadline is not past it"
        );
        track.run();
        assert_eq!(track.state.phase, Phase::Aborted);
        assert_eq!(track.least_ready, 3);
        assert_eq!(track.counts(), BTreeMap::from([("r1".to_owned(), 3)]));
        let aborted = track.state.rollout.as_ref().and_then(|rollout| rollout.aborted.clone());
        assert_eq!(aborted, Some(AbortReason::Deadline(vec!["exited with 1".to_owned()])));
    }
}

#[test]
fn an_aborted_version_is_kept_as_long_as_its_plan_says() {
    let context = StrategyContext::new(true);
    let kept = RollingByBatches::default().compile(&context).expect("a valid plan");
    assert_eq!(kept.keep_aborted, Seconds(30), "thirty seconds by default");
    let mut track = Track::deployed(2, true);
    track.broken.push(revision("r2"));
    track.command(&Command::Start(start(2, kept))).expect("at rest");
    track.settle();
    track.command(&Command::Abort { reason: AbortReason::User(String::new()) }).expect("under way");
    let waits = track.settle();
    assert_eq!(track.state.phase, Phase::Aborting(AbortStage::Delay));
    assert_eq!(waits.wake_at, Some(track.now + SignedDuration::from_secs(30)));
    assert!(track.counts().contains_key("r2"));
    track.run();
    assert_eq!(track.state.phase, Phase::Aborted);

    // What a user declares as rolling goes at once, so that the next release need not wait.
    let mut track = Track::deployed(2, true);
    track.broken.push(revision("r2"));
    track.command(&Command::Start(start(2, rolling(true)))).expect("at rest");
    track.settle();
    track.command(&Command::Abort { reason: AbortReason::User(String::new()) }).expect("under way");
    let begun = track.now;
    track.run();
    assert_eq!((track.state.phase, track.now), (Phase::Aborted, begun));
}

#[test]
fn retry_starts_clean_and_another_rollout_is_refused_while_one_is_under_way() {
    let mut track = Track::deployed(2, true);
    track.broken.push(revision("r2"));
    track.command(&Command::Start(start(2, rolling(true)))).expect("at rest");
    track.settle();
    let refused = track.command(&Command::Start(start(3, rolling(true))));
    assert!(matches!(refused, Err(Refused::UnderWay { .. })), "{refused:?}");
    track.run();
    track.broken.clear();
    track.command(&Command::Retry).expect("aborted");
    track.run();
    assert_eq!(track.state.phase, Phase::Succeeded);
    assert_eq!(track.state.rollout.as_ref().map(|rollout| rollout.attempt), Some(2));
}

#[test]
fn abort_with_nothing_active_changes_nothing() {
    let track = Track::deployed(2, true);
    let (state, events) = track
        .state
        .apply(&Command::Abort { reason: AbortReason::User(String::new()) }, track.now)
        .expect("nothing to refuse");
    assert_eq!((state, events), (track.state, vec![]));
}

#[test]
fn stop_keeps_everything_but_the_instances_and_start_brings_them_back() {
    let mut track = Track::deployed(3, true);
    track.command(&Command::Offline).expect("managed");
    track.run();
    assert_eq!(track.counts(), BTreeMap::from([("r1".to_owned(), 0)]));
    assert_eq!(track.state.declared_count(), 3);
    track.command(&Command::Online).expect("managed");
    track.run();
    assert_eq!(track.counts(), BTreeMap::from([("r1".to_owned(), 3)]));
    assert!(track.state.weight_of(&revision("r1")) > 0);
}

#[test]
fn scaling_down_and_up_follows_at_once() {
    let mut track = Track::deployed(1, true);
    for count in [10, 1] {
        track.command(&Command::Scale { count }).expect("managed");
        track.decide();
        assert_eq!(track.counts(), BTreeMap::from([("r1".to_owned(), count)]));
        track.run();
    }
}

#[test]
fn rollback_is_one_jump() {
    let mut track = Track::deployed(4, true);
    track.command(&Command::Start(start(2, rolling(true)))).expect("at rest");
    track.run();
    let plan = RollbackJump::default().compile(&StrategyContext::new(true)).expect("a valid plan");
    track.acts.clear();
    track
        .command(&Command::Start(StartRollout::new("back".into(), Some(version(1)), plan)))
        .expect("at rest");
    track.run();
    assert_eq!(track.state.stable, Some(version(1)));
    let raises: Vec<_> = track.acts.iter().filter(|act| matches!(act, Act::Ensure { .. })).collect();
    assert_eq!(raises, [&Act::Ensure { revision: revision("r1"), count: 4, first: 0 }]);
}

#[test]
fn a_superseded_release_yields_before_the_third_takes_its_place() {
    let mut track = Track::deployed(4, true);
    track.command(&Command::Start(start(2, rolling(true)))).expect("at rest");
    track.decide();
    track.command(&Command::Supersede(start(3, rolling(true)))).expect("under way");
    track.run();
    assert_eq!(track.state.stable, Some(version(3)));
    assert_eq!(track.counts(), BTreeMap::from([("r3".to_owned(), 4)]));
    assert_eq!(track.least_ready, 4);
}

#[test]
fn a_lockstep_track_waits_for_the_grant() {
    let mut track = Track::deployed(2, true);
    let lockstep =
        StartRollout { commit: CommitMode::Lockstep { granted: false }, ..start(2, rolling(true)) };
    track.command(&Command::Start(lockstep)).expect("at rest");
    track.run();
    assert!(track.state.is_ready_to_commit());
    assert_eq!(track.state.stable, Some(version(1)));
    track.command(&Command::GrantCommit { rollout: "rollout-2".into() }).expect("under way");
    track.run();
    assert_eq!(track.state.stable, Some(version(2)));
}

#[test]
fn a_refused_raise_is_a_named_hold_that_is_tried_again() {
    let mut track = Track::deployed(2, true);
    track.command(&Command::Start(start(2, rolling(true)))).expect("at rest");
    let decision = next(&track.state, &track.world, track.now);
    track.state = decision.state;
    track.world.refusal = Some(Refusal { revision: revision("r2"), missing: "1 cpu".to_owned() });
    let held = next(&track.state, &track.world, track.now);
    assert!(held.acts.is_empty(), "{:?}", held.acts);
    assert!(held.state.holds.contains(&Hold::Quota("1 cpu".to_owned())));
    let again = held.wake_at.expect("tried again");
    let retried = next(&held.state, &track.world, again);
    assert_eq!(retried.acts, [Act::Ensure { revision: revision("r2"), count: 1, first: 0 }]);
}

#[test]
fn a_removed_component_leaves_nothing() {
    let mut track = Track::deployed(2, true);
    let plan = rolling(true);
    track.command(&Command::Start(StartRollout::new("gone".into(), None, plan))).expect("at rest");
    track.run();
    assert_eq!((track.state.phase, &track.state.stable), (Phase::Succeeded, &None));
    assert_eq!((track.counts(), track.world.routes.written.clone()), (BTreeMap::new(), None));
}

#[test]
fn a_detached_track_leaves_nothing() {
    let mut track = Track::deployed(2, true);
    track.command(&Command::Start(start(2, rolling(true)))).expect("at rest");
    track.decide();
    track.command(&Command::Detach { mode: Detach::Delete }).expect("managed");
    track.run();
    assert_eq!(track.state.phase, Phase::Detached);
    assert_eq!((track.counts(), track.world.routes.written.clone()), (BTreeMap::new(), None));
}

#[test]
fn a_run_decides_by_its_exit_status() {
    for (end, stable) in [
        (RunView::Succeeded, Some(version(1))),
        (RunView::Failed("status 2".into()), None),
        (RunView::Lost, None),
    ] {
        let plan = RunOnce::default().compile(&StrategyContext::new(false)).expect("a valid plan");
        let mut track = Track::new(1);
        track.command(&Command::Start(start(1, plan))).expect("at rest");
        track.settle();
        let started = track.acts.iter().filter(|act| matches!(act, Act::Run { .. })).count();
        assert_eq!(started, 1);
        track.world.runs.values_mut().for_each(|run| *run = end.clone());
        track.run();
        assert_eq!(track.state.stable, stable);
    }
}
