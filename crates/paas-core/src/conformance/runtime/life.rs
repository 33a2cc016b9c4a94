//! Instances end, come back, and say why they do not serve.

use super::{Case, RuntimeFixture, Workload, ids};
use crate::port::InstancePhase;

/// Instances that end are started again with growing pauses, and say why they ended.
pub async fn instances_that_end_are_started_again_with_growing_pauses(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "crash-loop");
    case.ensure("r1", Workload::Ends(3), 1).await;
    let mut starts = Vec::new();
    for restarts in 1..=3 {
        let set = case
            .until("another start", "r1", |set| set.instances.iter().any(|i| i.restarts >= restarts))
            .await;
        let instance = &set.instances[0];
        let exit = instance.last_exit.as_ref().expect("it ended before it was started again");
        assert_eq!((exit.code, exit.signal, exit.out_of_memory), (Some(3), None, false));
        assert_eq!(set.instances.len(), 1, "it is the same instance that starts again");
        starts.push(instance.started_at.expect("it started"));
    }
    let gaps: Vec<_> = starts.windows(2).map(|pair| pair[1].duration_since(pair[0])).collect();
    assert!(gaps[1] > gaps[0], "pauses grow: {gaps:?}");
    let set = case.until("the failure", "r1", |set| set.instances.iter().any(|i| i.failure.is_some())).await;
    let failure = set.instances[0].failure.as_ref().expect("just waited for");
    assert_eq!(failure.reason, "crash_loop");
    assert!(failure.message.contains('3'), "the message names the exit code: {failure:?}");
    case.clean().await;
}

/// The declared number is kept without any call.
pub async fn a_killed_instance_comes_back(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "killed");
    case.ensure("r1", Workload::Ready, 2).await;
    let before = case.until_ready("r1", 2).await;
    let victim = &before.instances[0];
    fixture.kill(&victim.id).await;
    case.until("two ready instances, one of them started anew", "r1", |set| {
        let renewed = set
            .instances
            .iter()
            .any(|i| !ids(&before).contains(&i.id) || (i.id == victim.id && i.restarts > victim.restarts));
        set.ready() == 2 && renewed
    })
    .await;
    case.clean().await;
}

/// Only an instance that can serve is ready.
pub async fn an_instance_that_never_becomes_ready_does_not_count_as_ready(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "never-ready");
    case.ensure("r1", Workload::NeverReady, 1).await;
    let set = case
        .until("an instance that starts", "r1", |set| {
            set.instances.iter().any(|i| i.phase == InstancePhase::Starting && i.started_at.is_some())
        })
        .await;
    assert_eq!(set.ready(), 0);
    assert!(set.instances[0].ready_since.is_none());
    case.clean().await;
}

/// A failure tells its reason by a stable word and names what is missing.
pub async fn a_missing_image_is_named(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "missing-image");
    let spec = case.ensure("r1", Workload::MissingImage, 1).await;
    let set = case
        .until("the failure", "r1", |set| {
            set.failure.is_some() || set.instances.iter().any(|instance| instance.failure.is_some())
        })
        .await;
    let failure = set.instances.iter().find_map(|i| i.failure.clone()).or(set.failure).expect("waited for");
    assert!(failure.reason.starts_with("image_"), "{failure:?}");
    let named =
        failure.message.contains(&spec.template.image) || failure.message.contains(&spec.template.digest);
    assert!(named, "the message names the image: {failure:?}");
    case.clean().await;
}

/// An instance killed for its memory is named as out of memory.
pub async fn using_too_much_memory_is_named(fixture: &dyn RuntimeFixture) {
    if !fixture.runtime().capabilities().memory_limits {
        return;
    }
    let case = Case::new(fixture, "out-of-memory");
    case.ensure("r1", Workload::UsesTooMuchMemory, 1).await;
    let set = case.until("an end", "r1", |set| set.instances.iter().any(|i| i.last_exit.is_some())).await;
    let instance = &set.instances[0];
    assert!(instance.last_exit.as_ref().is_some_and(|exit| exit.out_of_memory), "{instance:?}");
    let set = case.until("the failure", "r1", |set| set.instances.iter().any(|i| i.failure.is_some())).await;
    assert_eq!(set.instances[0].failure.as_ref().map(|f| f.reason.as_str()), Some("out_of_memory"));
    case.clean().await;
}
