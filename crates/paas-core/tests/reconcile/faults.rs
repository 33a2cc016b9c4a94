//! Backends that fail, hang, are slow, or lie about what they did.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use paas_core::action::Deploy;
use paas_core::engine::{OnHeld, Outcome, Platform, Subject};
use paas_core::memory::{FaultAction, Faults, Interceptor};
use paas_core::port::{ExecOptions, ExecOutput, LogOptions, SecretValue};
use paas_core::{ClusterName, ErrorKind};
use serde_json::json;
use tokio::time::sleep;

use crate::harness::*;

async fn with(faults: &Arc<Faults>) -> (World, Platform) {
    let world = World::new();
    let platform = world.platform(&[faults.clone() as Arc<dyn Interceptor>]).await;
    world.prepare(&platform).await;
    (world, platform)
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_named_and_ends_without_a_restart() {
    let faults = Arc::new(Faults::new());
    let (world, platform) = with(&faults).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    faults.always("runtime", FaultAction::FailBefore(ErrorKind::Unavailable));
    session(&platform).deploy(&at(), Deploy::spec(spec("2"))).await.unwrap();
    sleep(Duration::from_mins(3)).await;
    let conditions = platform.services().conditions().of(&at());
    assert!(!conditions.is_empty(), "the outage is named");
    for (_, condition) in &conditions {
        assert_eq!(condition.reason, "unavailable");
        assert!(condition.stale, "what is known may be out of date: {condition:?}");
    }
    let status = session(&platform).status(&at()).await.unwrap();
    assert!(status.reasons.iter().any(|reason| reason.contains("out of date")), "{:?}", status.reasons);
    assert!(world.cluster.request(HOST, "/").is_ok(), "the old version serves");
    faults.clear();
    world
        .until("the release goes on", async || {
            world.observe("web").await.sets.len() == 1 && world.ready("web").await == (3, 3)
        })
        .await;
    world
        .until("nothing is wrong any more", async || platform.services().conditions().of(&at()).is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_away_hold_what_needs_a_secret_and_nothing_else() {
    let faults = Arc::new(Faults::new());
    let (world, platform) = with(&faults).await;
    session(&platform).set_secret(&at(), "TOKEN", SecretValue::new("hush")).await.unwrap();
    release(&platform, Deploy::spec(spec("1"))).await;
    world.until("all are up", async || world.ready("web").await == (3, 3)).await;
    let before = world.cluster.snapshot();
    faults.always("key_ring", FaultAction::FailBefore(ErrorKind::Unavailable));
    let mut changed = app("1");
    changed["components"][2]["env"] = json!({ "T": { "secret": "TOKEN" } });
    let changed = serde_json::from_value(changed).unwrap();
    let started = session(&platform).deploy(&at(), Deploy::spec(changed)).await.unwrap();
    sleep(Duration::from_mins(3)).await;
    // It is named, on the component that needs it.
    let conditions = platform.services().conditions().of(&at());
    assert_eq!(conditions.len(), 1, "{conditions:?}");
    let (subject, condition) = &conditions[0];
    assert_eq!(*subject, Subject::Track(track("worker")));
    assert_eq!(condition.reason, "unavailable");
    assert!(!condition.stale, "the cluster was seen: {condition:?}");
    for part in ["reveal a secret", "TOKEN", "key_ring.open"] {
        assert!(condition.message.contains(part), "{condition:?}");
    }
    // Nothing is half done, and the cluster is not to blame.
    assert_eq!(world.cluster.snapshot(), before, "no set was made that lacks its secret");
    let now = platform.services().now();
    assert_eq!(platform.services().outages().of(&ClusterName::local(), now), None);
    session(&platform).scale(&at(), &name("api"), 2).await.unwrap();
    world.until("what needs no secret goes on", async || world.ready("api").await == (2, 2)).await;
    faults.clear();
    let outcome = session(&platform).wait_released(&at(), started.number, PATIENCE).await.unwrap();
    assert_eq!(outcome, Outcome::Succeeded);
    world
        .until("nothing is wrong any more", async || platform.services().conditions().of(&at()).is_empty())
        .await;
}

/// How many lines there are of the web component.
async fn lines(platform: &Platform) -> paas_core::Result<usize> {
    let lines = session(platform).logs(&at(), &name("web"), LogOptions::default()).await?;
    Ok(lines.filter(|line| std::future::ready(line.is_ok())).count().await)
}

async fn exit_code(platform: &Platform) -> paas_core::Result<Option<i32>> {
    let options = ExecOptions { command: vec!["exit".to_owned(), "3".to_owned()], ..ExecOptions::default() };
    let session = session(platform).exec(&at(), &name("web"), None, options).await?;
    let output: Vec<_> = session.output.collect().await;
    Ok(output.into_iter().find_map(|piece| match piece {
        Ok(ExecOutput::Exit(code)) => Some(code),
        _ => None,
    }))
}

#[tokio::test(start_paused = true)]
async fn lines_and_commands_that_cannot_be_had_are_clear_errors_and_harm_nothing_else() {
    let faults = Arc::new(Faults::new());
    let (world, platform) = with(&faults).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    world.until("all are up", async || world.ready("web").await == (3, 3)).await;
    assert!(lines(&platform).await.unwrap() > 0);
    assert_eq!(exit_code(&platform).await.unwrap(), Some(3));
    let cases = [
        (FaultAction::FailBefore(ErrorKind::Unavailable), ErrorKind::Unavailable, "a fault was injected"),
        (FaultAction::FailBefore(ErrorKind::Denied), ErrorKind::Denied, "a fault was injected"),
        (FaultAction::FailAfter(ErrorKind::Internal), ErrorKind::Internal, "a fault was injected"),
        (FaultAction::Hang, ErrorKind::Timeout, "seconds 10"),
    ];
    for (how, kind, told) in cases {
        faults.always("logs", how);
        faults.always("exec", how);
        for error in [lines(&platform).await.unwrap_err(), exit_code(&platform).await.unwrap_err()] {
            assert_eq!(error.kind(), kind, "{}", error.report());
            assert!(error.report().contains(told), "{}", error.report());
            assert!(error.report().contains("local"), "it names the cluster: {}", error.report());
        }
        // Nobody's application is out of date because its lines cannot be read.
        assert!(platform.services().conditions().of(&at()).is_empty());
        let now = platform.services().now();
        assert_eq!(platform.services().outages().of(&ClusterName::local(), now), None);
        faults.clear();
        assert!(lines(&platform).await.unwrap() > 0);
        assert_eq!(exit_code(&platform).await.unwrap(), Some(3));
    }
    release(&platform, Deploy::spec(spec("2"))).await;
    assert_eq!(world.observe("web").await.sets.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_is_given_up_after_a_while() {
    let faults = Arc::new(Faults::new());
    let (world, platform) = with(&faults).await;
    faults.nth("runtime.ensure", 1, 2, FaultAction::Hang);
    assert_eq!(release(&platform, Deploy::spec(spec("1"))).await, Outcome::Succeeded);
    world.until("all are up", async || world.ready("web").await == (3, 3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_a_named_hold_and_the_release_goes_on_when_there_is_room() {
    let faults = Arc::new(Faults::new());
    let (world, platform) = with(&faults).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    world.until("all are up", async || world.ready("web").await == (3, 3)).await;
    world.cluster.set_capacity(Some(5));
    session(&platform).deploy(&at(), Deploy::spec(spec("2"))).await.unwrap();
    sleep(Duration::from_mins(2)).await;
    let status = session(&platform).status(&at()).await.unwrap();
    let text = format!("{status:?}");
    assert!(text.contains("quota"), "the status names the quota: {text}");
    assert!(world.cluster.request(HOST, "/").is_ok());
    world.cluster.set_capacity(None);
    world
        .until("the release is done", async || {
            world.observe("web").await.sets.len() == 1 && world.ready("web").await == (3, 3)
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn random_faults_on_every_port_do_not_change_where_it_ends() {
    let mut undisturbed = None;
    for seed in 0..20 {
        let faults = Arc::new(Faults::seeded(seed, if seed == 0 { 0 } else { 100 }));
        let world = World::new();
        // What users ask goes to the store as it is; what reconcilers do is disturbed.
        let calm = world.platform_with(&[], OnHeld::Wait).await;
        world.prepare(&calm).await;
        calm.shutdown().await;
        let interceptors = [faults.clone() as Arc<dyn Interceptor>];
        let platform = loop {
            // Whoever starts a server starts it again when it failed to start.
            match world.try_platform(&interceptors, OnHeld::TakeOver).await {
                Ok(platform) => break platform,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        };
        for version in ["1", "2", "3"] {
            let started = session(&calm).deploy(&at(), Deploy::spec(spec(version))).await;
            let number = started.unwrap_or_else(|error| panic!("seed {seed}: {}", error.report())).number;
            let outcome = session(&calm).wait_released(&at(), number, PATIENCE).await;
            assert_eq!(outcome.unwrap(), Outcome::Succeeded, "seed {seed}");
        }
        let settled = undisturbed.clone();
        world
            .until(&format!("the end state, seed {seed}"), async || {
                let snapshot = world.cluster.snapshot();
                settled
                    .as_ref()
                    .map_or(world.observe("web").await.sets.len() == 1, |settled| snapshot == *settled)
            })
            .await;
        sleep(Duration::from_mins(1)).await;
        let end = world.cluster.snapshot();
        if seed > 0 {
            assert!(faults.struck() > 0, "seed {seed}: nothing was disturbed");
        }
        assert_eq!(*undisturbed.get_or_insert_with(|| end.clone()), end, "seed {seed}");
        drop(platform);
    }
}
