//! The spaces of environments: kept as declared while there is one, and gone with it.

use std::time::Duration;

use paas_core::action::{Deploy, PageOptions};
use paas_core::engine::EventKind;
use paas_core::port::{Drift, Epoch, Scope};
use tokio::time::sleep;

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn what_others_change_of_a_space_is_restored_and_told_as_an_event() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let env = at().env_ref();
    let drift = Drift { kind: "Quota".to_owned(), name: "space".to_owned(), missing: true };
    world.cluster.damage_space(&env, drift);
    platform.resync();
    sleep(Duration::from_secs(10)).await;
    let events = session(&platform).events(Scope::Env(env), PageOptions::default()).await.unwrap();
    let told: Vec<_> = events.items.iter().filter(|event| event.kind == EventKind::SpaceRestored).collect();
    assert_eq!(told.len(), 1, "{events:?}");
    assert!(told[0].message.contains("Quota space was missing and was restored"), "{}", told[0].message);
}

#[tokio::test(start_paused = true)]
async fn a_space_goes_with_its_environment() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let (env, spaces) = (at().env_ref(), world.cluster.ports().spaces.unwrap());
    assert_eq!(spaces.list().await.unwrap(), std::slice::from_ref(&env));
    let session = session(&platform);
    session.delete_app(&at().app_ref(), at().app.as_str()).await.unwrap();
    world.until("the application is gone", async || session.status(&at()).await.is_err()).await;
    session.delete_env(&env).await.unwrap();
    world.until("the space is gone", async || spaces.list().await.unwrap().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn the_space_of_an_environment_that_the_store_does_not_know_stays_while_it_holds_volumes() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let spaces = world.cluster.ports().spaces.unwrap();
    spaces.ensure(Epoch(1), &"acme/unknown".parse().unwrap()).await.unwrap();
    platform.resync();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(spaces.list().await.unwrap(), [at().env_ref()], "an empty one goes");
    assert!(spaces.remove(Epoch(u64::MAX), &at().env_ref()).await.is_err(), "one with volumes stays");
}
