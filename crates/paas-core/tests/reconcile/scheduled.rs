//! Scheduled jobs: each time runs once, or is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use paas_core::ErrorKind;
use paas_core::action::{Deploy, PageOptions, RollbackTarget};
use paas_core::engine::{Outcome, Platform, RunOrigin, RunRecord, ScheduleStatus};
use paas_core::memory::{Ending, Image, Interceptor, Mutations, TokioClock};
use paas_core::model::{AppSpec, Keep};
use paas_core::port::{Epoch, ListOptions, RunInput, Runtime as _};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::*;

/// A world whose clock shows `now`, with images of jobs that end: `job:1` and `job:2` at once and well, `job:long` after 25
/// seconds, `job:bad` at once with code 3.
pub fn world(now: &str) -> World {
    let world = World::with_clock(TokioClock::starting_at(now.parse().unwrap()));
    let ends =
        |after: u64, code: i32| Image::new().with_end(Duration::from_millis(after), Ending::Exit(code));
    for (name, image) in [
        ("job:1", ends(10, 0)),
        ("job:2", ends(10, 0)),
        ("job:long", ends(25_000, 0)),
        ("job:bad", ends(10, 3)),
    ] {
        world.images.push(name, image);
    }
    world
}

/// An application with a service and a scheduled job, `report`.
pub fn reporting(image: &str, schedule: Value) -> AppSpec {
    let report = json!({ "name": "report", "kind": "scheduled_job", "image": image, "schedule": schedule });
    let api = json!({
        "name": "api", "image": "api:1", "ports": [{ "name": "http", "number": 8080 }],
        "termination": { "drain_seconds": 0 },
    });
    serde_json::from_value(json!({ "components": [api, report] })).unwrap()
}

async fn start(now: &str, image: &str, schedule: Value) -> (World, Platform) {
    let world = world(now);
    let platform = world.platform(&[]).await;
    world.prepare(&platform).await;
    assert_eq!(release(&platform, Deploy::spec(reporting(image, schedule))).await, Outcome::Succeeded);
    (world, platform)
}

/// The runs of scheduled jobs that the cluster was told to start, in the order of their times. None twice.
fn started(world: &World) -> Vec<String> {
    let made = world.cluster.instances_made();
    let runs: Vec<String> = made.into_iter().map(|id| id.0).filter(|id| id.starts_with("run-2")).collect();
    let distinct: BTreeSet<&String> = runs.iter().collect();
    assert_eq!(distinct.len(), runs.len(), "started twice: {runs:?}");
    runs.iter().map(|id| id.split('-').nth(1).unwrap_or_default().to_owned()).collect()
}

async fn runs(platform: &Platform) -> Vec<RunRecord> {
    let mut runs = session(platform).list_runs(&at(), PageOptions::default()).await.unwrap().items;
    runs.sort_by_key(|run| run.created_at);
    runs
}

async fn status(platform: &Platform) -> ScheduleStatus {
    let status = session(platform).status(&at()).await.unwrap();
    let report = status.components.into_iter().find(|it| it.name == name("report")).unwrap();
    report.schedule.unwrap()
}

async fn told(world: &World, kind: &str) -> Vec<String> {
    let options = ListOptions { kind: "event".to_owned(), ..ListOptions::default() };
    let events = world.store.list(&options).await.unwrap().documents;
    let of_kind = events.into_iter().filter(|event| event.body["kind"] == kind);
    of_kind.map(|event| event.body["message"].as_str().unwrap_or_default().to_owned()).collect()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_release_starts_nothing_and_each_time_runs_once() {
    let (world, platform) = start("2026-01-01T00:00:02Z", "job:1", json!({ "cron": "*/10 * * * * *" })).await;
    assert_eq!(started(&world), Vec::<String>::new());
    assert_eq!(status(&platform).await.next, Some(time("2026-01-01T00:00:10Z")));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(started(&world), ["20260101t000010z", "20260101t000020z", "20260101t000030z"]);
    let runs = runs(&platform).await;
    assert!(runs.iter().all(|run| run.has_succeeded() && run.started_at.is_some()), "{runs:#?}");
    assert_eq!(runs[0].origin, RunOrigin::Schedule { at: time("2026-01-01T00:00:10Z") });
    assert_eq!(world.observe("report").await.sets.len(), 0, "it has no instances");
    let status = status(&platform).await;
    assert_eq!(status.last.as_ref(), runs.last());
    assert_eq!((status.under_way, status.skipped), (0, None));
}

#[tokio::test(start_paused = true)]
async fn times_follow_the_clock_of_their_zone() {
    let schedule = json!({ "cron": "30 2 * * *", "time_zone": "Europe/Berlin" });
    let (world, _platform) = start("2026-03-28T00:00:00Z", "job:1", schedule).await;
    sleep(Duration::from_hours(72)).await;
    assert_eq!(started(&world), ["20260328t013000z", "20260329t010000z", "20260330t003000z"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_between_two_times() {
    let world = world("2026-01-01T00:00:00Z");
    let mutations = Arc::new(Mutations::new());
    let platform = world.platform(&[mutations.clone() as Arc<dyn Interceptor>]).await;
    world.prepare(&platform).await;
    release(&platform, Deploy::spec(reporting("job:1", json!({ "cron": "0 12 * * *" })))).await;
    sleep(Duration::from_mins(1)).await;
    mutations.take();
    sleep(Duration::from_hours(6)).await;
    platform.resync();
    sleep(Duration::from_hours(5)).await;
    assert_eq!(without_lease(mutations.take()), Vec::new());
    sleep(Duration::from_hours(2)).await;
    assert_eq!(started(&world), ["20260101t120000z"]);
}

#[tokio::test(start_paused = true)]
async fn a_time_is_skipped_while_a_run_is_under_way_unless_the_schedule_says_otherwise() {
    let (world, platform) =
        start("2026-01-01T00:00:02Z", "job:long", json!({ "cron": "*/10 * * * * *" })).await;
    sleep(Duration::from_secs(33)).await;
    assert_eq!(started(&world), ["20260101t000010z"]);
    let skipped = status(&platform).await.skipped.unwrap();
    assert_eq!((skipped.count, skipped.at), (2, time("2026-01-01T00:00:30Z")));
    assert!(skipped.reason.ends_with("is still under way"), "{skipped:?}");
    assert_eq!(told(&world, "run_skipped").await.len(), 1, "a reason is told once");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(started(&world), ["20260101t000010z", "20260101t000040z"]);
    assert_eq!(status(&platform).await.skipped, None);
}

#[tokio::test(start_paused = true)]
async fn runs_may_be_under_way_together_if_the_schedule_allows_it() {
    let schedule = json!({ "cron": "*/10 * * * * *", "overlap": "allow" });
    let (world, platform) = start("2026-01-01T00:00:02Z", "job:long", schedule).await;
    sleep(Duration::from_secs(31)).await;
    assert_eq!(started(&world), ["20260101t000010z", "20260101t000020z", "20260101t000030z"]);
    assert_eq!(status(&platform).await.under_way, 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_takes_the_place_of_the_one_before_if_the_schedule_says_so() {
    let schedule = json!({ "cron": "*/10 * * * * *", "overlap": "replace" });
    let (world, platform) = start("2026-01-01T00:00:02Z", "job:long", schedule).await;
    sleep(Duration::from_secs(31)).await;
    assert_eq!(started(&world), ["20260101t000010z", "20260101t000020z", "20260101t000030z"]);
    let runs = runs(&platform).await;
    assert_eq!(runs[0].outcome(), "it was replaced by the run of 2026-01-01T00:00:20Z");
    assert!(runs[0].ended_at.unwrap() <= runs[1].started_at.unwrap(), "one ends before the other starts");
    assert_eq!(runs.iter().filter(|run| run.is_under_way()).count(), 1);
    assert_eq!(world.cluster.snapshot().runs.len(), 1, "what was replaced is gone");
}

#[tokio::test(start_paused = true)]
async fn of_times_that_passed_while_no_server_ran_only_the_latest_runs() {
    let (world, platform) = start("2026-01-01T00:00:30Z", "job:1", json!({ "cron": "* * * * *" })).await;
    platform.shutdown().await;
    sleep(Duration::from_secs(200)).await;
    let platform = world.platform(&[]).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(started(&world), ["20260101t000300z"]);
    let told = told(&world, "run_skipped").await;
    assert!(
        told.len() == 1 && told[0].contains("2 times before 2026-01-01T00:03:00Z were missed"),
        "{told:?}"
    );
    drop(platform);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_was_missed_by_more_than_its_deadline_is_skipped_and_told() {
    let (world, platform) = start("2026-01-01T00:30:00Z", "job:1", json!({ "cron": "0 * * * *" })).await;
    platform.shutdown().await;
    sleep(Duration::from_mins(36)).await;
    let platform = world.platform(&[]).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(started(&world), Vec::<String>::new());
    let told = told(&world, "run_skipped").await;
    assert_eq!(told, ["report: nothing runs for 2026-01-01T01:00:00Z: nothing could start it within 300 s"]);
    sleep(Duration::from_hours(1)).await;
    assert_eq!(started(&world), ["20260101t020000z"], "the next one runs on time");
    drop(platform);
}

#[tokio::test(start_paused = true)]
async fn times_that_pass_while_it_is_offline_do_not_run_later() {
    let (world, platform) = start("2026-01-01T00:00:30Z", "job:1", json!({ "cron": "* * * * *" })).await;
    let session = session(&platform);
    session.stop(&at(), Some(&name("report"))).await.unwrap();
    sleep(Duration::from_secs(200)).await;
    assert_eq!(started(&world), Vec::<String>::new());
    assert_eq!(status(&platform).await.next, None);
    session.start(&at(), Some(&name("report"))).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(started(&world), Vec::<String>::new(), "what passed has passed");
    sleep(Duration::from_mins(1)).await;
    assert_eq!(started(&world), ["20260101t000400z"]);
    assert_eq!(told(&world, "run_skipped").await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_ends_what_is_under_way() {
    let (world, platform) = start("2026-01-01T00:00:58Z", "job:long", json!({ "cron": "* * * * *" })).await;
    world.until("it runs", async || world.cluster.snapshot().runs.len() == 1).await;
    session(&platform).delete_app_env(&at(), "web").await.unwrap();
    world.until("the documents are gone", async || world.count("app_env").await == 0).await;
    assert!(world.cluster.snapshot().runs.is_empty());
    for kind in ["run", "schedule", "track", "template"] {
        assert_eq!(world.count(kind).await, 0, "{kind}");
    }
    sleep(Duration::from_mins(5)).await;
    assert_eq!(started(&world).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_left_out_runs_no_more() {
    let (world, platform) = start("2026-01-01T00:00:55Z", "job:long", json!({ "cron": "* * * * *" })).await;
    world.until("it runs", async || world.cluster.snapshot().runs.len() == 1).await;
    let mut spec = reporting("job:long", json!({ "cron": "* * * * *" }));
    spec.components.truncate(1);
    assert_eq!(release(&platform, Deploy::spec(spec)).await, Outcome::Succeeded);
    sleep(Duration::from_mins(3)).await;
    assert_eq!(started(&world).len(), 1);
    assert_eq!(world.count("schedule").await, 0);
    assert_eq!(runs(&platform).await[0].outcome(), "release 2 has no such scheduled job");
    sleep(Duration::from_hours(2)).await;
    assert_eq!(world.count("run").await, 0, "nobody looks at it any more");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_brings_the_schedule_and_the_image_back() {
    let (world, platform) = start("2026-01-01T00:00:30Z", "job:1", json!({ "cron": "* * * * *" })).await;
    sleep(Duration::from_mins(1)).await;
    let hourly = Deploy::spec(reporting("job:2", json!({ "cron": "30 * * * *" })));
    assert_eq!(release(&platform, hourly).await, Outcome::Succeeded);
    sleep(Duration::from_mins(30)).await;
    assert_eq!(started(&world), ["20260101t000100z", "20260101t003000z"]);
    let session = session(&platform);
    let back = session.rollback(&at(), RollbackTarget::Previous, Keep::default()).await.unwrap();
    session.wait_released(&at(), back.number, PATIENCE).await.unwrap();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(started(&world).len(), 3);
    let runs = runs(&platform).await;
    assert_eq!(runs[0].revision, runs[2].revision);
    assert_ne!(runs[0].revision, runs[1].revision);
}

#[tokio::test(start_paused = true)]
async fn the_last_ten_runs_are_kept() {
    let (world, platform) =
        start("2026-01-01T00:00:00Z", "job:bad", json!({ "cron": "*/5 * * * * *" })).await;
    sleep(Duration::from_secs(121)).await;
    assert_eq!(started(&world).len(), 24);
    let runs = runs(&platform).await;
    assert_eq!(runs.len(), 10, "{runs:#?}");
    assert_eq!(world.cluster.snapshot().runs.len(), 10, "and so does the cluster");
    assert_eq!(runs[9].outcome(), "exited with code 3");
    let told = told(&world, "run_failed").await;
    assert_eq!(told.len(), 24);
    assert_eq!(told[0], "report: the run of 2026-01-01T00:00:05Z failed: exited with code 3");
    sleep(Duration::from_secs(1)).await;
    session(&platform).stop(&at(), None).await.unwrap();
    sleep(Duration::from_hours(24)).await;
    assert_eq!(self::runs(&platform).await.len(), 10, "their number bounds them, not their age");
}

#[tokio::test(start_paused = true)]
async fn somebody_may_ask_for_a_run_now() {
    let (world, platform) = start("2026-01-01T00:00:00Z", "job:long", json!({ "cron": "0 12 * * *" })).await;
    let session = session(&platform);
    let run = session.run(&at(), &name("report"), None, RunInput::None).await.unwrap();
    assert_eq!((run.origin, run.created_by.as_str()), (RunOrigin::Manual, "user:admin"));
    let again = session.run(&at(), &name("report"), None, RunInput::None).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict, "{}", again.report());
    world.until("it ends", async || session.get_run(&at(), &run.id).await.unwrap().has_succeeded()).await;
    assert_eq!(status(&platform).await.last.unwrap().id, run.id);
    sleep(Duration::from_hours(3)).await;
    assert_eq!(runs(&platform).await.len(), 1, "it is kept with the others");
    let other = session
        .run(&at(), &name("report"), Some(vec!["exit".to_owned(), "0".to_owned()]), RunInput::None)
        .await
        .unwrap();
    assert_eq!(other.origin, RunOrigin::Command, "a command of one's own is no run of the schedule");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_lost_or_has_vanished_is_not_started_again() {
    let (world, platform) = start("2026-01-01T00:59:30Z", "job:long", json!({ "cron": "0 * * * *" })).await;
    sleep(Duration::from_secs(35)).await;
    assert_eq!(started(&world), ["20260101t010000z"]);
    world.cluster.lose_node(0);
    world.until("the end is seen", async || !runs(&platform).await[0].is_under_way()).await;
    assert!(runs(&platform).await[0].outcome().contains("was lost"), "{:#?}", runs(&platform).await);

    world.cluster.add_node();
    sleep(Duration::from_hours(1)).await;
    assert_eq!(started(&world).len(), 2);
    // Somebody removes it behind the platform's back.
    let options = ListOptions { kind: "epoch".to_owned(), ..ListOptions::default() };
    let epoch = Epoch(world.store.list(&options).await.unwrap().documents[0].modified.0);
    world.cluster.runtime().remove_run(epoch, &runs(&platform).await[1].id).await.unwrap();
    world.until("that is seen", async || !runs(&platform).await[1].is_under_way()).await;
    assert!(runs(&platform).await[1].outcome().starts_with("it vanished"), "{:#?}", runs(&platform).await);
    assert_eq!(started(&world).len(), 2);
    assert_eq!(told(&world, "run_failed").await.len(), 2);
}
