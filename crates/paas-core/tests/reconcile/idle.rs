//! Converged means zero writes.

use std::sync::Arc;
use std::time::Duration;

use paas_core::action::Deploy;
use paas_core::memory::{Call, Interceptor, Mutations};
use tokio::time::sleep;

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn an_idle_platform_changes_nothing_on_any_port_through_forced_resyncs() {
    let world = World::new();
    let mutations = Arc::new(Mutations::new());
    let platform = world.platform(&[mutations.clone() as Arc<dyn Interceptor>]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    release(&platform, Deploy::spec(spec("2"))).await;
    sleep(Duration::from_mins(1)).await;
    assert!(!mutations.take().is_empty(), "the deploys were counted");
    for _ in 0..3 {
        platform.resync();
        sleep(Duration::from_mins(30)).await;
    }
    let calls = mutations.take();
    assert!(calls.iter().any(|call| call.object == "put lease all"), "the lease is renewed");
    assert_eq!(without_lease(calls), Vec::new());
    assert_eq!(world.ready("web").await, (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_a_converged_platform_changes_no_document() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    sleep(Duration::from_mins(1)).await;
    platform.shutdown().await;
    let before = world.cluster.instances_made();
    let mutations = Arc::new(Mutations::new());
    let platform = world.platform(&[mutations.clone() as Arc<dyn Interceptor>]).await;
    sleep(Duration::from_mins(1)).await;
    let calls = without_lease(mutations.take());
    let written: Vec<&Call> = calls.iter().filter(|call| call.port == "store").collect();
    assert_eq!(written.len(), 1, "only the lease changed hands: {written:?}");
    // Routers are told once what they should know; equal traffic changes nothing there.
    assert!(calls.iter().all(|call| call.port != "runtime"), "{calls:?}");
    assert_eq!(world.cluster.instances_made(), before);
    assert!(platform.is_reconciling());
}
