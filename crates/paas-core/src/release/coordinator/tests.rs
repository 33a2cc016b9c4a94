//! The coordinator over tracks whose machine is skipped: their states are set to what the machine would answer.

mod clusters;

use super::*;
use crate::model::{RevisionId, StrategySpec};
use crate::release::{CommitMode, Hold, Phase, RollbackJump, Strategy, StrategyContext};

struct App {
    coordinator: Coordinator,
    tracks: BTreeMap<TrackKey, TrackState>,
    now: Timestamp,
}

fn key(component: &str) -> TrackKey {
    format!("acme/prod/shop/{component}@local").parse().expect("a valid track")
}

fn track(component: &str, depends_on: &[&str], release: u64) -> RolloutTrack {
    let context = StrategyContext::new(true);
    let revision = RevisionId::new(format!("{component}{release}")).expect("a valid revision");
    RolloutTrack {
        track: key(component),
        depends_on: depends_on.iter().map(|name| ComponentName::new(*name).expect("a valid name")).collect(),
        to: Some(TrackVersion { release: ReleaseNumber(release), revision }),
        plan: StrategySpec::default().compile(&context).expect("a valid plan"),
        back: RollbackJump::default().compile(&context).expect("a valid plan"),
        count_on_commit: None,
    }
}

fn rollout(release: u64, lockstep: bool) -> Rollout {
    let tracks = vec![track("web", &["api"], release), track("api", &[], release)];
    Rollout {
        lockstep,
        ..Rollout::new(RolloutId::new(format!("rollout-{release}")), ReleaseNumber(release), tracks)
    }
}

impl App {
    fn with(rollout: Rollout) -> Self {
        let (coordinator, _) =
            Coordinator::default().submit(rollout, OnRunning::Reject).expect("nothing runs");
        Self { coordinator, tracks: BTreeMap::new(), now: Timestamp::UNIX_EPOCH }
    }

    /// Coordinates until no command is missing.
    fn settle(&mut self) {
        for _ in 0..20 {
            let next = coordinate(&self.coordinator, &self.tracks, self.now);
            self.coordinator = next.state;
            if next.commands.is_empty() {
                return;
            }
            for (key, command) in next.commands {
                let state = self.tracks.entry(key.clone()).or_insert_with(|| TrackState::new(key, 1));
                *state = state.apply(&command, self.now).expect("an acceptable command").0;
            }
        }
        panic!(
            "the coordinator asks for ever: {:?}",
            coordinate(&self.coordinator, &self.tracks, self.now).commands
        );
    }

    fn of(&mut self, component: &str) -> &mut TrackState {
        self.tracks.get_mut(&key(component)).expect("a track that was started")
    }

    fn commit(&mut self, component: &str) {
        let state = self.of(component);
        let rollout = state.rollout.as_mut().expect("a rollout");
        rollout.committed = true;
        rollout.ready = false;
        state.stable = rollout.to.clone();
        state.phase = Phase::Succeeded;
    }

    fn ready(&mut self, component: &str) {
        let state = self.of(component);
        state.phase = Phase::Promoting;
        state.rollout.as_mut().expect("a rollout").ready = true;
    }

    fn fail(&mut self, component: &str) {
        let state = self.of(component);
        state.rollout.as_mut().expect("a rollout").aborted = Some(AbortReason::Deadline(Vec::new()));
        state.phase = Phase::Aborted;
        state.holds.clear();
    }

    fn ended(&self) -> Option<&RolloutPhase> {
        self.coordinator
            .active
            .is_none()
            .then(|| self.coordinator.last.as_ref().map(|last| &last.phase))
            .flatten()
    }
}

#[test]
fn a_component_waits_for_those_it_depends_on() {
    let mut app = App::with(rollout(1, false));
    app.settle();
    let hold = Hold::Dependency(ComponentName::new("api").expect("a valid name"));
    assert!(app.of("web").holds.contains(&hold));
    assert!(app.of("api").holds.is_empty());
    app.commit("api");
    app.settle();
    assert!(app.of("web").holds.is_empty());
    app.commit("web");
    app.settle();
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
}

#[test]
fn lockstep_commits_nothing_before_every_track_is_ready() {
    let mut app = App::with(rollout(1, true));
    app.settle();
    app.ready("api");
    app.settle();
    let granted = CommitMode::Lockstep { granted: true };
    assert_ne!(app.of("api").rollout.as_ref().map(|rollout| rollout.commit), Some(granted));
    app.ready("web");
    app.settle();
    for component in ["api", "web"] {
        assert_eq!(app.of(component).rollout.as_ref().map(|rollout| rollout.commit), Some(granted));
    }
    let refused = app.coordinator.abort(AbortReason::User(String::new()));
    assert!(matches!(refused, Err(RolloutRefused::Committed { .. })));
}

#[test]
fn one_failed_track_takes_all_back_those_that_committed_too() {
    let mut app = App::with(rollout(1, false));
    app.settle();
    app.commit("api");
    app.settle();
    app.commit("web");
    app.settle();
    let (coordinator, _) =
        app.coordinator.submit(rollout(2, false), OnRunning::Reject).expect("nothing runs");
    app.coordinator = coordinator;
    app.settle();
    app.commit("api");
    app.settle();
    app.fail("web");
    app.settle();
    assert_eq!(app.ended(), None, "api has to go back");
    let back = app.of("api").rollout.clone().expect("a rollout");
    assert_eq!(
        (back.id.as_str(), back.to),
        ("rollout-2-back", Some(track("api", &[], 1).to.expect("a version")))
    );
    app.commit("api");
    app.settle();
    let Some(RolloutPhase::Aborted(reason)) = app.ended() else { panic!("it ended: {:?}", app.ended()) };
    assert_eq!(
        reason.to_string(),
        "web on local: no progress before the deadline",
        "the track that failed, and why"
    );
}

#[test]
fn a_second_release_is_refused_queued_or_takes_the_place_as_the_policy_says() {
    let mut app = App::with(rollout(1, false));
    app.settle();
    let refused = app.coordinator.submit(rollout(2, false), OnRunning::Reject);
    assert!(matches!(refused, Err(RolloutRefused::UnderWay { .. })));

    let (queued, _) = app.coordinator.submit(rollout(2, false), OnRunning::Queue).expect("queued");
    let mut waiting = App { coordinator: queued, tracks: app.tracks.clone(), now: app.now };
    waiting.settle();
    waiting.commit("api");
    waiting.settle();
    waiting.commit("web");
    waiting.settle();
    assert_eq!(waiting.coordinator.active.as_ref().map(|active| active.release), Some(ReleaseNumber(2)));

    let (superseding, _) =
        app.coordinator.submit(rollout(2, false), OnRunning::Supersede).expect("supersedes");
    app.coordinator = superseding;
    app.settle();
    let next = app.of("api").next.as_ref().map(|next| next.rollout.clone());
    assert_eq!(next, Some("rollout-2".into()));
    assert!(matches!(app.of("api").phase, Phase::Yielding(_)));
}

#[test]
fn what_is_committed_and_clears_up_refuses_no_release() {
    let mut app = App::with(rollout(1, true));
    app.settle();
    app.ready("api");
    app.ready("web");
    app.settle();
    let coordinator = app.coordinator.clone();
    let user = || AbortReason::User("no".to_owned());
    assert!(matches!(coordinator.abort(user()), Err(RolloutRefused::Committed { .. })));
    let (queued, _) = coordinator.submit(rollout(2, true), OnRunning::Reject).expect("it waits");
    let active = queued.active.as_ref().map(|active| active.release);
    assert_eq!((active, queued.queue.len()), (Some(ReleaseNumber(1)), 1));

    let refused = queued.submit(rollout(3, true), OnRunning::Reject);
    let waiting = RolloutRefused::UnderWay { rollout: "rollout-2".into(), release: ReleaseNumber(2) };
    assert_eq!(refused.expect_err("one waits already"), waiting);

    let (aborted, events) = queued.abort(user()).expect("the one that waits is given up");
    assert_eq!(aborted.queue, []);
    let phase = RolloutPhase::Aborted(user());
    assert_eq!(events, [RolloutEvent::Entered { rollout: "rollout-2".into(), phase }]);

    app.coordinator = queued;
    app.commit("api");
    app.commit("web");
    app.settle();
    assert_eq!(app.coordinator.active.as_ref().map(|active| active.release), Some(ReleaseNumber(2)));
}

#[test]
fn abort_twice_is_abort_once_and_retry_raises_the_attempt() {
    let mut app = App::with(rollout(1, false));
    app.settle();
    let user = AbortReason::User("no".to_owned());
    let (once, _) = app.coordinator.abort(user.clone()).expect("running");
    let (twice, events) = once.abort(user.clone()).expect("on its way back");
    assert_eq!((&once, events), (&twice, vec![]));
    app.coordinator = once;
    app.settle();
    for component in ["web", "api"] {
        assert!(app.of(component).phase.is_back());
        app.of(component).phase = Phase::Aborted;
    }
    app.settle();
    assert_eq!(app.ended(), Some(&RolloutPhase::Aborted(user)));
    let (again, _) = app.coordinator.retry().expect("aborted");
    app.coordinator = again;
    app.settle();
    assert_eq!(app.of("api").rollout.as_ref().map(|rollout| rollout.attempt), Some(2));
}
