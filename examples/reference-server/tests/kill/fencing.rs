//! Two servers on one store and one cluster. The first is paused in the middle of a release, between what it has decided and a
//! write of it, until its lease is over; the second takes over, ends the release, scales and goes back. Then the first is woken,
//! and its write arrives: nothing that the second has done changes.
//!
//! Kubernetes keeps nothing of an object that is gone, no epoch either: one that the second has removed can be made again by a
//! write of the first that was under way. It goes again at once, and no request ever finds it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use libtest_mimic::Trial;
use paas_api_proxy::{Gate, Verb, Write};
use paas_test_postgres::Postgres;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::client::HERE;
use crate::process::{Launch, Process, SharedStore};
use crate::run::images;
use crate::serve::FAKE;
use crate::story::Story;
use crate::world::{PATIENCE, Place, Setup, World, within};

/// The writes before which the first server is paused: the first of each in a release.
const POINTS: [(Verb, &str); 4] = [
    (Verb::Create, "deployments"),
    (Verb::Patch, "deployments"),
    (Verb::Apply, "httproutes"),
    (Verb::Delete, "deployments"),
];

/// How long anything may take: the lease has to end first, and four stories are told at a time.
const LONG: Duration = PATIENCE.saturating_mul(4);

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    /// Lists a function with its attributes, which `cargo xtask check` reads.
    macro_rules! listed {
        ($(#[ignore = $reason:literal] fn $name:ident();)*) => {
            vec![$(Trial::test(stringify!($name), || { $name(); Ok(()) }).with_ignored_flag(true)),*]
        };
    }
    listed! {
        #[ignore = "needs PostgreSQL"]
        fn a_server_paused_past_its_lease_changes_nothing_that_the_next_one_did();
    }
}

fn a_server_paused_past_its_lease_changes_nothing_that_the_next_one_did() {
    let postgres = Postgres::start().unwrap();
    std::thread::scope(|scope| {
        for point in POINTS {
            let url = postgres.database().unwrap();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(paused_before(point, url));
            });
        }
    });
}

/// Keeps the first write of a kind until it is let go.
struct Hold {
    kind: (Verb, &'static str),
    held: Mutex<Option<Write>>,
    let_go: Notify,
}

#[async_trait]
impl Gate for Hold {
    async fn before(&self, write: &Write) {
        let holds = {
            let mut held = self.held.lock().unwrap();
            let is_first = held.is_none() && (write.verb, &*write.resource) == self.kind;
            if is_first {
                *held = Some(write.clone());
            }
            is_first
        };
        if holds {
            self.let_go.notified().await;
        }
    }

    async fn after(&self, _: &Write, _: u16) {}
}

async fn paused_before(point: (Verb, &'static str), url: String) {
    let images = images(Place::Fake, std::path::Path::new("")).unwrap();
    let keys = tempfile::tempdir().unwrap();
    let shared = SharedStore { url, keys: keys.path().join("keys.json") };
    let setup = Setup { shared: Some(shared.clone()), ..Setup::default() };
    // The one that was there first works, the other stands by.
    let world = World::with(Place::Fake, &images, setup).await;
    let first = world.server.as_ref().unwrap();
    let home = tempfile::Builder::new().prefix("paas-kill-").tempdir().unwrap();
    let launch = Launch { backend: FAKE, shared: Some(shared), ..Launch::default() };
    let second = Process::start(home.path(), &launch).await;
    let proxy = world.cluster().proxy();
    let ask = async |server: &Process, story: Story| {
        let (method, path, body) = story.request(&images);
        let answer = world.client.ask(server, method, &path, None, body.as_ref()).await.unwrap();
        assert!(story.accepts(&answer), "{story}: {answer:?}");
    };
    let until = async |server: &Process, what: &str, number: u64, web: u64| {
        within(LONG, what, async || {
            let status = world.client.read(server, HERE).await.unwrap();
            let ready = status["components"][0]["ready"] == web && status["components"][0]["desired"] == web;
            let ended = status["rollout"].is_null() || status["rollout"]["state"] == "committed";
            let current = status["state"] == "running" && status["current"]["number"] == number;
            // Nothing is left to be done when each component has one version only.
            let tracks = status["components"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|it| it["tracks"].as_array());
            let only =
                tracks.flatten().all(|track| track["versions"].as_array().is_some_and(|all| all.len() == 1));
            if ready && ended && current && only { Ok(()) } else { Err(status) }
        })
        .await;
    };

    ask(first, Story::Deploy).await;
    until(first, "the first release", 1, 2).await;
    let hold = Arc::new(Hold { kind: point, held: Mutex::default(), let_go: Notify::new() });
    proxy.set_gate(Some(hold.clone()));
    ask(first, Story::Release).await;
    within(LONG, "the write is held", async || hold.held.lock().unwrap().clone().ok_or("not yet")).await;
    first.signal(Signal::STOP);

    until(&second, "the second server ends the release after the lease", 2, 2).await;
    ask(&second, Story::Scale).await;
    until(&second, "it scales", 2, 3).await;
    ask(&second, Story::Rollback).await;
    until(&second, "it goes back, with the count of the release", 3, 2).await;
    let done = settled(&world).await;

    proxy.take_writes();
    hold.let_go.notify_one();
    first.signal(Signal::CONT);
    within(LONG, "the first server learns that it lost the lease", async || {
        let log = world.log();
        if log.contains("the reconcilers stopped") { Ok(()) } else { Err(log) }
    })
    .await;
    // Of the writes that arrive now only this one is surely the first server's: the second may be cleaning up behind another.
    let status = within(LONG, "the delayed write arrives", async || {
        let held = hold.held.lock().unwrap().clone().unwrap();
        let arrived = proxy.take_writes();
        let status = arrived.iter().find(|(write, _)| *write == held).map(|(_, status)| *status);
        status.ok_or(arrived)
    })
    .await;
    println!("paused before a {point:?}, woken: answered with {status}");
    let may_succeed = point.0 == Verb::Create;
    assert!(may_succeed || status >= 400, "{point:?} of a server without a lease was answered with {status}");
    // What was gone may have been made again, by this write or by another that was under way; the second server takes it away.
    within(LONG, "everything is as the second server left it", async || {
        let answer = world.visit().await;
        assert_eq!(answer, "200 v1 hunter2");
        let now = settled(&world).await;
        if now == done { Ok(()) } else { Err(difference(&done, &now)) }
    })
    .await;
    until(&second, "the status is as it was", 3, 2).await;
    second.kill().await;
    world.close().await;
}

/// Every object, when nothing goes any more.
async fn settled(world: &World) -> Vec<(String, Value)> {
    let mut before = Vec::new();
    within(LONG, "nothing changes", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now: Vec<_> = world.cluster().objects().await.into_iter().collect();
        let quiet =
            now == before && !now.iter().any(|(_, it)| !it["metadata"]["deletionTimestamp"].is_null());
        before.clone_from(&now);
        if quiet { Ok(now) } else { Err("something changes") }
    })
    .await
}

fn difference(before: &[(String, Value)], after: &[(String, Value)]) -> Vec<String> {
    let named = |(uid, it): &(String, Value)| {
        json!([uid, it["kind"], it["metadata"]["name"], it["metadata"]["resourceVersion"]])
    };
    let (before, after): (Vec<_>, Vec<_>) =
        (before.iter().map(named).collect(), after.iter().map(named).collect());
    let gone = before.iter().filter(|it| !after.contains(it)).map(|it| format!("- {it}"));
    gone.chain(after.iter().filter(|it| !before.contains(it)).map(|it| format!("+ {it}"))).collect()
}
