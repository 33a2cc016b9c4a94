//! Images that take their time to come.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use paas_core::conformance::Promise;
use paas_core::port::{ImagePull, InstancePhase, Runtime as _, RuntimeEvent};

use super::fixture::{Fixture, ok};
use super::image;
use crate::slow_registry::SlowRegistry;

/// How long the image takes.
const SLOW: Duration = Duration::from_secs(4);

pub(crate) fn promises() -> Vec<Promise<Fixture>> {
    macro_rules! list {
        ($($name:ident),* $(,)?) => {
            vec![$(Promise { name: stringify!($name), check: |fixture| Box::pin($name(fixture)) }),*]
        };
    }
    list![
        instances_tell_how_far_their_image_has_come_whoever_transfers_it,
        an_instance_that_goes_while_its_image_comes_is_gone_at_once,
    ]
}

fn registry() -> SlowRegistry {
    let made = image::of_the_tests();
    let layout = made.location.strip_prefix("oci:").and_then(|place| place.strip_suffix(":1"));
    SlowRegistry::start(Path::new(layout.expect("a layout with a tag")), SLOW)
}

async fn instances_tell_how_far_their_image_has_come_whoever_transfers_it(fixture: &Fixture) {
    let registry = registry();
    let mut template = fixture.web(&fixture.component("web"));
    template.image = registry.reference("1");
    let mut events = ok(fixture.machine().watch().await);
    let key = fixture.ensure(template, 2).await;
    // Looks only when it is told to.
    let mut told = 0;
    let mut seen: Vec<Vec<ImagePull>> = vec![Vec::new(), Vec::new()];
    loop {
        let event = ok(events.next().await.expect("the stream goes on"));
        told += u32::from(event == RuntimeEvent::Track(key.track.clone()));
        let set = fixture.observe(&key).await.expect("the set is there");
        for (seen, instance) in seen.iter_mut().zip(&set.instances) {
            if let Some(pull) = instance.pull {
                assert_eq!(instance.phase, InstancePhase::Pending);
                assert_eq!(instance.failure, None);
                if seen.last() != Some(&pull) {
                    seen.push(pull);
                }
            }
        }
        if set.ready() == 2 {
            break;
        }
    }
    for seen in seen {
        assert!(seen.len() >= 3, "each tells several times: {seen:?}");
        assert!(seen.is_sorted_by_key(|pull| pull.received_bytes), "{seen:?}");
        let (first, last) = (seen[0], seen[seen.len() - 1]);
        assert!(0 < first.received_bytes && first.received_bytes < last.received_bytes, "{seen:?}");
        assert!(last.received_bytes <= last.total_bytes, "{seen:?}");
        assert_eq!((first.total_bytes, first.layers, first.layers_done), (last.total_bytes, 1, 0));
    }
    // Two instances for a few seconds, each twice a second, and what else they go through.
    assert!(told < 60, "changes are merged: {told}");
}

async fn an_instance_that_goes_while_its_image_comes_is_gone_at_once(fixture: &Fixture) {
    let registry = registry();
    let mut template = fixture.web(&fixture.component("web"));
    template.image = registry.reference("1");
    let key = fixture.ensure(template, 1).await;
    fixture.until("it tells how far its image has come", &key, |set| set.instances[0].pull.is_some()).await;
    ok(fixture.machine().scale(super::fixture::EPOCH, &key, 0.into()).await);
    let set = fixture.until("it is gone", &key, |set| {
        assert!(set.instances.iter().all(|instance| instance.pull.is_none()), "what goes waits for no image");
        set.instances.is_empty()
    });
    set.await;
}
