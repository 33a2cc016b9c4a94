//! What is observed, listed and told.

use futures::StreamExt as _;

use super::super::ok;
use super::{Case, EPOCH, RuntimeFixture, Workload, ids};
use crate::port::{RuntimeEvent, SetObservation};

/// `observe` shows a state no older than every mutation that returned before.
pub async fn observe_shows_what_returned_before(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "observe");
    let spec = case.ensure("r1", Workload::Ready, 1).await;
    assert_eq!(case.set("r1").await.map(|set| set.desired), Some(1), "right after ensure");
    ok(case.runtime.scale(EPOCH, &spec.key, 3.into()).await);
    assert_eq!(case.set("r1").await.map(|set| set.desired), Some(3), "right after scale");
    ok(case.runtime.remove(EPOCH, &spec.key).await);
    assert_eq!(case.set("r1").await.map_or(0, |set| set.desired), 0, "right after remove");
    case.clean().await;
}

/// `observe` of a track of which nothing exists is empty.
pub async fn an_unknown_track_is_empty(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "unknown-track");
    assert!(ok(case.runtime.observe(&case.track).await).sets.is_empty());
}

/// `watch` tells of every change after the call; changes may be merged.
pub async fn watch_tells_of_changes(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "watch");
    let mut events = ok(case.runtime.watch().await);
    let spec = case.ensure("r1", Workload::Ready, 1).await;
    // Looks only when told to, so a change that is not told makes it wait until patience ends.
    let mut follow = async |what: &str, reached: &dyn Fn(Option<&SetObservation>) -> bool| {
        let told = tokio::time::timeout(fixture.patience(), async {
            while !reached(case.set("r1").await.as_ref()) {
                loop {
                    let event = ok(events.next().await.expect("the stream goes on"));
                    if matches!(&event, RuntimeEvent::Track(track) if *track == case.track) {
                        break;
                    }
                }
            }
        });
        assert!(told.await.is_ok(), "no event told that: {what}");
    };
    follow("the instance is ready", &|set| set.is_some_and(|set| set.ready() == 1)).await;
    ok(case.runtime.scale(EPOCH, &spec.key, 2.into()).await);
    follow("the second instance is ready", &|set| set.is_some_and(|set| set.ready() == 2)).await;
    let instance = ids(&case.set("r1").await.expect("the set exists"))[0].clone();
    fixture.kill(&instance).await;
    follow("it ended", &|set| {
        set.is_some_and(|set| set.instances.iter().any(|i| i.last_exit.is_some() || i.id != instance))
    })
    .await;
    ok(case.runtime.remove(EPOCH, &spec.key).await);
    follow("the set is gone", &|set| set.is_none()).await;
    case.clean().await;
}

/// The tracks that have any set are listed.
pub async fn tracks_lists_the_tracks_with_sets(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "tracks");
    assert!(!ok(case.runtime.tracks().await).contains(&case.track));
    case.ensure("r1", Workload::Ready, 1).await;
    case.ensure("r2", Workload::Ready, 0).await;
    let tracks = ok(case.runtime.tracks().await);
    assert_eq!(
        tracks.iter().filter(|track| **track == case.track).count(),
        1,
        "once, with two sets: {tracks:?}"
    );
    let (runtime, track) = (case.runtime.clone(), case.track.clone());
    case.clean().await;
    assert!(!ok(runtime.tracks().await).contains(&track));
}
