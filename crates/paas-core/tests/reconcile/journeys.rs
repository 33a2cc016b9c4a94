//! What users do, one thing after the other.

use std::time::Duration;

use paas_core::ErrorKind;
use paas_core::action::{Deploy, RollbackTarget};
use paas_core::engine::Outcome;
use paas_core::memory::{ClusterSnapshot, Ending, Image};
use paas_core::model::{AppSpec, Keep, ReleaseNumber};
use paas_core::port::{ExecOptions, InstanceId, RunInput};
use tokio::time::Instant;

use crate::harness::*;

#[tokio::test(start_paused = true)]
async fn a_deploy_brings_every_component_up_and_is_limited_by_readiness() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    let start = Instant::now();
    assert_eq!(release(&platform, Deploy::spec(spec("1"))).await, Outcome::Succeeded);
    world.until("everything is up", async || world.ready("web").await == (3, 3)).await;
    assert_eq!((world.ready("api").await, world.ready("worker").await), ((1, 1), (1, 1)));
    assert!(world.cluster.request(HOST, "/").is_ok());
    // 20 ms for the API, then 20 ms for the web; nothing waits for a poll.
    assert!(start.elapsed() < Duration::from_millis(200), "it took {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_release_and_a_rollback_serve_all_the_time() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let first = world.cluster.request(HOST, "/").unwrap().revision;

    let served = async {
        loop {
            let answer = world.cluster.request(HOST, "/");
            assert!(answer.is_ok(), "a request was refused: {answer:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let changes = async {
        assert_eq!(release(&platform, Deploy::spec(spec("2"))).await, Outcome::Succeeded);
        world.until("the old instances are gone", async || world.ready("web").await == (3, 3)).await;
        assert_ne!(world.cluster.request(HOST, "/").unwrap().revision, first);
        let session = session(&platform);
        let back = session.rollback(&at(), RollbackTarget::Previous, Keep::default()).await.unwrap();
        let outcome = session.wait_released(&at(), back.number, PATIENCE).await.unwrap();
        assert_eq!(outcome, Outcome::Succeeded);
        world.until("the old instances are gone", async || world.ready("web").await == (3, 3)).await;
    };
    tokio::select! {
        () = served => unreachable!("requests go on"),
        () = changes => {}
    }
    assert_eq!(world.cluster.request(HOST, "/").unwrap().revision, first, "the first revision is back");
    let current = session(&platform).status(&at()).await.unwrap().current;
    assert_eq!(current.map(|release| release.number), Some(ReleaseNumber(3)));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_crashes_is_aborted_and_costs_no_old_instance() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    world.until("all are up", async || world.ready("web").await == (3, 3)).await;
    let soon = Duration::from_millis(10);
    world.images.push("web:bad", Image::new().never_ready().with_end(soon, Ending::Exit(7)));
    let watch = async {
        loop {
            let (ready, _) = world.ready("web").await;
            assert!(ready >= 3, "only {ready} are ready");
            assert!(world.cluster.request(HOST, "/").is_ok());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let outcome = tokio::select! {
        outcome = release(&platform, Deploy::image(name("web"), "web:bad")) => outcome,
        () = watch => unreachable!(),
    };
    let Outcome::Aborted { reason } = outcome else { panic!("it succeeded") };
    assert!(reason.contains("web"), "{reason}");
    world.until("only the old version is left", async || world.observe("web").await.sets.len() == 1).await;
    assert_eq!(world.ready("web").await, (3, 3));
}

#[tokio::test(start_paused = true)]
async fn scale_stop_start_and_delete() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let session = session(&platform);
    for count in [10, 1, 4] {
        session.scale(&at(), &name("web"), count).await.unwrap();
        let count = count as usize;
        world.until("the count is there", async || world.ready("web").await == (count, count)).await;
    }
    session.stop(&at(), None).await.unwrap();
    world
        .until("nothing runs", async || world.ready("web").await.1 == 0 && world.ready("api").await.1 == 0)
        .await;
    let refusal = world.cluster.request(HOST, "/").unwrap_err();
    assert_eq!(refusal.status, 503);
    assert!(refusal.reason.contains("stopped"), "{}", refusal.reason);
    session.start(&at(), None).await.unwrap();
    world.until("all run again", async || world.ready("web").await == (4, 4)).await;
    world.until("it answers", async || world.cluster.request(HOST, "/").is_ok()).await;

    session.delete_app_env(&at(), "web").await.unwrap();
    world.until("the documents are gone", async || world.count("app_env").await == 0).await;
    assert_eq!(world.cluster.snapshot(), ClusterSnapshot::default(), "nothing is left on the cluster");
    for kind in ["track", "rollout", "release", "template", "routes", "scale", "config"] {
        assert_eq!(world.count(kind).await, 0, "documents of kind {kind} are left");
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_left_out_is_removed_and_keeps_its_volume() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let mut smaller = spec("2");
    smaller.components.retain(|component| component.name != name("api"));
    for component in &mut smaller.components {
        component.depends_on.clear();
    }
    assert_eq!(release(&platform, Deploy::spec(smaller)).await, Outcome::Succeeded);
    world.until("the API is gone", async || world.observe("api").await.sets.is_empty()).await;
    let snapshot = world.cluster.snapshot();
    assert!(!snapshot.services.contains_key(&track("api").to_string()), "{snapshot:#?}");
    assert!(snapshot.volumes.contains_key(&track("api").to_string()), "a rollback may need its data");
    let session = session(&platform);
    let back = session.rollback(&at(), RollbackTarget::Previous, Keep::default()).await.unwrap();
    session.wait_released(&at(), back.number, PATIENCE).await.unwrap();
    world.until("the API is back", async || world.ready("api").await == (1, 1)).await;
}

/// The application with a job that must succeed before a release does.
fn with_job(version: &str, job: &str) -> AppSpec {
    let mut app = app(version);
    let job = serde_json::json!({ "name": "migrate", "kind": "job", "image": job });
    app["components"].as_array_mut().unwrap().push(job);
    serde_json::from_value(app).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_once_per_release_and_its_failure_takes_the_release_back() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    let soon = Duration::from_millis(10);
    world.images.push("migrate:1", Image::new().with_end(soon, Ending::Exit(0)));
    world.images.push("migrate:2", Image::new().with_end(soon, Ending::Exit(9)));
    assert_eq!(release(&platform, Deploy::spec(with_job("1", "migrate:1"))).await, Outcome::Succeeded);
    let runs = world.cluster.snapshot().runs;
    assert_eq!(runs.len(), 1, "{runs:?}");
    let Outcome::Aborted { reason } = release(&platform, Deploy::spec(with_job("2", "migrate:2"))).await
    else {
        panic!("a release whose job failed succeeded")
    };
    assert!(reason.contains("migrate"), "{reason}");
    world
        .until("the first version is back alone", async || {
            world.observe("web").await.sets.len() == 1 && world.ready("web").await == (3, 3)
        })
        .await;
    let later = world.cluster.snapshot().runs;
    assert_eq!(later.len(), 1, "the earlier run made room: {later:?}");
    assert_ne!(later, runs);
    session(&platform).delete_app_env(&at(), "web").await.unwrap();
    world.until("the documents are gone", async || world.count("app_env").await == 0).await;
    assert_eq!(world.cluster.snapshot(), ClusterSnapshot::default(), "nothing is left on the cluster");
}

#[tokio::test(start_paused = true)]
async fn a_one_off_command_tells_its_code_and_is_forgotten_after_an_hour() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let session = session(&platform);
    let command = Some(vec!["exit".to_owned(), "3".to_owned()]);
    let run = session.run(&at(), &name("api"), command, RunInput::None).await.unwrap();
    world
        .until("it has ended", async || session.get_run(&at(), &run.id).await.unwrap().exit_code == Some(3))
        .await;
    let sleep = Some(vec!["sleep".to_owned(), "100000".to_owned()]);
    let long = session.run(&at(), &name("api"), sleep, RunInput::None).await.unwrap();
    world.until("it runs", async || world.cluster.snapshot().runs.contains(&long.id)).await;
    session.stop_run(&at(), &long.id).await.unwrap();
    world.until("it is stopped", async || !world.cluster.snapshot().runs.contains(&long.id)).await;
    tokio::time::sleep(Duration::from_mins(61)).await;
    assert!(world.cluster.snapshot().runs.is_empty(), "the backend forgets it");
    assert_eq!(world.count("run").await, 0, "and so does the store");
}

/// Starts `sleep` in a run with input, and waits until the cluster has it.
async fn interactive(world: &World, session: &paas_core::engine::Session) -> InstanceId {
    let sleep = Some(vec!["sleep".to_owned(), "100000".to_owned()]);
    let run = session.run(&at(), &name("api"), sleep, RunInput::Stream).await.unwrap();
    world.until("it runs", async || world.cluster.snapshot().runs.contains(&run.id)).await;
    run.id
}

async fn until_it_failed(world: &World, session: &paas_core::engine::Session, id: &InstanceId, why: &str) {
    world.until("it has ended", async || session.get_run(&at(), id).await.unwrap().ended_at.is_some()).await;
    let run = session.get_run(&at(), id).await.unwrap();
    assert_ne!(run.exit_code, Some(0));
    assert!(run.failure.is_none_or(|failure| failure.contains(why)));
}

#[tokio::test(start_paused = true)]
async fn a_run_with_input_lives_as_long_as_whoever_is_attached() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let session = session(&platform);
    let run = interactive(&world, &session).await;
    let options = ExecOptions { stdin: true, ..ExecOptions::default() };
    let attached = session.attach(&at(), &run, options.clone()).await.unwrap();
    let second = session.attach(&at(), &run, options).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Conflict, "{}", second.report());
    tokio::time::sleep(Duration::from_hours(3)).await;
    assert!(session.get_run(&at(), &run).await.unwrap().ended_at.is_none(), "somebody is there");
    drop(attached);
    until_it_failed(&world, &session, &run, "has gone").await;
}

#[tokio::test(start_paused = true)]
async fn a_run_with_input_that_nobody_attaches_to_is_ended_after_a_while() {
    let world = World::new();
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(spec("1"))).await;
    let session = session(&platform);
    let run = interactive(&world, &session).await;
    let start = Instant::now();
    until_it_failed(&world, &session, &run, "nobody").await;
    let waited = start.elapsed();
    assert!(waited > Duration::from_mins(4) && waited < Duration::from_mins(6), "{waited:?}");
    assert!(world.cluster.snapshot().runs.is_empty(), "nothing of it is left");
}
