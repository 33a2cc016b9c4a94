//! The platform is killed before and after every write to the store and every mutation of a backend: one run per point.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use paas_core::action::{Deploy, RollbackTarget};
use paas_core::engine::{Platform, Session};
use paas_core::memory::{Call, ClusterSnapshot, Interceptor};
use paas_core::model::{Keep, ReleaseNumber};
use paas_core::port::ListOptions;
use paas_core::{Clock as _, Result};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::harness::*;
use crate::scheduled::{self, reporting};

/// Counts the points before and after every mutation; at the chosen one nothing goes on, and the test is told.
#[derive(Debug)]
struct Killer {
    chosen: Option<usize>,
    passed: AtomicUsize,
    points: std::sync::Mutex<Vec<String>>,
    reached: Notify,
}

impl Killer {
    fn new(chosen: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            chosen,
            passed: AtomicUsize::new(0),
            points: std::sync::Mutex::default(),
            reached: Notify::new(),
        })
    }

    async fn point(&self, when: &str, call: &Call) {
        if !call.mutates || call.object == "put lease all" {
            return;
        }
        let index = self.passed.fetch_add(1, Ordering::SeqCst);
        self.points.lock().unwrap().push(format!("{when} {call}"));
        match self.chosen {
            Some(chosen) if index == chosen => {
                self.reached.notify_one();
                std::future::pending::<()>().await;
            }
            // Once it is dead nothing else of it goes on.
            Some(chosen) if index > chosen => std::future::pending::<()>().await,
            _ => {}
        }
    }
}

#[async_trait]
impl Interceptor for Killer {
    async fn before(&self, call: &Call) -> Result<()> {
        self.point("before", call).await;
        Ok(())
    }

    async fn after(&self, call: &Call) -> Result<()> {
        self.point("after", call).await;
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Deploy,
    Release,
    Rollback,
    Delete,
    Schedule,
}

impl Story {
    /// What was there before the story begins.
    async fn prepare(self, world: &World, platform: &Platform) {
        world.prepare(platform).await;
        let before: &[&str] = match self {
            Self::Deploy => &[],
            Self::Release | Self::Delete => &["1"],
            Self::Rollback => &["1", "2"],
            Self::Schedule => {
                let every_minute = reporting("job:1", serde_json::json!({ "cron": "* * * * *" }));
                release(platform, Deploy::spec(every_minute)).await;
                &[]
            }
        };
        for version in before {
            release(platform, Deploy::spec(spec(version))).await;
        }
        sleep(Duration::from_secs(30)).await;
    }

    /// What the user asks; asked again with the same request after a failure, as a client does.
    async fn ask(self, session: &Session) -> Result<()> {
        let options = paas_core::action::RequestOptions {
            request_id: Some(format!("{self:?}")),
            ..paas_core::action::RequestOptions::default()
        };
        match self {
            Self::Deploy => {
                let deploy = paas_core::action::DeployApp { at: at(), deploy: Deploy::spec(spec("1")) };
                session.perform_with(deploy, options).await.map(drop)
            }
            Self::Release => {
                let deploy = paas_core::action::DeployApp { at: at(), deploy: Deploy::spec(spec("2")) };
                session.perform_with(deploy, options).await.map(drop)
            }
            Self::Rollback => {
                let rollback = paas_core::action::Rollback {
                    to: RollbackTarget::Number(ReleaseNumber(1)),
                    keep: Keep::default(),
                    note: String::new(),
                };
                session
                    .perform_with(paas_core::action::RollbackApp { at: at(), rollback }, options)
                    .await
                    .map(drop)
            }
            Self::Delete => {
                let delete = paas_core::action::DeleteAppEnv { at: at(), confirm: "web".to_owned() };
                session.perform_with(delete, options).await.map(drop)
            }
            // Nobody asks for anything.
            Self::Schedule => Ok(()),
        }
    }

    async fn until_done(self, world: &World, session: &Session) {
        match self {
            Self::Deploy => drop(session.wait_released(&at(), ReleaseNumber(1), PATIENCE).await.unwrap()),
            Self::Release => drop(session.wait_released(&at(), ReleaseNumber(2), PATIENCE).await.unwrap()),
            Self::Rollback => drop(session.wait_released(&at(), ReleaseNumber(3), PATIENCE).await.unwrap()),
            Self::Delete => world.until("it is deleted", async || world.count("app_env").await == 0).await,
            Self::Schedule => {
                let third: jiff::Timestamp = "2026-01-01T00:03:20Z".parse().unwrap();
                world.until("the third time has passed", async || world.clock.now() > third).await;
                return;
            }
        }
        // What remains to be done after the end of a release: the old instances go.
        sleep(Duration::from_mins(2)).await;
    }
}

/// What there is in the end, without times and identities.
#[derive(Debug, Clone, PartialEq)]
struct End {
    cluster: ClusterSnapshot,
    /// Instances that were ever made, by set.
    made: BTreeMap<String, usize>,
    documents: BTreeMap<String, usize>,
    releases: Vec<String>,
}

async fn end(world: &World) -> End {
    let mut made = BTreeMap::new();
    for id in world.cluster.instances_made() {
        let set = id.0.rsplit_once('-').map_or(id.0.clone(), |(set, _)| set.to_owned());
        *made.entry(set).or_default() += 1;
    }
    let mut documents = BTreeMap::new();
    for kind in
        ["app_env", "scale", "routes", "config", "release", "template", "rollout", "track", "run", "schedule"]
    {
        documents.insert(kind.to_owned(), world.count(kind).await);
    }
    let options = ListOptions { kind: "release".to_owned(), ..ListOptions::default() };
    let releases = world.store.list(&options).await.unwrap().documents;
    let releases = releases
        .iter()
        .map(|document| format!("{} {}", document.body["number"], document.body["state"]["type"]))
        .collect();
    End { cluster: world.cluster.snapshot(), made, documents, releases }
}

/// Runs a story, killed at the chosen point; answers the end and the points that were passed.
async fn run(story: Story, chosen: Option<usize>) -> (End, Vec<String>) {
    let world = scheduled::world("2026-01-01T00:00:00Z");
    let calm = world.platform(&[]).await;
    story.prepare(&world, &calm).await;
    calm.shutdown().await;
    drop(calm);

    let killer = Killer::new(chosen);
    let platform = world.platform_unless(&[killer.clone() as Arc<dyn Interceptor>], &killer.reached).await;
    let Some(platform) = platform else {
        return resume(story, world, &killer, true).await;
    };
    let asked = tokio::select! {
        biased;
        () = killer.reached.notified() => false,
        () = async {
            story.ask(&session(&platform)).await.unwrap();
            story.until_done(&world, &session(&platform)).await;
        } => true,
    };
    if asked {
        assert!(
            chosen.is_none_or(|chosen| killer.passed.load(Ordering::SeqCst) <= chosen),
            "the point was passed"
        );
        let points = killer.points.lock().unwrap().clone();
        return (end(&world).await, points);
    }
    drop(platform);
    resume(story, world, &killer, true).await
}

/// A new platform takes up what the killed one left.
async fn resume(story: Story, world: World, killer: &Killer, ask: bool) -> (End, Vec<String>) {
    sleep(Duration::from_millis(30)).await;
    let platform = world.platform(&[]).await;
    if ask {
        // The client does not know whether its request came through, and sends it again.
        match story.ask(&session(&platform)).await {
            Ok(()) => {}
            Err(error) if story == Story::Delete && error.kind() == paas_core::ErrorKind::NotFound => {}
            Err(error) => panic!("the request was not answered: {}", error.report()),
        }
    }
    story.until_done(&world, &session(&platform)).await;
    let points = killer.points.lock().unwrap().clone();
    (end(&world).await, points)
}

async fn every_point(story: Story) {
    let (undisturbed, points) = run(story, None).await;
    assert!(points.len() > 10, "{story:?} passes only {points:?}");
    for (index, point) in points.iter().enumerate() {
        println!("{story:?} {index:3} {point}");
    }
    let mut failures = Vec::new();
    let mut killed = 0;
    for chosen in 0..points.len() {
        let (end, passed) = run(story, Some(chosen)).await;
        killed += usize::from(passed.len() > chosen);
        if end != undisturbed {
            let point = passed.get(chosen).cloned().unwrap_or_else(|| "(not reached)".to_owned());
            failures.push(format!("killed at {chosen} {point}:\n{end:#?}"));
        }
    }
    println!("{story:?}: killed at {killed} of {} points", points.len());
    assert!(killed * 10 >= points.len() * 9, "killed at {killed} of {} points only", points.len());
    assert!(
        failures.is_empty(),
        "{} of {} end differently from\n{undisturbed:#?}\n{}",
        failures.len(),
        points.len(),
        failures.join("\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_deploy_killed_at_any_point_ends_the_same() {
    every_point(Story::Deploy).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_killed_at_any_point_ends_the_same() {
    every_point(Story::Release).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_killed_at_any_point_ends_the_same() {
    every_point(Story::Rollback).await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_killed_at_any_point_ends_the_same() {
    every_point(Story::Delete).await;
}

#[tokio::test(start_paused = true)]
async fn times_of_a_schedule_run_once_wherever_the_server_is_killed() {
    every_point(Story::Schedule).await;
}
