//! Rollouts over several clusters: their order, what one that fails means, and one that cannot be reached.

use jiff::SignedDuration;

use super::*;

const CLUSTERS: [&str; 3] = ["east", "north", "west"];

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a valid cluster")
}

fn on(component: &str, cluster: &str) -> TrackKey {
    format!("acme/prod/shop/{component}@{cluster}").parse().expect("a valid track")
}

fn everywhere(release: u64, order: ClusterOrder, on_failure: OnClusterFailure) -> Rollout {
    let of = |component: &str, depends_on: &[&str]| {
        let track = track(component, depends_on, release);
        CLUSTERS.map(|cluster| RolloutTrack { track: on(component, cluster), ..track.clone() })
    };
    let tracks = [of("web", &["api"]), of("api", &[])].concat();
    let id = RolloutId::new(format!("rollout-{release}"));
    Rollout { lockstep: true, order, on_failure, ..Rollout::new(id, ReleaseNumber(release), tracks) }
}

impl App {
    fn at(&mut self, component: &str, cluster: &str) -> &mut TrackState {
        self.tracks.get_mut(&on(component, cluster)).expect("a track that was started")
    }

    fn has_begun(&self, cluster: &str) -> bool {
        let id = self.coordinator.active.as_ref().expect("a rollout under way").id.clone();
        self.tracks.values().any(|state| {
            let rollout = state.rollout.as_ref();
            state.track.cluster.as_str() == cluster && rollout.is_some_and(|rollout| rollout.id == id)
        })
    }

    /// Everything on a cluster becomes ready, and carries out its commit if it is told.
    fn finish(&mut self, cluster: &str) {
        for component in ["api", "web"] {
            let state = self.at(component, cluster);
            state.phase = Phase::Promoting;
            state.rollout.as_mut().expect("a rollout").ready = true;
        }
        self.settle();
        self.apply_commits(cluster);
        self.settle();
    }

    fn apply_commits(&mut self, cluster: &str) {
        for component in ["api", "web"] {
            let state = self.at(component, cluster);
            let rollout = state.rollout.as_mut().expect("a rollout");
            if rollout.commit == (CommitMode::Lockstep { granted: true }) {
                rollout.committed = true;
                rollout.ready = false;
                state.stable = rollout.to.clone();
                state.phase = Phase::Succeeded;
            }
        }
    }

    /// Everything on a cluster that is on its way back gets there.
    fn come_back(&mut self, cluster: &str) {
        for component in ["api", "web"] {
            let state = self.at(component, cluster);
            if state.phase.is_back() {
                state.phase = Phase::Aborted;
            } else if state.rollout.as_ref().is_some_and(|it| it.id.as_str().ends_with("-back")) {
                let rollout = state.rollout.as_mut().expect("a rollout");
                rollout.committed = true;
                state.stable = rollout.to.clone();
                state.phase = Phase::Succeeded;
            }
        }
        self.settle();
    }

    fn break_on(&mut self, component: &str, cluster: &str) {
        let state = self.at(component, cluster);
        state.rollout.as_mut().expect("a rollout").aborted = Some(AbortReason::Deadline(Vec::new()));
        state.phase = Phase::Aborted;
        state.holds.clear();
        self.settle();
    }

    /// A cluster cannot be seen from now on, or can again.
    fn set_away(&mut self, cluster: &str, away: bool) {
        let now = self.now;
        for state in self.tracks.values_mut().filter(|state| state.track.cluster.as_str() == cluster) {
            *state =
                if away { state.clone().unseen(now) } else { TrackState { away: None, ..state.clone() } };
        }
        self.settle();
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.saturating_add(SignedDuration::from_secs(seconds)).expect("a time");
        self.settle();
    }

    fn stable(&mut self, component: &str, cluster: &str) -> Option<u64> {
        self.at(component, cluster).stable.as_ref().map(|stable| stable.release.0)
    }
}

/// An application whose first release is everywhere, with a second one under way.
fn second(order: ClusterOrder, on_failure: OnClusterFailure) -> App {
    let mut app = App::with(everywhere(1, ClusterOrder::AllAtOnce, OnClusterFailure::Back));
    app.settle();
    for cluster in CLUSTERS {
        app.finish(cluster);
    }
    // The last to be ready lets the others commit.
    for cluster in CLUSTERS {
        app.apply_commits(cluster);
    }
    app.settle();
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
    let submitted = app.coordinator.submit(everywhere(2, order, on_failure), OnRunning::Reject);
    app.coordinator = submitted.expect("nothing runs").0;
    app.settle();
    app
}

#[test]
fn all_at_once_begins_everywhere_and_commits_nowhere_before_all_are_ready() {
    let mut app = second(ClusterOrder::AllAtOnce, OnClusterFailure::Back);
    assert!(CLUSTERS.iter().all(|cluster| app.has_begun(cluster)));
    app.finish("east");
    app.finish("north");
    assert_eq!(app.stable("web", "east"), Some(1));
    app.finish("west");
    app.apply_commits("east");
    app.apply_commits("north");
    app.settle();
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
}

#[test]
fn one_by_one_a_cluster_begins_when_those_before_it_have_committed() {
    let mut app = second(ClusterOrder::OneByOne, OnClusterFailure::Back);
    for (index, cluster) in CLUSTERS.iter().enumerate() {
        let begun: Vec<bool> = CLUSTERS.iter().map(|cluster| app.has_begun(cluster)).collect();
        let expected: Vec<bool> = (0..3).map(|other| other <= index).collect();
        assert_eq!(begun, expected);
        app.finish(cluster);
        if index < 2 {
            assert_eq!(app.stable("web", cluster), Some(2), "it has committed by itself");
            assert!(app.coordinator.active.as_ref().is_some_and(|active| !active.committed));
        }
    }
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
}

#[test]
fn one_by_one_the_first_failure_stops_it_and_takes_those_before_back() {
    let mut app = second(ClusterOrder::OneByOne, OnClusterFailure::Back);
    app.finish("east");
    app.break_on("api", "north");
    assert!(!app.has_begun("west"));
    app.come_back("north");
    app.come_back("east");
    let Some(RolloutPhase::Aborted(reason)) = app.ended() else { panic!("{:?}", app.ended()) };
    assert!(reason.to_string().starts_with("api on north"), "{reason}");
    for cluster in CLUSTERS {
        assert_eq!(app.stable("web", cluster), Some(1));
    }
    assert!(app.coordinator.behind.is_empty());
}

#[test]
fn one_by_one_with_keep_the_first_failure_stops_it_and_those_before_keep_theirs() {
    let mut app = second(ClusterOrder::OneByOne, OnClusterFailure::Keep);
    app.finish("east");
    app.break_on("api", "north");
    app.come_back("north");
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
    assert_eq!(app.stable("web", "east"), Some(2));
    let behind: Vec<&str> = app.coordinator.behind.keys().map(ClusterName::as_str).collect();
    assert_eq!(behind, ["north", "west"]);
    assert!(app.coordinator.behind.values().all(Rollout::has_ended), "nothing tries again by itself");
    // Somebody does.
    let (again, _) = app.coordinator.retry().expect("two clusters lack it");
    app.coordinator = again;
    app.settle();
    app.finish("north");
    app.finish("west");
    assert!(app.coordinator.behind.is_empty());
    assert_eq!(app.stable("web", "west"), Some(2));
}

#[test]
fn what_a_component_depends_on_is_on_its_own_cluster() {
    let mut app = second(ClusterOrder::AllAtOnce, OnClusterFailure::Keep);
    let state = app.at("api", "east");
    state.phase = Phase::Promoting;
    state.rollout.as_mut().expect("a rollout").ready = true;
    app.settle();
    assert!(app.at("web", "east").holds.is_empty());
    assert!(!app.at("web", "west").holds.is_empty());
}

#[test]
fn a_cluster_that_is_away_is_waited_for_until_its_time_is_out_then_all_go_back() {
    let mut app = second(ClusterOrder::AllAtOnce, OnClusterFailure::Back);
    app.set_away("west", true);
    app.finish("east");
    app.finish("north");
    app.pass(590);
    assert_eq!(app.stable("web", "east"), Some(1));
    assert!(app.ended().is_none());
    let wake_at = coordinate(&app.coordinator, &app.tracks, app.now).wake_at.expect("a deadline");
    assert_eq!(wake_at.as_second(), 600);
    app.pass(11);
    app.come_back("east");
    app.come_back("north");
    let Some(RolloutPhase::Aborted(reason)) = app.ended() else { panic!("{:?}", app.ended()) };
    assert!(reason.to_string().contains("cluster west cannot be reached since"), "{reason}");
    // The tracks there go back when they can, and the next release does not wait for it.
    assert!(app.at("web", "west").phase.is_back());
    let third = everywhere(3, ClusterOrder::AllAtOnce, OnClusterFailure::Keep);
    app.coordinator = app.coordinator.submit(third, OnRunning::Reject).expect("nothing runs").0;
    app.settle();
    assert!(app.at("web", "west").next.is_some(), "it yields first");
    app.finish("east");
    app.finish("north");
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
}

#[test]
fn with_keep_a_cluster_that_is_away_holds_up_nobody_and_follows_when_it_is_back() {
    let mut app = second(ClusterOrder::AllAtOnce, OnClusterFailure::Keep);
    app.set_away("west", true);
    app.finish("east");
    assert!(app.ended().is_none(), "north is under way");
    app.finish("north");
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
    assert_eq!(app.coordinator.behind[&cluster("west")].phase, RolloutPhase::Running);
    app.pass(100_000);
    assert_eq!(app.coordinator.behind[&cluster("west")].phase, RolloutPhase::Running, "it has all the time");
    app.set_away("west", false);
    app.finish("west");
    assert_eq!(app.stable("web", "west"), Some(2));
    assert!(app.coordinator.behind.is_empty());
}

#[test]
fn with_keep_a_release_that_no_cluster_has_is_aborted() {
    let mut app = second(ClusterOrder::AllAtOnce, OnClusterFailure::Keep);
    for cluster in CLUSTERS {
        app.set_away(cluster, true);
    }
    assert!(app.ended().is_none(), "somebody may come back");
    app.pass(601);
    assert!(
        matches!(app.ended(), Some(RolloutPhase::Aborted(AbortReason::Away { .. }))),
        "{:?}",
        app.ended()
    );
}

#[test]
fn a_commit_that_a_cluster_cannot_carry_out_does_not_hold_up_the_release() {
    let mut app = second(ClusterOrder::AllAtOnce, OnClusterFailure::Back);
    for component in ["api", "web"] {
        let state = app.at(component, "west");
        state.phase = Phase::Promoting;
        state.rollout.as_mut().expect("a rollout").ready = true;
    }
    app.set_away("west", true);
    for cluster in ["east", "north"] {
        app.finish(cluster);
    }
    app.apply_commits("east");
    app.settle();
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
    assert!(app.coordinator.behind.contains_key(&cluster("west")));
    app.set_away("west", false);
    app.apply_commits("west");
    app.settle();
    assert!(app.coordinator.behind.is_empty());
    assert_eq!(app.stable("web", "west"), Some(2));
}

#[test]
fn an_abort_with_keep_leaves_what_has_been_committed() {
    let mut app = second(ClusterOrder::OneByOne, OnClusterFailure::Keep);
    app.finish("east");
    let user = AbortReason::User("no".to_owned());
    app.coordinator = app.coordinator.abort(user).expect("it is under way").0;
    app.settle();
    app.come_back("north");
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
    assert_eq!((app.stable("web", "east"), app.stable("web", "north")), (Some(2), Some(1)));
    assert_eq!(app.coordinator.behind.len(), 2);
}

#[test]
fn a_rollout_that_loses_a_cluster_goes_on_and_one_that_loses_all_ends() {
    let mut app = second(ClusterOrder::AllAtOnce, OnClusterFailure::Back);
    let (without, _) = app.coordinator.without_clusters(|cluster| cluster.as_str() == "west");
    app.coordinator = without;
    app.settle();
    app.finish("east");
    app.finish("north");
    app.apply_commits("east");
    app.settle();
    assert_eq!(app.ended(), Some(&RolloutPhase::Succeeded));
    let third = everywhere(3, ClusterOrder::AllAtOnce, OnClusterFailure::Keep);
    app.coordinator = app.coordinator.submit(third, OnRunning::Reject).expect("nothing runs").0;
    let (without, _) = app.coordinator.without_clusters(|_| true);
    assert_eq!(without.active, None);
    assert_eq!(without.last.map(|last| last.phase), Some(RolloutPhase::Aborted(AbortReason::NoCluster)));
}

#[test]
fn a_cluster_is_behind_unless_all_of_it_is_at_the_current_release_or_somebody_sees_to_it() {
    let mut app = second(ClusterOrder::AllAtOnce, OnClusterFailure::Keep);
    let is_behind = |app: &App, name: &str, release: u64| {
        app.coordinator.is_behind(&cluster(name), ReleaseNumber(release), &app.tracks)
    };
    assert!(!is_behind(&app, "east", 1), "the rollout sees to it");
    assert!(is_behind(&app, "south", 1), "it has nothing");
    for cluster in CLUSTERS {
        app.finish(cluster);
    }
    assert!(!is_behind(&app, "east", 2));
    assert!(is_behind(&app, "east", 1));
    let rollout = app.coordinator.last.clone().expect("it ended").on(&cluster("east"), RolloutPhase::Running);
    app.coordinator = app.coordinator.catch_up(cluster("east"), rollout).0;
    assert!(!is_behind(&app, "east", 2));
}
