//! Sets whose instances have ordinals.

use super::super::{eventually, expect_kind, ok};
use super::{Case, EPOCH, RuntimeFixture, Workload};
use crate::error::ErrorKind;
use crate::model::{ComponentKind, VolumeMount};
use crate::port::{InstanceId, InstancePhase, Ordinals, SetObservation, SetSpec};

impl Case<'_> {
    fn is_ordered(&self) -> bool {
        self.runtime.capabilities().ordered_sets
    }

    async fn ordered(&self, revision: &str, workload: Workload, ordinals: Ordinals) -> SetSpec {
        let mut spec = self.spec(revision, workload, ordinals.count).await;
        spec.first = ordinals.first;
        spec.template.kind = ComponentKind::Stateful;
        // Templates of two revisions differ.
        spec.template
            .env
            .insert("REVISION".to_owned(), crate::model::ResolvedValue::Plain(revision.to_owned()));
        if self.runtime.capabilities().volumes {
            spec.template.volumes.push(VolumeMount {
                name: "data".parse().expect("the name is valid"),
                path: "/data".to_owned(),
                read_only: false,
            });
        }
        spec
    }

    async fn made(&self, revision: &str, workload: Workload, ordinals: Ordinals) -> SetSpec {
        let spec = self.ordered(revision, workload, ordinals).await;
        ok(self.runtime.ensure(EPOCH, &spec).await);
        spec
    }

    async fn tell(&self, spec: &SetSpec, first: u32, count: u32) {
        ok(self.runtime.scale(EPOCH, &spec.key, Ordinals { first, count }).await);
    }

    /// The set as soon as just these ordinals are ready and nothing else of it is left.
    async fn until_ordinals(&self, revision: &str, ordinals: &[u32]) -> SetObservation {
        let what = format!("the ordinals {ordinals:?} of {revision}, ready");
        self.until(&what, revision, |set| {
            set.ready() == ordinals.len() && set.instances.len() == ordinals.len() && told(set) == ordinals
        })
        .await
    }

    /// The ordinals that run in all sets of the track, whatever becomes of them.
    async fn running(&self) -> Vec<u32> {
        let seen = ok(self.runtime.observe(&self.track).await);
        let instances = seen.sets.into_values().flat_map(|set| set.instances);
        let runs = instances.filter(|instance| instance.phase != InstancePhase::Pending);
        runs.filter_map(|instance| instance.ordinal).collect()
    }

    /// Waits for a condition on the whole track, in which no ordinal ever runs twice meanwhile.
    async fn meanwhile_once(&self, what: &str, condition: impl AsyncFn() -> bool) {
        eventually(what, self.fixture.patience(), async || {
            let mut running = self.running().await;
            running.sort_unstable();
            let all = running.len();
            running.dedup();
            assert_eq!(running.len(), all, "an ordinal runs twice");
            if condition().await { Ok(()) } else { Err(self.runtime.observe(&self.track).await) }
        })
        .await;
    }
}

fn told(set: &SetObservation) -> Vec<u32> {
    set.instances.iter().filter_map(|instance| instance.ordinal).collect()
}

fn of(set: &SetObservation, ordinal: u32) -> InstanceId {
    let instance = set.instances.iter().find(|instance| instance.ordinal == Some(ordinal));
    instance.expect("an instance of this ordinal").id.clone()
}

/// What the capabilities exclude is refused before anything happens.
pub async fn ordered_sets_are_refused_where_unsupported(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "no-ordered");
    if case.is_ordered() {
        return;
    }
    let spec = case.ordered("r1", Workload::Ready, 1.into()).await;
    let answer = case.runtime.ensure(EPOCH, &spec).await;
    expect_kind(answer, ErrorKind::Unsupported, "ordered sets are refused");
    assert!(case.set("r1").await.is_none(), "nothing was made");
}

/// Instances have the ordinals that their set was told, in observations in their order.
pub async fn instances_have_the_ordinals_that_their_set_was_told(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "ordinals");
    if !case.is_ordered() {
        return;
    }
    let spec = case.made("r1", Workload::Ready, 2.into()).await;
    let set = case.until_ordinals("r1", &[0, 1]).await;
    assert_eq!(set.ordinals(), Ordinals::from(2));
    let zero = of(&set, 0);
    case.tell(&spec, 0, 3).await;
    let set = case.until_ordinals("r1", &[0, 1, 2]).await;
    assert_eq!((set.ordinals(), of(&set, 0)), (Ordinals::from(3), zero), "what was there stays");
    case.clean().await;
}

/// A change of the first ordinal alone is a change: what is below it goes, what is above the last comes.
pub async fn the_first_ordinal_alone_is_a_change(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "first");
    if !case.is_ordered() {
        return;
    }
    let old = case.made("r1", Workload::Ready, 1.into()).await;
    let new = case.made("r2", Workload::Ready, Ordinals { first: 1, count: 2 }).await;
    case.until_ordinals("r1", &[0]).await;
    let before = case.until_ordinals("r2", &[1, 2]).await;
    assert_eq!(before.ordinals(), Ordinals { first: 1, count: 2 });
    case.tell(&new, 2, 2).await;
    let seen = case.set("r2").await.expect("the set exists");
    assert_eq!(seen.ordinals(), Ordinals { first: 2, count: 2 }, "it is seen at once");
    // Ordinal 1 belongs to the other set from now on.
    case.tell(&old, 0, 2).await;
    let after = case.until_ordinals("r2", &[2, 3]).await;
    assert_eq!(of(&after, 2), of(&before, 2), "what both have stays");
    case.until_ordinals("r1", &[0, 1]).await;
    case.clean().await;
}

/// An instance is pending as long as one of another set has its ordinal, draining included.
pub async fn no_two_instances_have_an_ordinal_at_once(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "once");
    if !case.is_ordered() {
        return;
    }
    let old = case.made("r1", Workload::Lingers, 2.into()).await;
    case.until_ordinals("r1", &[0, 1]).await;
    case.tell(&old, 0, 1).await;
    case.made("r2", Workload::Ready, Ordinals { first: 1, count: 1 }).await;
    let seen = case.set("r1").await.expect("the set exists");
    assert_eq!((seen.desired, seen.ready()), (1, 1), "what drains counts neither as desired nor as ready");
    case.meanwhile_once("ordinal 1 of the second set", async || {
        let set = case.set("r2").await;
        set.is_some_and(|set| told(&set) == [1] && set.ready() == 1)
    })
    .await;
    case.until_ordinals("r1", &[0]).await;
    case.clean().await;
}

/// When a count falls, the highest ordinals go, whoever is ready.
pub async fn the_highest_ordinal_goes_first_whoever_is_ready(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "highest");
    if !case.is_ordered() {
        return;
    }
    let spec = case.made("r1", Workload::Ready, 2.into()).await;
    let before = case.until_ordinals("r1", &[0, 1]).await;
    fixture.kill(&of(&before, 0)).await;
    case.tell(&spec, 0, 1).await;
    case.until_ordinals("r1", &[0]).await;
    case.clean().await;
}

/// An ordinal that a lower count took comes back with a higher one.
pub async fn an_ordinal_that_was_gone_comes_back(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "comes-back");
    if !case.is_ordered() {
        return;
    }
    let spec = case.made("r1", Workload::Ready, 2.into()).await;
    case.until_ordinals("r1", &[0, 1]).await;
    for count in [1, 0, 2] {
        case.tell(&spec, 0, count).await;
        let wanted: Vec<u32> = (0..count).collect();
        case.until_ordinals("r1", &wanted).await;
    }
    case.clean().await;
}

/// Two sets exchange ordinals from the highest down, and those that were exchanged come back from the lowest up.
pub async fn ordinals_are_exchanged_one_by_one_and_back(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "exchange");
    if !case.is_ordered() {
        return;
    }
    let old = case.made("r1", Workload::Ready, 3.into()).await;
    case.until_ordinals("r1", &[0, 1, 2]).await;
    let new = case.ordered("r2", Workload::Ready, Ordinals { first: 2, count: 1 }).await;
    case.tell(&old, 0, 2).await;
    ok(case.runtime.ensure(EPOCH, &new).await);
    case.until_ordinals("r2", &[2]).await;
    case.until_ordinals("r1", &[0, 1]).await;
    case.tell(&old, 0, 1).await;
    case.tell(&new, 1, 2).await;
    case.until_ordinals("r2", &[1, 2]).await;
    let kept = of(&case.until_ordinals("r1", &[0]).await, 0);
    for first in [2, 3] {
        case.tell(&new, first, 3 - first).await;
        case.tell(&old, 0, first).await;
        let back: Vec<u32> = (0..first).collect();
        let set = case.until_ordinals("r1", &back).await;
        assert_eq!(of(&set, 0), kept, "what was never exchanged stays");
        let left: Vec<u32> = (first..3).collect();
        case.until_ordinals("r2", &left).await;
    }
    ok(case.runtime.remove(EPOCH, &new.key).await);
    eventually("the second set is gone", fixture.patience(), async || {
        case.set("r2").await.map_or(Ok(()), Err)
    })
    .await;
    case.until_ordinals("r1", &[0, 1, 2]).await;
    case.clean().await;
}

/// Instances that never become ready keep no others from being exchanged, and are exchanged themselves.
pub async fn an_exchange_goes_on_past_instances_that_are_broken(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "broken");
    if !case.is_ordered() {
        return;
    }
    let old = case.made("r1", Workload::NeverReady, 2.into()).await;
    case.until("two instances that are not ready", "r1", |set| set.instances.len() == 2 && set.ready() == 0)
        .await;
    let new = case.ordered("r2", Workload::Ready, Ordinals { first: 1, count: 1 }).await;
    case.tell(&old, 0, 1).await;
    ok(case.runtime.ensure(EPOCH, &new).await);
    case.until_ordinals("r2", &[1]).await;
    case.tell(&old, 0, 0).await;
    case.tell(&new, 0, 2).await;
    case.until_ordinals("r2", &[0, 1]).await;
    case.until("nothing of the first set", "r1", |set| set.instances.is_empty()).await;
    case.clean().await;
}
