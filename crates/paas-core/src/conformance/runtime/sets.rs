//! Sets are made, counted and removed.

use super::super::{eventually, expect_kind, ok};
use super::{Case, EPOCH, RuntimeFixture, Workload, ids};
use crate::error::ErrorKind;
use crate::port::{InstancePhase, SetObservation};

/// `ensure` makes the set if it does not exist, with `spec.count` instances.
pub async fn ensure_makes_a_set_with_its_count(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "ensure-makes");
    case.ensure("r1", Workload::Ready, 2).await;
    let set = case.until_ready("r1", 2).await;
    assert_eq!(set.desired, 2);
    assert!(
        set.instances.iter().all(|instance| instance.ready_since.is_some() && instance.started_at.is_some())
    );
    case.clean().await;
}

/// `ensure` of a set with the same template changes nothing, its count included, and succeeds.
pub async fn ensure_of_an_existing_set_keeps_its_count(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "ensure-keeps");
    let mut spec = case.ensure("r1", Workload::Ready, 2).await;
    let before = case.until_ready("r1", 2).await;
    spec.count = 5;
    ok(case.runtime.ensure(EPOCH, &spec).await);
    let after = case.until_ready("r1", 2).await;
    assert_eq!((after.desired, ids(&after)), (2, ids(&before)));
    case.clean().await;
}

/// `ensure` with another template fails with `Conflict`.
pub async fn ensure_with_another_template_is_a_conflict(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "ensure-conflict");
    let mut spec = case.ensure("r1", Workload::Ready, 1).await;
    let before = case.until_ready("r1", 1).await;
    spec.template.restart_nonce += 1;
    let answer = case.runtime.ensure(EPOCH, &spec).await;
    expect_kind(answer, ErrorKind::Conflict, "another template under the same revision is refused");
    assert_eq!(ids(&case.until_ready("r1", 1).await), ids(&before), "nothing changes");
    case.clean().await;
}

/// A removed set whose instances still drain is made again by `ensure`.
pub async fn ensure_makes_a_removed_set_again(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "ensure-again");
    let spec = case.ensure("r1", Workload::Lingers, 1).await;
    let before = case.until_ready("r1", 1).await;
    ok(case.runtime.remove(EPOCH, &spec.key).await);
    ok(case.runtime.ensure(EPOCH, &spec).await);
    let after = case.until_ready("r1", 1).await;
    assert_eq!(after.desired, 1);
    assert_ne!(ids(&after), ids(&before), "the instance that drained is gone and another one is there");
    case.clean().await;
}

/// A dropped future leaves the call done or not done; repeating it converges.
pub async fn an_ensure_that_was_dropped_can_be_repeated(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "ensure-dropped");
    let spec = case.spec("r1", Workload::Ready, 2).await;
    tokio::select! {
        biased;
        answer = case.runtime.ensure(EPOCH, &spec) => ok(answer),
        () = tokio::task::yield_now() => {}
    }
    ok(case.runtime.ensure(EPOCH, &spec).await);
    case.until_ready("r1", 2).await;
    case.clean().await;
}

/// `scale` sets the number of instances.
pub async fn scale_sets_the_number(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "scale-sets");
    let spec = case.ensure("r1", Workload::Ready, 1).await;
    for count in [3, 0, 2] {
        ok(case.runtime.scale(EPOCH, &spec.key, count.into()).await);
        let set = case.until_ready("r1", count as usize).await;
        assert_eq!(set.desired, count);
    }
    case.clean().await;
}

/// `scale` to the same number changes nothing.
pub async fn scale_to_the_same_number_changes_nothing(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "scale-same");
    let spec = case.ensure("r1", Workload::Ready, 2).await;
    let before = case.until_ready("r1", 2).await;
    ok(case.runtime.scale(EPOCH, &spec.key, 2.into()).await);
    assert_eq!(ids(&case.until_ready("r1", 2).await), ids(&before));
    case.clean().await;
}

/// `scale` of a missing set is `NotFound`.
pub async fn scale_of_a_missing_set_is_not_found(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "scale-missing");
    let answer = case.runtime.scale(EPOCH, &case.key("r1"), 1.into()).await;
    expect_kind(answer, ErrorKind::NotFound, "a missing set cannot be scaled");
    assert!(case.set("r1").await.is_none());
    case.clean().await;
}

/// When a count falls, instances that are not ready go first.
pub async fn instances_that_are_not_ready_go_first(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "unready-first");
    let spec = case.ensure("r1", Workload::Ready, 3).await;
    let before = ids(&case.until_ready("r1", 3).await);
    // The pauses before restarts grow, so that after some kills the oldest instance is seen waiting.
    let broken = |set: &SetObservation| {
        set.instances.iter().any(|i| i.id == before[0] && i.phase == InstancePhase::BackOff)
    };
    eventually("the oldest instance waits to be started again", fixture.patience(), async || {
        let set = case.set("r1").await.expect("the set exists");
        if broken(&set) {
            return Ok(());
        }
        if set.ready() == 3 {
            fixture.kill(&before[0]).await;
        }
        Err(set)
    })
    .await;
    ok(case.runtime.scale(EPOCH, &spec.key, 2.into()).await);
    let after = case.until_ready("r1", 2).await;
    assert_eq!(ids(&after), before[1..], "the one that was not ready went, not the youngest");
    case.clean().await;
}

/// Among ready instances the youngest goes first.
pub async fn the_youngest_goes_first(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "youngest-first");
    let spec = case.ensure("r1", Workload::Ready, 3).await;
    let before = ids(&case.until_ready("r1", 3).await);
    ok(case.runtime.scale(EPOCH, &spec.key, 1.into()).await);
    let after = case.until_ready("r1", 1).await;
    assert_eq!(ids(&after), before[..1], "observations list instances in the order of their making");
    case.clean().await;
}

/// An instance that goes is out of service first, drains, and is no longer counted as ready or desired.
pub async fn an_instance_that_goes_drains_and_no_longer_counts(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "drains");
    let spec = case.ensure("r1", Workload::Lingers, 2).await;
    case.until_ready("r1", 2).await;
    ok(case.runtime.scale(EPOCH, &spec.key, 1.into()).await);
    let set = case.set("r1").await.expect("the set exists");
    assert_eq!((set.desired, set.ready()), (1, 1), "it counts neither as desired nor as ready: {set:#?}");
    case.until("a draining instance", "r1", |set| {
        set.instances.iter().any(|instance| instance.phase == InstancePhase::Draining)
    })
    .await;
    case.until_ready("r1", 1).await;
    case.clean().await;
}

/// `remove` of a missing set is a success.
pub async fn remove_of_a_missing_set_succeeds(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "remove-missing");
    ok(case.runtime.remove(EPOCH, &case.key("r1")).await);
    case.clean().await;
}

/// `remove` returns at once; the set is still observed while its instances drain.
pub async fn remove_returns_before_the_last_instance_is_gone(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "remove-early");
    let spec = case.ensure("r1", Workload::Lingers, 1).await;
    case.until_ready("r1", 1).await;
    ok(case.runtime.remove(EPOCH, &spec.key).await);
    let set = case.set("r1").await.expect("the set is observed until its last instance is gone");
    assert_eq!((set.desired, set.ready()), (0, 0));
    let answer = case.runtime.scale(EPOCH, &spec.key, 1.into()).await;
    expect_kind(answer, ErrorKind::NotFound, "a removed set cannot be scaled");
    case.until_empty().await;
    case.clean().await;
}

/// The set disappears from observations when its last instance is gone.
pub async fn a_removed_set_disappears(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "remove-gone");
    let first = case.ensure("r1", Workload::Ready, 2).await;
    case.ensure("r2", Workload::Ready, 1).await;
    case.until_ready("r1", 2).await;
    ok(case.runtime.remove(EPOCH, &first.key).await);
    eventually("r1 is gone", fixture.patience(), async || case.set("r1").await.map_or(Ok(()), Err)).await;
    case.until_ready("r2", 1).await;
    case.clean().await;
}
