//! An API server that is away, silent, overloaded, wrong, forgetful or behind, in the middle of a release: applications are
//! served, the status names what it does not know, the release goes on when all is well again, and everything ends as without
//! the fault. Nobody starts anything again.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use paas_api_proxy::{Fault, Proxy, Selection, Verb};
use serde_json::Value;

use crate::client::{Client, HERE};
use crate::end::End;
use crate::killer::Order;
use crate::process::PERIOD;
use crate::run::{carry_on, images, tell};
use crate::story::Story;
use crate::world::{PATIENCE, Place, Setup, Visitor, World};

/// How long one call to the API server may take here, in milliseconds.
const CALL_TIMEOUT: u64 = 1000;
/// How long a fault lasts at least.
const LASTS: Duration = Duration::from_secs(4);

/// What is done to the API server.
#[derive(Debug, Clone)]
struct Breakage {
    name: &'static str,
    selection: Selection,
    fault: Fault,
    /// Whether streams are cut over and over, too.
    cuts: bool,
    /// Whether the status has to say that it may be out of date.
    told: bool,
}

fn breakages() -> Vec<Breakage> {
    let reads = || Selection::of([Verb::Get, Verb::List, Verb::Watch]);
    let one = |name, selection, fault| Breakage { name, selection, fault, cuts: false, told: false };
    vec![
        Breakage { told: true, ..one("refuses_connections", Selection::all(), Fault::Refused) },
        Breakage { told: true, ..one("does_not_answer", Selection::all(), Fault::Hangs) },
        Breakage { told: true, ..one("asks_for_pauses", Selection::all(), Fault::TooManyRequests(1)) },
        one("fails_after_each_commit", Selection::writes(), Fault::ErrorAfterCommit),
        one("is_cut_off_after_each_commit", Selection::writes(), Fault::CutAfterCommit),
        Breakage { cuts: true, ..one("drops_watches", Selection::of([]).on(["nothing"]), Fault::Refused) },
        Breakage {
            cuts: true,
            ..one("has_forgotten_versions", Selection::of([Verb::Watch]), Fault::Expired)
        },
        one("is_behind", reads(), Fault::Stale),
    ]
}

/// A trial for each way to be broken.
pub fn trials() -> Vec<Trial> {
    let trial = |breakage: Breakage| {
        let name = format!("a_release_goes_on_after_an_api_server_that_{}", breakage.name);
        Trial::test(name, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(journey(&breakage));
            Ok(())
        })
    };
    breakages().into_iter().map(trial).collect()
}

async fn journey(breakage: &Breakage) {
    let expected = undisturbed().await;
    let mut world = released().await;
    world.begin(Order::default()).await;
    let proxy = world.cluster().proxy();
    let server = world.server().api.clone();
    let breaking = disturb(&proxy, world.client.clone(), server, breakage);
    let images = images(Place::Fake, std::path::Path::new("")).unwrap();
    let visiting = visit(world.visitor());
    let (end, broken) = tokio::select! {
        ended = async { futures::join!(carry_on(&mut world, Story::Release, &images, Some(&expected)), breaking) } => ended,
        never = visiting => match never {},
    };
    assert!(end.is_ok(), "the server lives on");
    if let Some(why) = broken {
        panic!("{why}\nThe log:\n{}", world.log());
    }
    world.close().await;
}

/// Visits the application all the time; each request must be answered, by one version or the other.
async fn visit(visitor: Visitor) -> Infallible {
    let allowed = Story::Release.visitors_see().unwrap_or_default();
    loop {
        let seen = visitor.visit().await;
        assert!(allowed.contains(&&*seen), "a visitor saw: {seen}");
        tokio::time::sleep(PERIOD).await;
    }
}

/// A world whose application is released in its first version.
async fn released() -> World {
    let images = images(Place::Fake, std::path::Path::new("")).unwrap();
    let setup = Setup { call_timeout: Some(CALL_TIMEOUT), patience: Some(PATIENCE * 2), ..Setup::default() };
    let mut world = World::with(Place::Fake, &images, setup).await;
    tell(&mut world, Story::Deploy, &images, BTreeSet::new(), None).await;
    world
}

/// How a release ends that nobody disturbs.
async fn undisturbed() -> End {
    let images = images(Place::Fake, std::path::Path::new("")).unwrap();
    let mut world = released().await;
    let end = tell(&mut world, Story::Release, &images, BTreeSet::new(), None).await;
    world.close().await;
    end
}

/// Breaks the API server as soon as a release has begun there, and heals it when the status has told and some time has
/// passed; what was wrong meanwhile.
async fn disturb(proxy: &Arc<Proxy>, client: Client, server: String, breakage: &Breakage) -> Option<String> {
    proxy.take_writes();
    let asked = Instant::now();
    while proxy.take_writes().is_empty() {
        if asked.elapsed() > PATIENCE {
            return Some("the release never reached the API server".to_owned());
        }
        tokio::time::sleep(PERIOD).await;
    }
    let before = proxy.struck();
    proxy.inject(breakage.selection.clone(), breakage.fault);
    let begun = Instant::now();
    let mut told = None;
    while begun.elapsed() < LASTS || (breakage.told && told.is_none()) {
        if breakage.cuts {
            proxy.cut_streams();
        }
        if breakage.told && told.is_none() {
            let status = client.status(&server, HERE).await;
            if tells(&status) {
                told = Some(status);
            } else if begun.elapsed() > PATIENCE / 2 {
                proxy.heal();
                return Some(format!("the status says nothing of the fault: {status:#}"));
            }
        }
        tokio::time::sleep(PERIOD * 5).await;
    }
    let struck = proxy.struck() - before;
    proxy.heal();
    let is_felt = struck > 0 || breakage.fault == Fault::Refused && breakage.cuts;
    (!is_felt).then(|| "the fault met no call".to_owned())
}

/// Whether a status says what cannot be known and since when.
fn tells(status: &Value) -> bool {
    let reasons: Vec<&str> =
        status["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    reasons.iter().any(|reason| reason.contains("since ") && reason.contains("out of date"))
}
