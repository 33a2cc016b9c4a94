//! An API server that is slow, wrong, or away: applications stay untouched, nothing happens twice, and all is well again
//! without a restart.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use paas_core::ErrorKind;
use paas_core::port::{Epoch, Runtime as _, RuntimeEvent};
use paas_k8s::CallLimits;
use paas_k8s::fake::{Fault, Verb};
use paas_k8s::kube::Api;
use paas_k8s::kube::api::ListParams;

use super::fixture::{Fixture, ok, track};

async fn deployments(fixture: &Fixture) -> usize {
    let all: Api<Deployment> = Api::all(fixture.fake.client());
    all.list(&ListParams::default()).await.unwrap().items.len()
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_unavailable_and_passes() {
    let fixture = Fixture::new().await;
    let spec = fixture.spec(&track("shop"), "r1", 1);
    fixture.fake.inject(Verb::Any, Some("deployments"), Fault::Refused, 100);
    let error = fixture.cluster.ensure(Epoch(1), &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    fixture.fake.heal();
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    fixture.until_ready(&spec.key, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_a_timeout() {
    let fixture = Fixture::new().await;
    let spec = fixture.spec(&track("shop"), "r1", 1);
    fixture.fake.inject(Verb::Any, Some("deployments"), Fault::Hangs, 100);
    let begun = tokio::time::Instant::now();
    let error = fixture.cluster.observe(&spec.key.track).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{}", error.report());
    assert!(begun.elapsed() < Duration::from_mins(3), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wish_for_a_pause_is_granted() {
    let fixture = Fixture::new().await;
    let spec = fixture.spec(&track("shop"), "r1", 1);
    fixture.fake.inject(Verb::Create, Some("deployments"), Fault::TooManyRequests(3), 1);
    let begun = tokio::time::Instant::now();
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(deployments(&fixture).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_after_the_commit_makes_nothing_twice() {
    for fault in [Fault::ErrorAfterCommit, Fault::CutAfterCommit] {
        let fixture = Fixture::new().await;
        let spec = fixture.spec(&track("shop"), "r1", 2);
        fixture.fake.inject(Verb::Create, Some("deployments"), fault.clone(), 1);
        let error = fixture.cluster.ensure(Epoch(1), &spec).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "a POST is not repeated: {}", error.report());
        ok(fixture.cluster.ensure(Epoch(1), &spec).await);
        fixture.until_ready(&spec.key, 2).await;
        assert_eq!(deployments(&fixture).await, 1);

        fixture.fake.inject(Verb::Update, Some("deployments"), fault, 1);
        ok(fixture.cluster.scale(Epoch(1), &spec.key, 3.into()).await);
        fixture.until_ready(&spec.key, 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_go_on_after_a_watch_was_cut_or_was_too_old() {
    let fixture = Fixture::new().await;
    let spec = fixture.spec(&track("shop"), "r1", 1);
    ok(fixture.cluster.ensure(Epoch(1), &spec).await);
    fixture.until_ready(&spec.key, 1).await;
    for too_old in [false, true] {
        let mut events = ok(fixture.cluster.watch().await);
        if too_old {
            fixture.fake.inject(Verb::Watch, None, Fault::Refused, 20);
        }
        fixture.fake.drop_watches();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let count = if too_old { 3 } else { 2 };
        ok(fixture.cluster.scale(Epoch(1), &spec.key, count.into()).await);
        if too_old {
            tokio::time::sleep(Duration::from_secs(1)).await;
            fixture.fake.compact();
            fixture.fake.heal();
        }
        let told = tokio::time::timeout(Duration::from_mins(2), async {
            while ok(events.next().await.unwrap()) != RuntimeEvent::Track(spec.key.track.clone()) {}
        });
        assert!(told.await.is_ok(), "no event after the watch was cut, too old: {too_old}");
        fixture.until_ready(&spec.key, count as usize).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_keeps_to_its_bounds() {
    let fixture = Fixture::new().await;
    let client =
        fixture.fake.client_with(CallLimits::default().with_timeout(Duration::from_secs(1)).with_retries(1));
    fixture.fake.inject(Verb::List, Some("pods"), Fault::Hangs, 100);
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::all(client);
    let begun = tokio::time::Instant::now();
    assert!(pods.list(&ListParams::default()).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
