//! A server with nothing to do changes nothing: not in its store, not on its backends, however often it looks at everything.

use std::collections::BTreeSet;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::killer::Order;
use crate::run::{images, tell};
use crate::story::Story;
use crate::world::{Place, Setup, World};

/// For how long it is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// How often it looks at everything meanwhile, in seconds.
const RESYNC: u32 = 1;
/// How many components the application has, each of which is looked at.
const COMPONENTS: u64 = 3;

pub fn trial() -> Trial {
    Trial::test("an_idle_server_changes_nothing_on_any_port_through_resyncs", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(idle())
    })
}

async fn idle() -> Result<(), Failed> {
    let folder = tempfile::Builder::new().prefix("paas-kill-images-").tempdir()?;
    let images = images(Place::Machine, folder.path())?;
    let setup = Setup { resync: Some(RESYNC), ..Setup::default() };
    let mut world = World::with(Place::Machine, &images, setup).await;
    for story in [Story::Deploy, Story::Release] {
        tell(&mut world, story, &images, BTreeSet::new(), None).await;
        assert!(!world.passed.is_empty(), "what changes something is noted");
    }
    world.begin(Order::default()).await;
    let (before, seen) = (world.server().looks().await, world.look().await);
    tokio::time::sleep(WATCHED).await; // what must not happen has no predicate
    let looks = world.server().looks().await - before;
    let expected = WATCHED.as_secs() / u64::from(RESYNC) * COMPONENTS / 2;
    assert!(looks >= expected, "everything was looked at over and over: {looks} of at least {expected}");
    assert_eq!(world.journal(), Vec::new(), "and nothing was changed");
    assert_eq!(world.look().await, seen);
    world.close().await;
    Ok(())
}
