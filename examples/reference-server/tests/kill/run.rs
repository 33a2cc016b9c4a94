//! All stories with all their points, by several workers.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use libtest_mimic::Failed;

use crate::account::Account;
use crate::client::HERE;
use crate::end::{self, End, KINDS};
use crate::killer::Order;
use crate::plan::Plan;
use crate::point::{Names, Point};
use crate::process::{Killed, PERIOD};
use crate::story::{Images, Story};
use crate::world::{Place, Setup, World, cluster};

/// How many servers there are at a time. Most of the time they wait: for processes to start, to be ready and to end.
const WORKERS: usize = 6;
/// For how long nothing changes at an end that nobody knows yet.
const QUIET: Duration = Duration::from_secs(1);
/// How many lives are left undisturbed at first: they show the points, and how every story ends.
const UNDISTURBED: usize = 2;

/// What is done to a server.
#[derive(Debug, Clone, Copy)]
pub struct Kills {
    /// Where its applications run.
    pub place: Place,
    /// Whether it is an ordinary user's, rather than that of whoever runs this program.
    pub ordinary: bool,
    /// At how many points of each story it is killed at the most; at every one if absent.
    pub bound: Option<usize>,
}

/// Where lives are led.
struct Scene {
    place: Place,
    images: Images,
    account: Account,
}

/// The points of every story, in a place.
pub fn points(kills: Kills) -> Result<(), Failed> {
    let folder = tempfile::Builder::new().prefix("paas-kill-images-").tempdir()?;
    let Kills { place, ordinary, bound } = kills;
    let images = images(place, folder.path())?;
    let account = if ordinary { Account::ordinary(folder.path())? } else { Account::default() };
    let scene = &Scene { place, images, account };
    let begun = Instant::now();
    let plan = &Mutex::new(Plan { bound, ..Plan::default() });
    for _ in 0..UNDISTURBED {
        live(scene, plan, None);
    }
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                while plan.lock().unwrap().has_work_from(Story::ALL[0]) {
                    live(scene, plan, Some(worker));
                }
            });
        }
    });
    let mut plan = std::mem::take(&mut *plan.lock().unwrap());
    report(&plan);
    println!("took {:.0} s", begun.elapsed().as_secs_f64());
    let mut failures = std::mem::take(&mut plan.failures);
    for (story, progress) in plan.stories.iter().filter(|(_, progress)| !plan.is_enough(progress)) {
        let left = progress.remaining().into_iter().filter(|point| progress.is_common(point));
        let left: Vec<String> = left.map(ToString::to_string).collect();
        if !left.is_empty() {
            failures.push(format!("{story}: not killed at\n{}", left.join("\n")));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n").into()) }
}

/// The images, where nodes of the place find them.
pub fn images(place: Place, folder: &Path) -> Result<Images, Failed> {
    if place == Place::Fake {
        return Ok(Images { repository: "registry.example/shop".to_owned(), volumes: true });
    }
    let program = std::fs::read(sample_images::binary().map_err(|error| format!("{error:#}"))?)?;
    for version in ["1", "2"] {
        let image = sample_images::image(&program, version).build().unwrap();
        image.write_layout(folder, &[version.parse().unwrap()]).unwrap();
    }
    let repository = match place {
        Place::Cluster => cluster::push(folder).map_err(|error| format!("{error:#}"))?,
        Place::Machine | Place::Fake => format!("oci:{}", folder.display()),
    };
    // A storage class is nothing that every cluster has.
    Ok(Images { repository, volumes: place == Place::Machine })
}

fn report(plan: &Plan) {
    for (story, progress) in &plan.stories {
        for (index, point) in progress.points.iter().enumerate() {
            let killed = if progress.killed.contains(point) { "killed" } else { "not met again" };
            let which = if progress.is_common(point) { "" } else { " (in some runs)" };
            println!("{story} {:3} {killed} {point}{which}", index + 1);
        }
    }
    for (story, progress) in &plan.stories {
        let (common, others): (Vec<&Point>, Vec<&Point>) =
            progress.points.iter().partition(|point| progress.is_common(point));
        let killed =
            |points: &[&Point]| points.iter().filter(|point| progress.killed.contains(point)).count();
        println!(
            "{story}: killed at {} of {} points that every run passes, and at {} of {} that some runs pass",
            killed(&common),
            common.len(),
            killed(&others),
            others.len()
        );
    }
}

/// One life of an application: undisturbed, or with a kill in each of its stories.
fn live(scene: &Scene, plan: &Mutex<Plan>, worker: Option<usize>) {
    let Scene { place, images, account } = scene;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let setup = Setup { account: account.clone(), ..Setup::default() };
        let mut world = World::with(*place, images, setup).await;
        for story in Story::ALL {
            let points =
                worker.map(|worker| plan.lock().unwrap().claim(story, worker, WORKERS)).unwrap_or_default();
            let expected = plan.lock().unwrap().stories.get(&story).and_then(|progress| progress.end.clone());
            let telling = AssertUnwindSafe(tell(&mut world, story, images, points, expected.as_ref()));
            let told = telling.catch_unwind().await;
            let mut plan = plan.lock().unwrap();
            if told.is_ok() && !world.killed {
                plan.record_whole(story, &world.passed);
            } else {
                plan.record(story, &world.passed, world.killed);
            }
            if let Some(worker) = worker {
                plan.give_back(story, worker, world.killed);
            }
            match told {
                Ok(end) => drop(plan.stories.entry(story).or_default().end.get_or_insert(end)),
                Err(panic) => {
                    let why = panic.downcast_ref::<String>().map(String::as_str);
                    let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
                    let point = world.passed.last().filter(|_| world.killed);
                    let point =
                        point.map_or_else(|| "and not killed".to_owned(), |point| format!("killed {point}"));
                    plan.failures.push(format!("{story}, {point}:\n{why}\nThe log:\n{}", world.log()));
                    break;
                }
            }
            if worker.is_some() && !plan.has_work_from(story.next()) {
                break;
            }
        }
        world.close().await;
    });
}

/// Tells a story and answers its end.
pub async fn tell(
    world: &mut World,
    story: Story,
    images: &Images,
    points: BTreeSet<Point>,
    expected: Option<&End>,
) -> End {
    let names = Names { known: world.names.clone(), new: story.new_version().to_owned() };
    world.begin(Order { points, names }).await;
    if let Ok(end) = carry_on(world, story, images, expected).await {
        world.passed = world.journal();
        return end;
    }
    let status = world.server().end().await;
    assert_eq!(status.signal(), Some(9), "{status}");
    // While there is no server, everything that it left goes on.
    world.check_gone();
    for _ in 0..3 {
        check_visit(world, story).await;
    }
    world.start_again().await;
    let end = carry_on(world, story, images, expected).await;
    end.unwrap_or_else(|Killed| panic!("a server that nobody kills does not end"))
}

/// Asks and waits for the end, which must be the expected one.
pub async fn carry_on(
    world: &mut World,
    story: Story,
    images: &Images,
    expected: Option<&End>,
) -> Result<End, Killed> {
    let (method, path, body) = story.request(images);
    let key = format!("{story}-of-the-user");
    let server = world.server.as_ref().expect("it was started");
    let answer = world.client.ask(server, method, &path, Some(&key), body.as_ref()).await?;
    assert!(story.accepts(&answer), "{story}: {answer:?}");
    let (begun, patience) = (Instant::now(), world.patience);
    let (mut noted, mut quiet, mut status) = (0, Instant::now(), serde_json::Value::Null);
    loop {
        assert!(begun.elapsed() < patience, "waited for the end of {story}; the status is {status:#?}");
        check_visit(world, story).await;
        let now = world.noted();
        if now != noted {
            // Whatever it does is not over: asking how it stands would only hold it up.
            (noted, quiet) = (now, Instant::now());
            tokio::time::sleep(PERIOD).await;
            continue;
        }
        let server = world.server.as_ref().expect("it was started");
        status = world.client.read(server, HERE).await?;
        if story.is_told(&status) {
            let end = look(world, &status).await?;
            let is_end = match expected {
                // It stays so: nothing was under way when it was seen.
                Some(expected) => end == *expected && world.noted() == noted,
                // Nobody knows the first end in advance: it is there when nothing has changed for a while.
                None => quiet.elapsed() > QUIET && end.is_at_rest(),
            };
            if is_end {
                return Ok(end);
            }
            let difference = || expected.map(|expected| end.difference(expected)).unwrap_or_default();
            assert!(
                begun.elapsed() < patience,
                "it ends otherwise than an undisturbed run:\n{}",
                difference()
            );
            // Looking at everything takes its time from those who have something to do.
            tokio::time::sleep(PERIOD * 4).await;
        }
        tokio::time::sleep(PERIOD * 2).await;
    }
}

/// Looks at everything.
async fn look(world: &mut World, status: &serde_json::Value) -> Result<End, Killed> {
    let documents = world.server().documents(&KINDS).await?;
    world.names.extend(end::names(&documents));
    let names = Names { known: world.names.clone(), new: "unknown".to_owned() };
    let mut end = End::of(&documents, status, &names);
    end.seen = world.look().await;
    for _ in 0..6 {
        end.answers.insert(world.visit().await);
    }
    Ok(end)
}

/// An application that was up before stays up: one request must be answered, by one version or the other.
async fn check_visit(world: &World, story: Story) {
    let Some(allowed) = story.visitors_see() else { return };
    let seen = world.visit().await;
    assert!(allowed.contains(&&*seen), "a visitor saw: {seen}");
}
