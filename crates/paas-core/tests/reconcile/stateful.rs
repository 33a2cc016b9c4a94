//! Components whose instances have ordinals and volumes of their own.

use std::time::Duration;

use paas_core::action::{Deploy, RollbackTarget};
use paas_core::engine::{Outcome, Platform};
use paas_core::memory::Image;
use paas_core::model::{AppSpec, Keep, RevisionId};
use paas_core::port::InstancePhase;
use serde_json::json;

use crate::harness::*;

fn database(version: &str, more: &serde_json::Value) -> AppSpec {
    let mut component = json!({
        "name": "api", "kind": "stateful", "image": format!("api:{version}"),
        "ports": [{ "name": "http", "number": 8080 }],
        "instances": { "count": 3 },
        "volumes": [{ "name": "data", "path": "/data" }],
        "termination": { "drain_seconds": 0 },
    });
    component.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json!({ "components": [component] })).unwrap()
}

fn plain(version: &str) -> AppSpec {
    database(version, &json!({}))
}

/// The ordinals that are ready, each with its revision.
async fn ready(world: &World) -> Vec<(u32, RevisionId)> {
    let seen = world.observe("api").await;
    let mut ready: Vec<_> = seen
        .sets
        .into_iter()
        .flat_map(|(id, set)| set.instances.into_iter().map(move |instance| (id.clone(), instance)))
        .filter(|(_, instance)| instance.phase == InstancePhase::Ready)
        .filter_map(|(id, instance)| Some((instance.ordinal?, id)))
        .collect();
    ready.sort();
    ready
}

fn volumes(world: &World) -> Vec<String> {
    world.cluster.snapshot().volumes.get(&track("api").to_string()).cloned().unwrap_or_default()
}

/// Watches until the change is done: what was ready at each moment, without repetition.
async fn watched(world: &World, change: impl Future<Output = ()>) -> Vec<Vec<(u32, RevisionId)>> {
    let mut seen = vec![ready(world).await];
    let watch = async {
        loop {
            let now = ready(world).await;
            if seen.last() != Some(&now) {
                seen.push(now);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = watch => unreachable!("it watches on"),
        () = change => seen,
    }
}

async fn up(world: &World, count: u32) {
    let what = format!("the ordinals below {count}");
    world
        .until(&what, async || {
            let ordinals: Vec<u32> = ready(world).await.into_iter().map(|(ordinal, _)| ordinal).collect();
            ordinals == (0..count).collect::<Vec<_>>()
        })
        .await;
}

async fn prepared(world: &World) -> Platform {
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    assert_eq!(release(&platform, Deploy::spec(plain("1"))).await, Outcome::Succeeded);
    up(world, 3).await;
    platform
}

#[tokio::test(start_paused = true)]
async fn a_release_exchanges_the_highest_ordinal_first_and_lets_one_be_missing() {
    let world = World::new();
    let platform = prepared(&world).await;
    let old = ready(&world).await[0].1.clone();
    let seen = watched(&world, async {
        assert_eq!(release(&platform, Deploy::spec(plain("2"))).await, Outcome::Succeeded);
        up(&world, 3).await;
    })
    .await;
    assert!(seen.iter().all(|ready| ready.len() >= 2), "more than one is missing: {seen:#?}");
    for ready in &seen {
        let new: Vec<u32> = ready.iter().filter(|(_, id)| *id != old).map(|(ordinal, _)| *ordinal).collect();
        let olds = ready.iter().filter(|(_, id)| *id == old).map(|(ordinal, _)| *ordinal).max();
        assert!(new.iter().all(|new| olds.is_none_or(|old| old < *new)), "not in order: {ready:?}");
    }
    assert_eq!(volumes(&world), ["data-0", "data-1", "data-2"]);
    let session = session(&platform);
    let back = session.rollback(&at(), RollbackTarget::Previous, Keep::default()).await.unwrap();
    assert_eq!(session.wait_released(&at(), back.number, PATIENCE).await.unwrap(), Outcome::Succeeded);
    up(&world, 3).await;
    assert!(ready(&world).await.iter().all(|(_, id)| *id == old), "the first revision is back");
    let status = session.status(&at()).await.unwrap();
    let told: Vec<_> = status.components[0].tracks[0].instances.iter().map(|it| it.ordinal).collect();
    assert_eq!(told, [Some(0), Some(1), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn scaling_takes_the_highest_ordinals_and_keeps_their_volumes() {
    let world = World::new();
    let platform = prepared(&world).await;
    let session = session(&platform);
    session.scale(&at(), &name("api"), 1).await.unwrap();
    up(&world, 1).await;
    assert_eq!(volumes(&world), ["data-0", "data-1", "data-2"], "they wait for their ordinals");
    session.scale(&at(), &name("api"), 4).await.unwrap();
    up(&world, 4).await;
    session.delete_app_env(&at(), "web").await.unwrap();
    world.until("nothing is left", async || volumes(&world).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_never_becomes_ready_costs_one_ordinal_and_gives_it_back() {
    let world = World::new();
    let platform = prepared(&world).await;
    let before = ready(&world).await;
    world.images.push("api:3", Image::new().never_ready());
    let seen = watched(&world, async {
        let outcome = release(&platform, Deploy::spec(plain("3"))).await;
        assert!(matches!(outcome, Outcome::Aborted { .. }), "{outcome:?}");
        up(&world, 3).await;
    })
    .await;
    assert!(seen.iter().all(|ready| ready.len() >= 2), "more than one is missing: {seen:#?}");
    assert_eq!(ready(&world).await, before);
}

#[tokio::test(start_paused = true)]
async fn an_interruption_is_told_before_it_begins() {
    let world = World::new();
    let platform = prepared(&world).await;
    let session = session(&platform);
    let started = session.deploy(&at(), Deploy::spec(plain("2"))).await.unwrap();
    assert!(started.notes.is_empty(), "{:?}", started.notes);
    session.wait_released(&at(), started.number, PATIENCE).await.unwrap();
    session.scale(&at(), &name("api"), 1).await.unwrap();
    let started = session.deploy(&at(), Deploy::spec(plain("1"))).await.unwrap();
    assert!(started.notes[0].contains("interrupted"), "{:?}", started.notes);
}

#[tokio::test(start_paused = true)]
async fn what_ordinals_and_volumes_are_bound_to_cannot_change() {
    let world = World::new();
    let platform = prepared(&world).await;
    let session = session(&platform);
    let refused = async |spec: AppSpec| {
        let error = session.deploy(&at(), Deploy::spec(spec)).await.unwrap_err();
        error.faults().iter().map(|fault| fault.path.clone()).collect::<Vec<_>>()
    };
    assert_eq!(refused(database("1", &json!({ "kind": "service" }))).await, ["components[0].kind"]);
    let more = json!({ "volumes": [{ "name": "other", "path": "/data" }] });
    assert_eq!(refused(database("1", &more)).await, ["components[0].volumes"]);
    let elsewhere = json!({ "volumes": [{ "name": "data", "path": "/var/lib/data" }] });
    assert_eq!(release(&platform, Deploy::spec(database("1", &elsewhere))).await, Outcome::Succeeded);
}
