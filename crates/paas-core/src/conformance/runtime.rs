//! The promises of [`Runtime`].

mod life;
mod manifests;
mod ordered;
mod restarts;
mod runs;
mod sets;
mod view;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{component, eventually, expect_kind, ok, revision};
use crate::error::ErrorKind;
use crate::model::{RestartPolicy, Template};
use crate::name::{ClusterName, ComponentKey, TrackKey};
use crate::port::{
    Epoch, InstanceId, RunInput, RunSpec, Runtime, RuntimeCapabilities, SetKey, SetObservation, SetSpec,
};

pub use life::*;
pub use manifests::*;
pub use ordered::*;
pub use restarts::*;
pub use runs::*;
pub use sets::*;
pub use view::*;
pub use volumes::*;

/// What an instance of a template does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Workload {
    /// It is ready soon and runs until it is stopped, then ends at once.
    Ready,
    /// It runs and is never ready.
    NeverReady,
    /// It ends with this code soon after each start. As a run it ends once.
    Ends(i32),
    /// It is ready soon; taken out of service, it can be seen draining for a second or so.
    Lingers,
    /// It uses more memory than its limit soon after each start. Needed if memory limits are required.
    UsesTooMuchMemory,
    /// Its image does not exist.
    MissingImage,
}

/// A runtime under test.
#[async_trait]
pub trait RuntimeFixture: Send + Sync {
    /// The runtime.
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// The capabilities that it must claim; checked in beside the backend.
    fn required(&self) -> RuntimeCapabilities;

    /// A template of a component whose instances behave so, with the restart policy "always".
    async fn template(&self, component: &ComponentKey, workload: Workload) -> Template;

    /// Ends the process of an instance from outside, as a kill signal does.
    async fn kill(&self, instance: &InstanceId);

    /// A runtime over the same instances, as after a restart of the server; needed if `survives_server` is required.
    async fn reopened(&self) -> Option<Arc<dyn Runtime>> {
        None
    }

    /// The restart policies that sets may have, checked in beside the backend: a set with another one must be refused.
    fn restart_policies(&self) -> Vec<RestartPolicy> {
        vec![RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never]
    }

    /// The names of the config maps that exist of a track of manifests; needed if `manifests` is required.
    async fn objects(&self, _track: &TrackKey) -> Option<BTreeSet<String>> {
        None
    }

    /// The cluster's name.
    fn cluster(&self) -> ClusterName {
        ClusterName::local()
    }

    /// How long to wait for anything.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Defines a test for each promise of [`Runtime`](crate::port::Runtime): attributes of the tests, then an expression for the
/// fixture.
#[macro_export]
macro_rules! runtime_conformance {
    ($($form:tt)*) => {
        $crate::conformance_tests! { runtime, [$($form)*],
            claims_the_required_capabilities,
            ensure_makes_a_set_with_its_count,
            ensure_of_an_existing_set_keeps_its_count,
            ensure_with_another_template_is_a_conflict,
            ensure_makes_a_removed_set_again,
            an_ensure_that_was_dropped_can_be_repeated,
            scale_sets_the_number,
            scale_to_the_same_number_changes_nothing,
            scale_of_a_missing_set_is_not_found,
            instances_that_are_not_ready_go_first,
            the_youngest_goes_first,
            an_instance_that_goes_drains_and_no_longer_counts,
            remove_of_a_missing_set_succeeds,
            remove_returns_before_the_last_instance_is_gone,
            a_removed_set_disappears,
            instances_that_end_are_started_again_with_growing_pauses,
            a_killed_instance_comes_back,
            with_the_policy_always_every_end_is_followed_by_a_start,
            with_the_policy_on_failure_only_a_failure_is_followed_by_a_start,
            with_the_policy_never_no_end_is_followed_by_a_start,
            an_instance_that_never_becomes_ready_does_not_count_as_ready,
            a_missing_image_is_named,
            using_too_much_memory_is_named,
            observe_shows_what_returned_before,
            an_unknown_track_is_empty,
            watch_tells_of_changes,
            tracks_lists_the_tracks_with_sets,
            a_run_is_started_once_and_kept_until_removed,
            a_failed_run_tells_its_code,
            a_run_can_be_stopped,
            an_unknown_run_is_nothing,
            input_is_refused_where_unsupported,
            purge_needs_a_track_without_sets,
            volumes_are_refused_where_unsupported,
            manifests_are_refused_where_unsupported,
            a_set_of_manifests_is_ready_when_its_objects_are,
            a_later_set_takes_over_the_objects_and_remove_prunes_the_rest,
            the_way_back_applies_the_earlier_objects_again,
            ordered_sets_are_refused_where_unsupported,
            instances_have_the_ordinals_that_their_set_was_told,
            the_first_ordinal_alone_is_a_change,
            no_two_instances_have_an_ordinal_at_once,
            the_highest_ordinal_goes_first_whoever_is_ready,
            an_ordinal_that_was_gone_comes_back,
            ordinals_are_exchanged_one_by_one_and_back,
            an_exchange_goes_on_past_instances_that_are_broken,
            a_lower_epoch_is_rejected,
            instances_survive_the_server,
        }
    };
}

const EPOCH: Epoch = Epoch(7);

struct Case<'a> {
    fixture: &'a dyn RuntimeFixture,
    runtime: Arc<dyn Runtime>,
    component: ComponentKey,
    track: TrackKey,
}

impl<'a> Case<'a> {
    fn new(fixture: &'a dyn RuntimeFixture, name: &str) -> Self {
        let component = component(name);
        let track = component.on(fixture.cluster());
        Self { fixture, runtime: fixture.runtime(), component, track }
    }

    fn key(&self, name: &str) -> SetKey {
        SetKey { track: self.track.clone(), revision: revision(name) }
    }

    async fn spec(&self, name: &str, workload: Workload, count: u32) -> SetSpec {
        let template = self.fixture.template(&self.component, workload).await;
        SetSpec { key: self.key(name), template, count, first: 0, labels: BTreeMap::new() }
    }

    async fn ensure(&self, name: &str, workload: Workload, count: u32) -> SetSpec {
        let spec = self.spec(name, workload, count).await;
        ok(self.runtime.ensure(EPOCH, &spec).await);
        spec
    }

    async fn run(&self, id: &str, workload: Workload) -> RunSpec {
        RunSpec {
            id: InstanceId(id.to_owned()),
            track: self.track.clone(),
            template: self.fixture.template(&self.component, workload).await,
            command: None,
            env: BTreeMap::new(),
            input: RunInput::None,
            labels: BTreeMap::new(),
        }
    }

    async fn set(&self, name: &str) -> Option<SetObservation> {
        ok(self.runtime.observe(&self.track).await).sets.remove(&revision(name))
    }

    async fn until(
        &self,
        what: &str,
        name: &str,
        condition: impl Fn(&SetObservation) -> bool,
    ) -> SetObservation {
        eventually(what, self.fixture.patience(), async || match self.set(name).await {
            Some(set) if condition(&set) => Ok(set),
            other => Err(other),
        })
        .await
    }

    async fn until_ready(&self, name: &str, count: usize) -> SetObservation {
        let what = format!("{count} ready instances");
        self.until(&what, name, |set| set.ready() == count && set.instances.len() == count).await
    }

    /// Takes everything away again and waits until it is gone.
    async fn clean(self) {
        for revision in ok(self.runtime.observe(&self.track).await).sets.into_keys() {
            let key = SetKey { track: self.track.clone(), revision };
            ok(self.runtime.remove(Epoch(u64::MAX), &key).await);
        }
        self.until_empty().await;
        if self.runtime.capabilities().volumes {
            ok(self.runtime.purge(Epoch(u64::MAX), &self.track).await);
        }
    }

    async fn until_empty(&self) {
        eventually("a track without sets", self.fixture.patience(), async || {
            let seen = ok(self.runtime.observe(&self.track).await);
            if seen.sets.is_empty() { Ok(()) } else { Err(seen) }
        })
        .await;
    }
}

fn ids(set: &SetObservation) -> Vec<InstanceId> {
    set.instances.iter().map(|instance| instance.id.clone()).collect()
}

/// A backend must not claim less than what is checked in beside it.
pub async fn claims_the_required_capabilities(fixture: &dyn RuntimeFixture) {
    let (required, claimed) = (fixture.required(), fixture.runtime().capabilities());
    let pairs = [
        ("fenced", required.fenced, claimed.fenced),
        ("cpu_limits", required.cpu_limits, claimed.cpu_limits),
        ("memory_limits", required.memory_limits, claimed.memory_limits),
        ("storage_limits", required.storage_limits, claimed.storage_limits),
        ("volumes", required.volumes, claimed.volumes),
        ("runs", required.runs, claimed.runs),
        ("interactive_runs", required.interactive_runs, claimed.interactive_runs),
        ("survives_server", required.survives_server, claimed.survives_server),
        ("manifests", required.manifests, claimed.manifests),
        ("ordered_sets", required.ordered_sets, claimed.ordered_sets),
    ];
    for (name, required, claimed) in pairs {
        assert!(claimed || !required, "the backend must have the capability {name} and does not claim it");
    }
}

/// A fenced backend rejects an epoch lower than the highest it has seen for an object, and nothing changes.
pub async fn a_lower_epoch_is_rejected(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "fenced");
    if !case.runtime.capabilities().fenced {
        return;
    }
    let spec = case.ensure("r1", Workload::Ready, 1).await;
    case.until_ready("r1", 1).await;
    let old = Epoch(EPOCH.0 - 1);
    let promise = "a lower epoch is rejected";
    expect_kind(case.runtime.ensure(old, &spec).await, ErrorKind::Fenced, promise);
    expect_kind(case.runtime.scale(old, &spec.key, 2.into()).await, ErrorKind::Fenced, promise);
    expect_kind(case.runtime.remove(old, &spec.key).await, ErrorKind::Fenced, promise);
    assert_eq!(case.until_ready("r1", 1).await.desired, 1);
    ok(case.runtime.scale(Epoch(EPOCH.0 + 1), &spec.key, 2.into()).await);
    expect_kind(case.runtime.scale(EPOCH, &spec.key, 1.into()).await, ErrorKind::Fenced, promise);
    case.clean().await;
}

/// Instances outlive the server: a runtime opened again shows the same ones, and works on.
pub async fn instances_survive_the_server(fixture: &dyn RuntimeFixture) {
    let mut case = Case::new(fixture, "survives");
    if !case.runtime.capabilities().survives_server {
        return;
    }
    let spec = case.ensure("r1", Workload::Ready, 2).await;
    let before = case.until_ready("r1", 2).await;
    case.runtime =
        fixture.reopened().await.expect("a fixture whose backend survives the server can reopen it");
    let after = case.until_ready("r1", 2).await;
    assert_eq!(ids(&after), ids(&before));
    assert_eq!(
        after.instances.iter().map(|instance| instance.restarts).collect::<Vec<_>>(),
        before.instances.iter().map(|instance| instance.restarts).collect::<Vec<_>>()
    );
    ok(case.runtime.scale(EPOCH, &spec.key, 3.into()).await);
    case.until_ready("r1", 3).await;
    case.clean().await;
}
