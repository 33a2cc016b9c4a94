//! How clusters follow each other holds for whatever starts a release: a return and a restart, too.

use std::time::Duration;

use paas_core::action::{Deploy, RollbackTarget};
use paas_core::engine::Outcome;
use paas_core::model::{Keep, ReleaseNumber};
use serde_json::json;
use tokio::time::sleep;

use super::{Setting, targets_of};
use crate::harness::*;

#[derive(Debug, Clone, Copy)]
enum Start {
    Rollback,
    Restart,
}

/// Two releases on both clusters, of which west comes first and has no room for another version.
async fn full_in_the_west(order: &str) -> Setting {
    let setting = Setting::with(json!({
        "name": "prod", "targets": targets_of(&["west", "east"]), "cluster_order": order,
    }))
    .await;
    release(&setting.platform, Deploy::spec(spec("1"))).await;
    release(&setting.platform, Deploy::spec(spec("2"))).await;
    for (site, name) in [(&setting.west, "west"), (&setting.east, "east")] {
        setting.until("one version is left", async || site.revisions("web", name).await.len() == 1).await;
    }
    sleep(Duration::from_mins(1)).await;
    setting.west.cluster.set_capacity(Some(5));
    setting.east.mutations.take();
    setting
}

impl Start {
    const ALL: [Self; 2] = [Self::Rollback, Self::Restart];

    async fn on(self, setting: &Setting) -> ReleaseNumber {
        let session = session(&setting.platform);
        let started = match self {
            Self::Rollback => session.rollback(&at(), RollbackTarget::Previous, Keep::Nothing).await,
            Self::Restart => session.restart(&at(), None).await,
        };
        started.unwrap().number
    }
}

#[tokio::test(start_paused = true)]
async fn one_by_one_a_return_and_a_restart_begin_on_the_second_cluster_when_the_first_has_committed() {
    for start in Start::ALL {
        let setting = full_in_the_west("one_by_one").await;
        let before = setting.east.revisions("web", "east").await;
        let number = start.on(&setting).await;
        sleep(Duration::from_mins(1)).await;
        assert_eq!(setting.east.mutations.take(), Vec::new(), "{start:?}: west is not done");
        setting.west.cluster.set_capacity(None);
        assert_eq!(setting.ended(number).await, Outcome::Succeeded, "{start:?}");
        assert_ne!(setting.east.revisions("web", "east").await, before, "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_by_one_a_return_and_a_restart_stop_at_the_first_cluster_that_fails() {
    for start in Start::ALL {
        let setting = full_in_the_west("one_by_one").await;
        let number = start.on(&setting).await;
        sleep(Duration::from_mins(1)).await;
        session(&setting.platform).abort(&at(), "west is full").await.unwrap();
        let outcome = setting.ended(number).await;
        assert!(matches!(outcome, Outcome::Aborted { .. }), "{start:?}: {outcome:?}");
        sleep(Duration::from_mins(10)).await;
        assert_eq!(setting.east.mutations.take(), Vec::new(), "{start:?}: east never had its turn");
        assert_eq!(setting.current().await, Some(ReleaseNumber(2)), "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_at_once_a_return_and_a_restart_begin_on_every_cluster() {
    for start in Start::ALL {
        let setting = full_in_the_west("all_at_once").await;
        let number = start.on(&setting).await;
        setting.until("east begins", async || setting.east.revisions("web", "east").await.len() == 2).await;
        setting.west.cluster.set_capacity(None);
        assert_eq!(setting.ended(number).await, Outcome::Succeeded, "{start:?}");
    }
}
