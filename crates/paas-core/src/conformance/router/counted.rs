//! The promises of [`Traffic`](crate::port::Traffic).

use super::{Case, EPOCH, RouterFixture};
use crate::conformance::{ok, revision};
use crate::model::RevisionId;
use crate::port::{TrafficFigures, TrafficSource};

impl Case<'_> {
    /// What was counted of the requests that came by an access point and were answered by this revision; nothing if the
    /// router does not count.
    async fn counted(&self, route: &str, revision: Option<&RevisionId>) -> Option<TrafficFigures> {
        let traffic = self.fixture.traffic()?;
        let source = TrafficSource::Route { name: route.parse().expect("tests choose valid names") };
        let mut found = ok(traffic.counted().await)
            .into_iter()
            .filter(|it| it.source == source && it.component == self.track.component)
            .filter(|it| it.revision.as_ref() == revision);
        let figures = found.next().map(|it| it.figures).unwrap_or_default();
        assert_eq!(found.next(), None, "one entry for each source, component and revision");
        Some(figures)
    }
}

/// An answered request is counted once, for its access point and for the revision that answered.
pub async fn requests_are_counted_by_their_access_point_and_their_revision(fixture: &dyn RouterFixture) {
    let case = Case::new(fixture, "counted").with_route(&[("r1", 1), ("r2", 0)]).await;
    let (one, two) = (revision("r1"), revision("r2"));
    let Some(before) = case.counted("main", Some(&one)).await else { return case.clean().await };
    case.count(7).await;
    let after = case.counted("main", Some(&one)).await.unwrap_or_default();
    assert_eq!(after.responses.successful, before.responses.successful + 7, "{after:?}");
    assert_eq!(after.responses.total(), before.responses.total() + 7, "{after:?}");
    assert_eq!(after.latency.count(), after.responses.total(), "each was measured");
    assert_eq!(after.router_errors, before.router_errors);
    let none = case.counted("main", Some(&two)).await.unwrap_or_default();
    assert_eq!(none.responses.total(), 0, "it answered nothing");
    case.apply(&[("r1", 0), ("r2", 1)]).await;
    case.count(3).await;
    let other = case.counted("main", Some(&two)).await.unwrap_or_default();
    assert_eq!(other.responses.successful, 3, "{other:?}");
    case.clean().await;
}

/// What no instance could answer is counted without a revision, as an error of the router.
pub async fn a_request_that_nobody_could_answer_is_counted_as_an_error_of_the_router(
    fixture: &dyn RouterFixture,
) {
    let case = Case::new(fixture, "counted-none").with_route(&[("r1", 1)]).await;
    let Some(before) = case.counted("main", None).await else { return case.clean().await };
    ok(case.router.remove_service(EPOCH, &case.track).await);
    let refused = super::Answer::Refused(503);
    case.until_answer(&case.host(), "/", |answer| *answer == refused).await;
    let between = case.counted("main", None).await.unwrap_or_default();
    assert!(between.router_errors > before.router_errors, "{between:?}");
    assert_eq!(fixture.request(&case.host(), "/").await, refused);
    let after = case.counted("main", None).await.unwrap_or_default();
    assert_eq!(after.responses.server_error, between.responses.server_error + 1, "{after:?}");
    assert_eq!(after.router_errors, between.router_errors + 1, "{after:?}");
    case.clean().await;
}
