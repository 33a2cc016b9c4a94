//! The promises of [`Router`], and of what it counts.

mod counted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};

use super::{app, component, eventually, expect_kind, ok, revision, track};
use crate::error::ErrorKind;
use crate::model::{Port, Protocol, RevisionId};
use crate::name::{AppEnv, ClusterName, TrackKey};
use crate::port::{
    Backend, Epoch, HostPath, RouteBinding, Router, RouterCapabilities, RouterEvent, ServiceObservation,
    ServiceState, ServiceTraffic, Traffic,
};

pub use counted::{
    a_request_that_nobody_could_answer_is_counted_as_an_error_of_the_router,
    requests_are_counted_by_their_access_point_and_their_revision,
};

/// How many requests are under way at once where many are counted.
const AT_ONCE: usize = 8;

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An instance of this revision answered.
    Served(RevisionId),
    /// The router answered itself, with this status; 0 if it refused or cut the connection.
    Refused(u16),
}

/// A router under test.
#[async_trait]
pub trait RouterFixture: Send + Sync {
    /// The router.
    fn router(&self) -> Arc<dyn Router>;

    /// What it counted; nothing if it does not count.
    fn traffic(&self) -> Option<Arc<dyn Traffic>>;

    /// The capabilities that it must claim; checked in beside the backend.
    fn required(&self) -> RouterCapabilities;

    /// Lets a revision of a track have so many ready instances, which answer with their revision; returns when the
    /// router knows.
    async fn serve(&self, track: &TrackKey, revision: &RevisionId, count: u32);

    /// Sends one request for a host and a path.
    async fn request(&self, host: &str, path: &str) -> Answer;

    /// Opens one connection to a TCP port of the router; needed if `tcp` is required.
    async fn connect(&self, port: u16) -> Answer;

    /// A TCP port that the router may open.
    fn free_port(&self) -> u16;

    /// The port that instances listen on.
    fn port(&self) -> Port {
        Port { name: "http".parse().expect("the name is valid"), number: 8080, protocol: Protocol::Http }
    }

    /// Whether it chooses a backend for each request at random by the weights, instead of dealing requests out in turn. More
    /// requests are judged then.
    fn chooses_at_random(&self) -> bool {
        false
    }

    /// The cluster's name.
    fn cluster(&self) -> ClusterName {
        ClusterName::local()
    }

    /// How long to wait for anything.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Defines a test for each promise of [`Router`](crate::port::Router): attributes of the tests, then an expression for the
/// fixture.
#[macro_export]
macro_rules! router_conformance {
    ($($form:tt)*) => {
        $crate::conformance_tests! { router, [$($form)*],
            claims_the_required_capabilities,
            traffic_reaches_the_instances,
            shares_follow_the_weights,
            a_backend_with_weight_zero_gets_no_request,
            a_backend_without_ready_instances_gets_no_request,
            no_request_fails_while_traffic_changes,
            confirmed_means_that_no_request_uses_older_shares,
            equal_traffic_changes_nothing,
            a_missing_service_is_nothing,
            routes_to_a_removed_service_answer_503,
            a_stopped_service_answers_503,
            no_ready_instance_answers_503,
            an_unknown_host_answers_404,
            routes_are_replaced_whole,
            the_longest_path_wins_by_whole_segments,
            a_taken_place_is_a_conflict_and_nothing_changes,
            observe_routes_tells_what_is_in_force,
            wildcard_hosts_come_after_exact_ones,
            tcp_ports_lead_to_instances,
            watch_tells_of_changes,
            a_lower_epoch_is_rejected,
            requests_are_counted_by_their_access_point_and_their_revision,
            a_request_that_nobody_could_answer_is_counted_as_an_error_of_the_router,
        }
    };
}

const EPOCH: Epoch = Epoch(7);

struct Case<'a> {
    fixture: &'a dyn RouterFixture,
    router: Arc<dyn Router>,
    at: AppEnv,
    track: TrackKey,
}

impl<'a> Case<'a> {
    fn new(fixture: &'a dyn RouterFixture, name: &str) -> Self {
        let track = track(name, fixture.cluster());
        Self { fixture, router: fixture.router(), at: app(name), track }
    }

    fn host(&self) -> String {
        format!("{}.example.org", self.at.app)
    }

    fn route(&self, name: &str, host: &str, path: &str) -> RouteBinding {
        RouteBinding {
            name: name.parse().expect("tests choose valid names"),
            host: Some(host.to_owned()),
            path: path.to_owned(),
            tcp_port: None,
            track: self.track.clone(),
            port: self.fixture.port(),
        }
    }

    fn traffic(&self, shares: &[(&str, u32)]) -> ServiceTraffic {
        let backend = |(index, (name, weight)): (usize, &(&str, u32))| Backend {
            revision: revision(name),
            weight: *weight,
            release: index as u64 + 1,
        };
        ServiceTraffic {
            track: self.track.clone(),
            ports: vec![self.fixture.port()],
            backends: shares.iter().enumerate().map(backend).collect(),
            state: ServiceState::Serving,
        }
    }

    /// Applies shares and waits until they are confirmed.
    async fn apply(&self, shares: &[(&str, u32)]) {
        ok(self.router.apply_service(EPOCH, &self.traffic(shares)).await);
        self.until_confirmed(shares).await;
    }

    async fn until_confirmed(&self, shares: &[(&str, u32)]) -> ServiceObservation {
        let weights: BTreeMap<RevisionId, u32> =
            shares.iter().map(|(name, weight)| (revision(name), *weight)).collect();
        eventually("the shares are confirmed", self.fixture.patience(), async || {
            match ok(self.router.observe_service(&self.track).await) {
                Some(seen) if seen.confirmed && seen.weights == weights => Ok(seen),
                other => Err(other),
            }
        })
        .await
    }

    /// One route `/` on the case's own host, with instances of each revision, and shares.
    async fn with_route(self, shares: &[(&str, u32)]) -> Self {
        for (name, _) in shares {
            self.fixture.serve(&self.track, &revision(name), 2).await;
        }
        self.apply(shares).await;
        let routes = [self.route("main", &self.host(), "/")];
        ok(self.router.apply_routes(EPOCH, &self.at, &routes).await);
        self.until_answer(&self.host(), "/", |answer| *answer != Answer::Refused(404)).await;
        self
    }

    async fn until_answer(&self, host: &str, path: &str, condition: impl Fn(&Answer) -> bool) -> Answer {
        eventually("the answer", self.fixture.patience(), async || {
            let answer = self.fixture.request(host, path).await;
            if condition(&answer) { Ok(answer) } else { Err(answer) }
        })
        .await
    }

    async fn count(&self, requests: u32) -> BTreeMap<RevisionId, u32> {
        let host = self.host();
        let answers = stream::iter(0..requests).map(|_| self.fixture.request(&host, "/"));
        let mut answers = std::pin::pin!(answers.buffered(AT_ONCE));
        let mut served = BTreeMap::new();
        while let Some(answer) = answers.next().await {
            match answer {
                Answer::Served(revision) => *served.entry(revision).or_default() += 1,
                Answer::Refused(status) => panic!("a request was refused with {status}"),
            }
        }
        served
    }

    async fn clean(self) {
        ok(self.router.apply_routes(Epoch(u64::MAX), &self.at, &[]).await);
        ok(self.router.remove_service(Epoch(u64::MAX), &self.track).await);
    }
}

/// A backend must not claim less than what is checked in beside it.
pub async fn claims_the_required_capabilities(fixture: &dyn RouterFixture) {
    let (required, claimed) = (fixture.required(), fixture.router().capabilities());
    let pairs = [
        ("fenced", required.fenced, claimed.fenced),
        ("weights", required.weights, claimed.weights),
        ("matches", required.matches, claimed.matches),
        ("mirror", required.mirror, claimed.mirror),
        ("tcp", required.tcp, claimed.tcp),
        ("wildcard_hosts", required.wildcard_hosts, claimed.wildcard_hosts),
    ];
    for (name, required, claimed) in pairs {
        assert!(claimed || !required, "the backend must have the capability {name} and does not claim it");
    }
}

/// A request for an access point reaches an instance of its track.
pub async fn traffic_reaches_the_instances(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "reaches").with_route(&[("r1", 1)]).await;
    assert_eq!(case.count(5).await, BTreeMap::from([(revision("r1"), 5)]));
    case.clean().await;
}

/// Shares follow the weights.
pub async fn shares_follow_the_weights(fixture: &dyn RouterFixture) {
    if !fixture.router().capabilities().weights {
        return;
    }
    let case = Case::new(fixture, "shares").with_route(&[("r1", 3), ("r2", 1)]).await;
    // A tenth more or less than the share. Of choices at random that is five standard deviations of so many.
    let requests: u32 = if fixture.chooses_at_random() { 8_000 } else { 200 };
    let (share, served) = (requests / 4, case.count(requests).await);
    let new = served.get(&revision("r2")).copied().unwrap_or_default();
    let near = share - share / 10..=share + share / 10;
    assert!(
        near.contains(&new),
        "a quarter of {requests} requests is {share}, and {new} went there: {served:?}"
    );
    case.clean().await;
}

/// A backend with weight 0 gets no request.
pub async fn a_backend_with_weight_zero_gets_no_request(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "weight-zero").with_route(&[("r1", 1), ("r2", 0)]).await;
    assert_eq!(case.count(50).await, BTreeMap::from([(revision("r1"), 50)]));
    case.clean().await;
}

/// A backend without a ready instance gets no request while another with a weight has one.
pub async fn a_backend_without_ready_instances_gets_no_request(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "not-ready").with_route(&[("r1", 1), ("r2", 1)]).await;
    fixture.serve(&case.track, &revision("r2"), 0).await;
    assert_eq!(case.count(50).await, BTreeMap::from([(revision("r1"), 50)]));
    fixture.serve(&case.track, &revision("r2"), 1).await;
    eventually("it gets requests once it is ready again", fixture.patience(), async || {
        let served = case.count(4).await;
        if served.contains_key(&revision("r2")) { Ok(()) } else { Err(served) }
    })
    .await;
    case.clean().await;
}

/// No request that arrives while a change is applied is refused or cut for it.
pub async fn no_request_fails_while_traffic_changes(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "changes").with_route(&[("r1", 1), ("r2", 1)]).await;
    let changes = async {
        for round in 0..20 {
            let shares = if round % 2 == 0 { [("r1", 1), ("r2", 0)] } else { [("r1", 0), ("r2", 1)] };
            case.apply(&shares).await;
        }
    };
    let requests = async {
        loop {
            case.count(1).await;
            // Not a yield: with paused time only a pause lets time pass.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = changes => {}
        () = requests => unreachable!("requests go on until the changes are done"),
    }
    case.clean().await;
}

/// With `confirmed` no request uses older shares.
pub async fn confirmed_means_that_no_request_uses_older_shares(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "confirmed").with_route(&[("r1", 1), ("r2", 0)]).await;
    for round in 0..10 {
        let (old, new) = if round % 2 == 0 { ("r1", "r2") } else { ("r2", "r1") };
        case.apply(&[(old, 0), (new, 1)]).await;
        assert_eq!(case.count(10).await, BTreeMap::from([(revision(new), 10)]));
    }
    case.clean().await;
}

/// Equal traffic and equal access points change nothing.
pub async fn equal_traffic_changes_nothing(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "equal").with_route(&[("r1", 2), ("r2", 1)]).await;
    let before = case.until_confirmed(&[("r1", 2), ("r2", 1)]).await;
    ok(case.router.apply_service(EPOCH, &case.traffic(&[("r1", 2), ("r2", 1)])).await);
    let after = ok(case.router.observe_service(&case.track).await);
    assert_eq!(after, Some(before), "it stays confirmed");
    case.clean().await;
}

/// A missing service is nothing, and removing it is a success.
pub async fn a_missing_service_is_nothing(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "no-service");
    assert_eq!(ok(case.router.observe_service(&case.track).await), None);
    ok(case.router.remove_service(EPOCH, &case.track).await);
    assert_eq!(ok(case.router.observe_routes(&case.at).await), Vec::new());
}

/// Routes to a removed service answer 503.
pub async fn routes_to_a_removed_service_answer_503(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "removed").with_route(&[("r1", 1)]).await;
    ok(case.router.remove_service(EPOCH, &case.track).await);
    case.until_answer(&case.host(), "/", |answer| *answer == Answer::Refused(503)).await;
    assert_eq!(ok(case.router.observe_service(&case.track).await), None);
    case.apply(&[("r1", 1)]).await;
    case.until_answer(&case.host(), "/", |answer| *answer == Answer::Served(revision("r1"))).await;
    case.clean().await;
}

/// A stopped service answers 503.
pub async fn a_stopped_service_answers_503(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "stopped").with_route(&[("r1", 1)]).await;
    let state = ServiceState::Stopped { reason: "taken offline".to_owned() };
    let stopped = ServiceTraffic { state: state.clone(), ..case.traffic(&[("r1", 1)]) };
    ok(case.router.apply_service(EPOCH, &stopped).await);
    let seen = case.until_confirmed(&[("r1", 1)]).await;
    assert_eq!(seen.state, state);
    assert_eq!(fixture.request(&case.host(), "/").await, Answer::Refused(503));
    case.clean().await;
}

/// Without any ready instance the answer is 503.
pub async fn no_ready_instance_answers_503(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "none-ready").with_route(&[("r1", 1)]).await;
    fixture.serve(&case.track, &revision("r1"), 0).await;
    case.until_answer(&case.host(), "/", |answer| *answer == Answer::Refused(503)).await;
    case.clean().await;
}

/// A host without an access point answers 404.
pub async fn an_unknown_host_answers_404(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "unknown-host").with_route(&[("r1", 1)]).await;
    assert_eq!(fixture.request("nobody.example.net", "/").await, Answer::Refused(404));
    case.clean().await;
}

/// `apply_routes` replaces all access points at once.
pub async fn routes_are_replaced_whole(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "replaced").with_route(&[("r1", 1)]).await;
    let routes = [case.route("a", "a.replaced.org", "/"), case.route("b", "b.replaced.org", "/")];
    ok(case.router.apply_routes(EPOCH, &case.at, &routes).await);
    for host in ["a.replaced.org", "b.replaced.org"] {
        case.until_answer(host, "/", |answer| *answer == Answer::Served(revision("r1"))).await;
    }
    case.until_answer(&case.host(), "/", |answer| *answer == Answer::Refused(404)).await;
    case.clean().await;
}

/// The longest path wins, by whole segments.
pub async fn the_longest_path_wins_by_whole_segments(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "paths").with_route(&[("r1", 1)]).await;
    let other = component("paths").at.component("other".parse().expect("valid")).on(fixture.cluster());
    fixture.serve(&other, &revision("r9"), 1).await;
    let traffic = ServiceTraffic { track: other.clone(), ..case.traffic(&[("r9", 1)]) };
    ok(case.router.apply_service(EPOCH, &traffic).await);
    let deep = RouteBinding { track: other.clone(), ..case.route("deep", &case.host(), "/api/v1") };
    let routes = [case.route("main", &case.host(), "/"), deep];
    ok(case.router.apply_routes(EPOCH, &case.at, &routes).await);
    for (path, expected) in
        [("/api/v1", "r9"), ("/api/v1/x", "r9"), ("/api/v12", "r1"), ("/api", "r1"), ("/", "r1")]
    {
        case.until_answer(&case.host(), path, |answer| *answer == Answer::Served(revision(expected))).await;
    }
    ok(case.router.remove_service(EPOCH, &other).await);
    case.clean().await;
}

/// A place that another application has is a conflict that names it, and nothing changes.
pub async fn a_taken_place_is_a_conflict_and_nothing_changes(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "taken").with_route(&[("r1", 1)]).await;
    let second = Case::new(fixture, "taker");
    let kept = [second.route("kept", "kept.taker.org", "/")];
    ok(second.router.apply_routes(EPOCH, &second.at, &kept).await);
    let wanted = [second.route("mine", &case.host(), "/")];
    let error = second.router.apply_routes(EPOCH, &second.at, &wanted).await;
    let error = error.expect_err("a place that another application has is refused");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{}", error.report());
    let owner = case.at.to_string();
    assert!(error.report().contains(&owner), "it names who has it: {}", error.report());
    assert_eq!(ok(second.router.observe_routes(&second.at).await), kept, "nothing changes");
    let asked = [HostPath::new(case.host(), "/"), HostPath::new("kept.taker.org", "/")];
    let holders = ok(second.router.holders(&second.at, &asked).await);
    assert_eq!(
        holders,
        [Some(case.at.clone()), None],
        "who has it is told, and nobody has what is one's own"
    );
    assert_eq!(fixture.request(&case.host(), "/").await, Answer::Served(revision("r1")));
    second.clean().await;
    case.clean().await;
}

/// `observe_routes` tells the access points in force, and each has an address.
pub async fn observe_routes_tells_what_is_in_force(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "observed").with_route(&[("r1", 1)]).await;
    let routes = [case.route("a", "a.observed.org", "/"), case.route("b", "a.observed.org", "/b")];
    ok(case.router.apply_routes(EPOCH, &case.at, &routes).await);
    assert_eq!(ok(case.router.observe_routes(&case.at).await), routes);
    let addresses: Vec<String> = routes.iter().map(|route| case.router.address(route)).collect();
    assert!(addresses[0].contains("a.observed.org"), "{addresses:?}");
    assert_ne!(addresses[0], addresses[1]);
    case.clean().await;
}

/// A wildcard host covers the hosts below it; an exact host comes first.
pub async fn wildcard_hosts_come_after_exact_ones(fixture: &dyn RouterFixture) {
    if !fixture.router().capabilities().wildcard_hosts {
        return;
    }
    let case = Case::new(fixture, "wildcard").with_route(&[("r1", 1)]).await;
    let other = component("wildcard").at.component("other".parse().expect("valid")).on(fixture.cluster());
    fixture.serve(&other, &revision("r9"), 1).await;
    let traffic = ServiceTraffic { track: other.clone(), ..case.traffic(&[("r9", 1)]) };
    ok(case.router.apply_service(EPOCH, &traffic).await);
    let exact = RouteBinding { track: other.clone(), ..case.route("exact", "x.wildcard.org", "/") };
    let routes = [case.route("wild", "*.wildcard.org", "/"), exact];
    ok(case.router.apply_routes(EPOCH, &case.at, &routes).await);
    for (host, expected) in [("y.wildcard.org", "r1"), ("x.wildcard.org", "r9")] {
        case.until_answer(host, "/", |answer| *answer == Answer::Served(revision(expected))).await;
    }
    case.until_answer("wildcard.org", "/", |answer| *answer == Answer::Refused(404)).await;
    ok(case.router.remove_service(EPOCH, &other).await);
    case.clean().await;
}

/// A TCP port of the router leads to instances; one that another application has is a conflict.
pub async fn tcp_ports_lead_to_instances(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "tcp").with_route(&[("r1", 1)]).await;
    let number = fixture.free_port();
    let route = RouteBinding { host: None, tcp_port: Some(number), ..case.route("tcp", "", "/") };
    let answer = case.router.apply_routes(EPOCH, &case.at, std::slice::from_ref(&route)).await;
    if !case.router.capabilities().tcp {
        return expect_kind(answer, ErrorKind::Unsupported, "what the capabilities exclude is refused");
    }
    ok(answer);
    eventually("a connection is served", fixture.patience(), async || match fixture.connect(number).await {
        Answer::Served(served) if served == revision("r1") => Ok(()),
        other => Err(other),
    })
    .await;
    let second = Case::new(fixture, "tcp-taker");
    let wanted = RouteBinding { track: second.track.clone(), ..route };
    let answer = second.router.apply_routes(EPOCH, &second.at, &[wanted]).await;
    expect_kind(answer, ErrorKind::Conflict, "a port that another application has is refused");
    case.clean().await;
}

/// `watch` tells of every change after the call.
pub async fn watch_tells_of_changes(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "watched");
    fixture.serve(&case.track, &revision("r1"), 1).await;
    let mut events = ok(case.router.watch().await);
    ok(case.router.apply_service(EPOCH, &case.traffic(&[("r1", 1)])).await);
    let told = tokio::time::timeout(fixture.patience(), async {
        // Looks only when told to, so a confirmation that is not told makes it wait until patience ends.
        while !ok(case.router.observe_service(&case.track).await).is_some_and(|seen| seen.confirmed) {
            while ok(events.next().await.expect("the stream goes on"))
                != RouterEvent::Service(case.track.clone())
            {}
        }
    });
    assert!(told.await.is_ok(), "no event told that the traffic is confirmed");
    let routes = [case.route("main", &case.host(), "/")];
    ok(case.router.apply_routes(EPOCH, &case.at, &routes).await);
    let told = tokio::time::timeout(fixture.patience(), async {
        while ok(events.next().await.expect("the stream goes on")) != RouterEvent::Routes(case.at.clone()) {}
    });
    assert!(told.await.is_ok(), "no event told that the access points changed");
    case.clean().await;
}

/// A fenced backend rejects an epoch lower than the highest it has seen for an object, and nothing changes.
pub async fn a_lower_epoch_is_rejected(fixture: &dyn RouterFixture) {
    if !fixture.router().capabilities().fenced {
        return;
    }
    let case = Case::new(fixture, "fenced").with_route(&[("r1", 1), ("r2", 0)]).await;
    let (old, promise) = (Epoch(EPOCH.0 - 1), "a lower epoch is rejected");
    let other = case.traffic(&[("r1", 0), ("r2", 1)]);
    expect_kind(case.router.apply_service(old, &other).await, ErrorKind::Fenced, promise);
    expect_kind(case.router.remove_service(old, &case.track).await, ErrorKind::Fenced, promise);
    expect_kind(case.router.apply_routes(old, &case.at, &[]).await, ErrorKind::Fenced, promise);
    assert_eq!(case.count(10).await, BTreeMap::from([(revision("r1"), 10)]), "nothing changed");
    case.clean().await;
}
