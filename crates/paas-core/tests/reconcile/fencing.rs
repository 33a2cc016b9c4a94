//! Two platforms on one store: one reconciles, and the other changes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use paas_core::Result;
use paas_core::action::Deploy;
use paas_core::engine::OnHeld;
use paas_core::memory::{Call, Interceptor, Mutations};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::harness::*;

/// Stops every call of a platform while it is closed, as a paused process does.
#[derive(Debug)]
struct Gate(watch::Sender<bool>);

#[async_trait]
impl Interceptor for Gate {
    async fn before(&self, _: &Call) -> Result<()> {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
        Ok(())
    }

    async fn after(&self, _: &Call) -> Result<()> {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_was_paused_and_replaced_changes_nothing_when_it_wakes_up() {
    for pause_after in [0, 5, 10, 15, 20, 25, 30, 40, 60] {
        let world = World::new();
        let gate = Arc::new(Gate(watch::Sender::new(true)));
        let done = Arc::new(Mutations::new());
        let first = world
            .platform_with(
                &[gate.clone() as Arc<dyn Interceptor>, done.clone() as Arc<dyn Interceptor>],
                OnHeld::Wait,
            )
            .await;
        world.prepare(&first).await;
        release(&first, Deploy::spec(spec("1"))).await;
        sleep(Duration::from_secs(5)).await;
        // It stops in the middle of a release.
        session(&first).deploy(&at(), Deploy::spec(spec("2"))).await.unwrap();
        sleep(Duration::from_millis(pause_after)).await;
        gate.0.send_replace(false);
        done.take();

        let second = world.platform_with(&[], OnHeld::Wait).await;
        world.until("the second takes over", async || second.is_reconciling()).await;
        session(&second).wait_released(&at(), paas_core::model::ReleaseNumber(2), PATIENCE).await.unwrap();
        world.until("the old version is gone", async || world.observe("web").await.sets.len() == 1).await;
        sleep(Duration::from_mins(1)).await;
        let (cluster, revision) = (world.cluster.snapshot(), world.store.revision().await.unwrap());

        gate.0.send_replace(true);
        sleep(Duration::from_millis(900)).await;
        assert_eq!(world.cluster.snapshot(), cluster, "paused after {pause_after} ms");
        let woken: Vec<Call> = done.take();
        let effective: Vec<&Call> = woken.iter().filter(|call| call.port != "store").collect();
        assert!(effective.is_empty(), "it changed a backend: {effective:?}");
        let newer = world.store.revision().await.unwrap();
        assert!(newer.0 - revision.0 <= 1, "only the lease is renewed: {} commits", newer.0 - revision.0);
        assert!(!first.is_reconciling());
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_when_the_holder_shuts_down() {
    let world = World::new();
    let first = world.platform_with(&[], OnHeld::Wait).await;
    world.prepare(&first).await;
    let second = world.platform_with(&[], OnHeld::Wait).await;
    sleep(Duration::from_mins(5)).await;
    assert!(first.is_reconciling() && !second.is_reconciling());
    // What the standby is told, the holder does.
    assert_eq!(release(&second, Deploy::spec(spec("1"))).await, paas_core::engine::Outcome::Succeeded);
    first.shutdown().await;
    world.until("the standby takes over", async || second.is_reconciling()).await;
    assert_eq!(release(&second, Deploy::spec(spec("2"))).await, paas_core::engine::Outcome::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_new_server_takes_over_at_once_and_the_old_one_does_not_take_it_back() {
    let world = World::new();
    let first = world.platform(&[]).await;
    world.prepare(&first).await;
    let second = world.platform(&[]).await;
    assert!(second.is_reconciling());
    sleep(Duration::from_mins(10)).await;
    assert!(second.is_reconciling() && !first.is_reconciling());
    drop(second);
    world.until("the old one goes on when the new one is gone", async || first.is_reconciling()).await;
    assert_eq!(release(&first, Deploy::spec(spec("1"))).await, paas_core::engine::Outcome::Succeeded);
}
