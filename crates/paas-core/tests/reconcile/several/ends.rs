//! Deletions and removals while a cluster cannot be reached.

use std::sync::Arc;

use paas_core::ErrorKind;
use paas_core::action::{Deploy, NewApp, NewCluster, NewEnv, RemoveCluster};
use paas_core::engine::{AppState, Outcome, Platform};
use paas_core::memory::{FaultAction, SimulatedDriver};
use paas_core::port::SecretValue;
use serde_json::json;

use super::{GONE, Setting, Site, cluster, keep};
use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn a_deletion_ends_while_a_cluster_is_away_and_what_is_there_goes_before_anything_new_begins() {
    let setting = Setting::new(&["east", "west"]).await;
    let session = session(&setting.platform);
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    setting.west.cut(FaultAction::Hang);
    session.delete_app(&at().app_ref(), "web").await.unwrap();
    setting
        .until("it is gone", async || {
            session.get_app(&at().app_ref()).await.is_err_and(|error| error.kind() == ErrorKind::NotFound)
        })
        .await;
    assert!(setting.east.is_empty().await);
    assert!(!setting.west.is_empty().await);
    assert_eq!(setting.world.count("tombstone").await, 1);
    // The name is free.
    session.create_app(&at().org, NewApp::new("web".parse().unwrap())).await.unwrap();
    let number = setting.deploy(keep(Deploy::spec(spec("2")))).await;
    assert_eq!(setting.ended(number).await, Outcome::Succeeded);
    let old = setting.west.revisions("web", "west").await;
    setting.west.mutations.take();
    setting.west.heal();
    setting
        .until("the new one is there", async || {
            let now = setting.west.revisions("web", "west").await;
            now.len() == 1 && now != old && setting.west.ready("web", "west").await == 3
        })
        .await;
    let calls: Vec<&str> = setting.west.mutations.take().into_iter().map(|call| call.operation).collect();
    let last_purge = calls.iter().rposition(|call| *call == "purge").expect("its volumes are gone");
    let first_ensure = calls.iter().position(|call| *call == "ensure").expect("something new");
    assert!(last_purge < first_ensure, "{calls:?}");
    assert_eq!(setting.world.count("tombstone").await, 0);
}

#[tokio::test(start_paused = true)]
async fn equal_content_is_made_anew_after_a_deletion_and_has_no_volume_of_the_old() {
    let setting = Setting::new(&["east", "west"]).await;
    let session = session(&setting.platform);
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    setting.west.cut(GONE);
    session.delete_app_env(&at(), "web").await.unwrap();
    setting
        .until("the place is free", async || {
            session.status(&at()).await.unwrap().state == AppState::NotDeployed
        })
        .await;
    let made = setting.west.cluster.instances_made().len();
    let number = setting.deploy(keep(Deploy::spec(spec("1")))).await;
    assert_eq!(setting.ended(number).await, Outcome::Succeeded);
    setting.west.heal();
    setting
        .until("it runs again", async || {
            setting.world.count("tombstone").await == 0 && setting.west.ready("web", "west").await == 3
        })
        .await;
    assert!(setting.west.cluster.instances_made().len() > made, "the old instances were not taken over");
}

const ADDRESS: &str = "south.example.org";

/// A platform with a third cluster that was added at run time, as the only one of an environment.
async fn with_south() -> (World, Site, SimulatedDriver, Platform) {
    let world = World::new();
    let south = Site::new(&world);
    let driver = SimulatedDriver::new();
    driver.add(ADDRESS, "hunter2", south.ports());
    let platform = Platform::builder()
        .store(Arc::clone(&world.store))
        .driver(Arc::new(driver.clone()))
        .registry(Arc::new(world.images.clone()))
        .key_ring(world.key_ring.clone())
        .clock(world.clock.clone())
        .ids(world.ids.clone())
        .administrator(admin())
        .build()
        .await
        .unwrap();
    let new = NewCluster {
        name: cluster("south"),
        kind: "simulated".to_owned(),
        region: Some("eu-south-1".to_owned()),
        labels: [].into(),
        config: json!({ "address": ADDRESS }),
    };
    session(&platform).add_cluster(new, Some(SecretValue::new("hunter2"))).await.unwrap();
    world.prepare(&platform).await;
    (world, south, driver, platform)
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_never_comes_back_is_forgotten_by_force_only() {
    let (world, south, _driver, platform) = with_south().await;
    let session = session(&platform);
    release(&platform, Deploy::spec(spec("1"))).await;
    let shown = session.get_env(&at().env_ref()).await.unwrap().value;
    assert_eq!(shown.regions[&cluster("south")], "eu-south-1");
    assert_eq!(session.status(&at()).await.unwrap().clusters[0].region.as_deref(), Some("eu-south-1"));
    south.cut(GONE);
    session.delete_app(&at().app_ref(), "web").await.unwrap();
    let error = session.remove_cluster(&cluster("south")).await.unwrap_err();
    assert!(error.report().contains("shop/prod"), "{}", error.report());
    world.until("it is gone", async || world.count("app").await == 0).await;
    session.delete_env(&at().env_ref()).await.unwrap();
    let error = session.remove_cluster(&cluster("south")).await.unwrap_err();
    assert!(error.report().contains("shop/prod/web"), "{}", error.report());
    let removal = session.preview_remove_cluster(&cluster("south")).await.unwrap();
    assert_eq!(removal.deleted.iter().map(ToString::to_string).collect::<Vec<_>>(), ["shop/prod/web"]);
    session.perform(RemoveCluster { cluster: cluster("south"), force: true }).await.unwrap();
    world
        .until("all is forgotten", async || {
            world.count("tombstone").await == 0 && world.count("forgotten_cluster").await == 0
        })
        .await;
    assert!(!south.is_empty().await, "what was there stays");
}

#[tokio::test(start_paused = true)]
async fn an_environment_and_the_removal_of_its_cluster_exclude_each_other() {
    let (world, _south, _driver, platform) = with_south().await;
    let session = session(&platform);
    session.delete_app(&at().app_ref(), "web").await.unwrap();
    session.delete_env(&at().env_ref()).await.unwrap();
    for _ in 0..20 {
        let env = NewEnv::new("prod".parse().unwrap());
        let (made, removed) =
            tokio::join!(session.create_env(&at().org, env), session.remove_cluster(&cluster("south")));
        assert!(made.is_err() || removed.is_err(), "one of them has not seen the other");
        if removed.is_ok() {
            return;
        }
        session.delete_env(&at().env_ref()).await.unwrap();
    }
    assert_eq!(world.count("cluster").await, 1);
}
