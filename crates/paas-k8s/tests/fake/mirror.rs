//! What is observed comes from watches: it costs the API server nothing, is never behind what was written, and is not believed
//! when the watches are not.

use std::time::Duration;

use paas_core::port::{Epoch, Router as _, Runtime as _};
use paas_k8s::fake::{Fault, Verb};
use tokio::time::sleep;

use super::fixture::{Fixture, ok, route, track, traffic};

/// How many kinds are followed: as many lists are made at the most when they have been silent.
const KINDS: u64 = 7;

/// An application that serves.
async fn serving() -> Fixture {
    let fixture = Fixture::new().await;
    let spec = fixture.spec(&track("shop"), "r1", 3);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1)])).await);
    ok(fixture.cluster.apply_routes(Epoch(1), &track("shop").component.at, &[route()]).await);
    fixture.until_ready(&spec.key, 3).await;
    sleep(Duration::from_secs(1)).await;
    fixture
}

#[tokio::test(start_paused = true)]
async fn what_is_observed_again_and_again_is_listed_once() {
    let fixture = serving().await;
    let before = fixture.fake.reads();
    for _ in 0..100 {
        assert_eq!(ok(fixture.cluster.observe(&track("shop")).await).sets.len(), 1);
        assert!(ok(fixture.cluster.observe_service(&track("shop")).await).is_some());
        assert_eq!(ok(fixture.cluster.observe_routes(&track("shop").component.at).await).len(), 1);
    }
    let reads = fixture.fake.reads() - before;
    assert!(reads <= KINDS, "{reads} reads for 300 observations");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_observed_at_once() {
    for hang in [false, true] {
        let fixture = serving().await;
        fixture.fake.hang_watches(hang);
        let key = fixture.spec(&track("shop"), "r1", 3).key;
        for count in [5_u32, 1, 4, 2, 3] {
            ok(fixture.cluster.scale(Epoch(1), &key, count.into()).await);
            assert_eq!(fixture.set(&key).await.unwrap().desired, count, "watches hang: {hang}");
        }
        let next = fixture.spec(&track("shop"), "r2", 1);
        ok(fixture.cluster.ensure(Epoch(1), &next).await);
        assert_eq!(fixture.set(&next.key).await.unwrap().desired, 1, "watches hang: {hang}");
        ok(fixture.cluster.apply_service(Epoch(1), &traffic(&[("r1", 1), ("r2", 3)])).await);
        let seen = ok(fixture.cluster.observe_service(&track("shop")).await).unwrap();
        assert_eq!(seen.weights.into_values().collect::<Vec<_>>(), [1, 3], "watches hang: {hang}");
        ok(fixture.cluster.remove(Epoch(1), &next.key).await);
        assert_eq!(fixture.set(&next.key).await.map_or(0, |it| it.desired), 0, "watches hang: {hang}");
        ok(fixture.cluster.apply_routes(Epoch(1), &track("shop").component.at, &[]).await);
        let routes = ok(fixture.cluster.observe_routes(&track("shop").component.at).await);
        assert!(routes.is_empty(), "watches hang: {hang}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_write_without_an_answer_did_is_observed() {
    for fault in [Fault::ErrorAfterCommit, Fault::CutAfterCommit] {
        let fixture = serving().await;
        fixture.fake.hang_watches(true);
        let key = fixture.spec(&track("shop"), "r1", 3).key;
        fixture.fake.inject(Verb::Update, Some("deployments"), fault.clone(), 100);
        assert!(fixture.cluster.scale(Epoch(1), &key, 5.into()).await.is_err(), "{fault:?}");
        fixture.fake.heal();
        assert_eq!(fixture.set(&key).await.unwrap().desired, 5, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_hangs_is_not_believed_for_long() {
    let fixture = serving().await;
    let key = fixture.spec(&track("shop"), "r1", 3).key;
    let pod = fixture.set(&key).await.unwrap().instances[0].id.0.clone();
    fixture.fake.hang_watches(true);
    assert!(fixture.fake.set_pod_ready(&pod, false));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(fixture.set(&key).await.unwrap().ready(), 2);
    // And what the list has brought is not undone by what the watch brings late.
    assert!(fixture.fake.set_pod_ready(&pod, true));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(fixture.set(&key).await.unwrap().ready(), 3);
    fixture.fake.hang_watches(false);
    for _ in 0..50 {
        assert_eq!(fixture.set(&key).await.unwrap().ready(), 3);
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_the_server_is_asked() {
    let fixture = serving().await;
    let key = fixture.spec(&track("shop"), "r1", 3).key;
    let pod = fixture.set(&key).await.unwrap().instances[0].id.0.clone();
    fixture.fake.inject(Verb::Watch, None, Fault::Refused, usize::MAX);
    fixture.fake.drop_watches();
    sleep(Duration::from_millis(50)).await;
    for ready in [false, true, false] {
        assert!(fixture.fake.set_pod_ready(&pod, ready));
        assert_eq!(fixture.set(&key).await.unwrap().ready(), if ready { 3 } else { 2 });
    }
    // A refusal is an answer too.
    fixture.fake.inject(Verb::List, Some("pods"), Fault::Refused, usize::MAX);
    assert!(fixture.cluster.observe(&track("shop")).await.is_err());
    fixture.fake.heal();
    assert_eq!(fixture.set(&key).await.unwrap().ready(), 2);
}
