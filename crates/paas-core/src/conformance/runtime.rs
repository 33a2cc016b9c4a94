//! The promises of [`Runtime`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;

use super::{component, eventually, expect_kind, ok, revision};
use crate::error::ErrorKind;
use crate::model::{Template, VolumeMount};
use crate::name::{ClusterName, ComponentKey, TrackKey};
use crate::port::{
    Epoch, InstanceId, InstancePhase, RunSpec, Runtime, RuntimeCapabilities, RuntimeEvent, SetKey,
    SetObservation, SetSpec,
};

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
            purge_needs_a_track_without_sets,
            volumes_are_refused_where_unsupported,
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
        SetSpec { key: self.key(name), template, count, labels: BTreeMap::new() }
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
        ("survives_server", required.survives_server, claimed.survives_server),
    ];
    for (name, required, claimed) in pairs {
        assert!(claimed || !required, "the backend must have the capability {name} and does not claim it");
    }
}

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
        ok(case.runtime.scale(EPOCH, &spec.key, count).await);
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
    ok(case.runtime.scale(EPOCH, &spec.key, 2).await);
    assert_eq!(ids(&case.until_ready("r1", 2).await), ids(&before));
    case.clean().await;
}

/// `scale` of a missing set is `NotFound`.
pub async fn scale_of_a_missing_set_is_not_found(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "scale-missing");
    let answer = case.runtime.scale(EPOCH, &case.key("r1"), 1).await;
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
    ok(case.runtime.scale(EPOCH, &spec.key, 2).await);
    let after = case.until_ready("r1", 2).await;
    assert_eq!(ids(&after), before[1..], "the one that was not ready went, not the youngest");
    case.clean().await;
}

/// Among ready instances the youngest goes first.
pub async fn the_youngest_goes_first(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "youngest-first");
    let spec = case.ensure("r1", Workload::Ready, 3).await;
    let before = ids(&case.until_ready("r1", 3).await);
    ok(case.runtime.scale(EPOCH, &spec.key, 1).await);
    let after = case.until_ready("r1", 1).await;
    assert_eq!(ids(&after), before[..1], "observations list instances in the order of their making");
    case.clean().await;
}

/// An instance that goes is out of service first, drains, and is no longer counted as ready or desired.
pub async fn an_instance_that_goes_drains_and_no_longer_counts(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "drains");
    let spec = case.ensure("r1", Workload::Lingers, 2).await;
    case.until_ready("r1", 2).await;
    ok(case.runtime.scale(EPOCH, &spec.key, 1).await);
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
    let answer = case.runtime.scale(EPOCH, &spec.key, 1).await;
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

/// `observe` shows a state no older than every mutation that returned before.
pub async fn observe_shows_what_returned_before(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "observe");
    let spec = case.ensure("r1", Workload::Ready, 1).await;
    assert_eq!(case.set("r1").await.map(|set| set.desired), Some(1), "right after ensure");
    ok(case.runtime.scale(EPOCH, &spec.key, 3).await);
    assert_eq!(case.set("r1").await.map(|set| set.desired), Some(3), "right after scale");
    ok(case.runtime.remove(EPOCH, &spec.key).await);
    assert_eq!(case.set("r1").await.map_or(0, |set| set.desired), 0, "right after remove");
    case.clean().await;
}

/// `observe` of a track of which nothing exists is empty.
pub async fn an_unknown_track_is_empty(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "unknown-track");
    assert!(ok(case.runtime.observe(&case.track).await).sets.is_empty());
}

/// `watch` tells of every change after the call; changes may be merged.
pub async fn watch_tells_of_changes(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "watch");
    let mut events = ok(case.runtime.watch().await);
    let spec = case.ensure("r1", Workload::Ready, 1).await;
    // Looks only when told to, so a change that is not told makes it wait until patience ends.
    let mut follow = async |what: &str, reached: &dyn Fn(Option<&SetObservation>) -> bool| {
        let told = tokio::time::timeout(fixture.patience(), async {
            while !reached(case.set("r1").await.as_ref()) {
                loop {
                    let event = ok(events.next().await.expect("the stream goes on"));
                    if matches!(&event, RuntimeEvent::Track(track) if *track == case.track) {
                        break;
                    }
                }
            }
        });
        assert!(told.await.is_ok(), "no event told that: {what}");
    };
    follow("the instance is ready", &|set| set.is_some_and(|set| set.ready() == 1)).await;
    ok(case.runtime.scale(EPOCH, &spec.key, 2).await);
    follow("the second instance is ready", &|set| set.is_some_and(|set| set.ready() == 2)).await;
    let instance = ids(&case.set("r1").await.expect("the set exists"))[0].clone();
    fixture.kill(&instance).await;
    follow("it ended", &|set| {
        set.is_some_and(|set| set.instances.iter().any(|i| i.last_exit.is_some() || i.id != instance))
    })
    .await;
    ok(case.runtime.remove(EPOCH, &spec.key).await);
    follow("the set is gone", &|set| set.is_none()).await;
    case.clean().await;
}

/// The tracks that have any set are listed.
pub async fn tracks_lists_the_tracks_with_sets(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "tracks");
    assert!(!ok(case.runtime.tracks().await).contains(&case.track));
    case.ensure("r1", Workload::Ready, 1).await;
    case.ensure("r2", Workload::Ready, 0).await;
    let tracks = ok(case.runtime.tracks().await);
    assert_eq!(
        tracks.iter().filter(|track| **track == case.track).count(),
        1,
        "once, with two sets: {tracks:?}"
    );
    let (runtime, track) = (case.runtime.clone(), case.track.clone());
    case.clean().await;
    assert!(!ok(runtime.tracks().await).contains(&track));
}

/// Whether runs can be tested; where they are not supported, checks that one is refused.
async fn has_runs(case: &Case<'_>) -> bool {
    if case.runtime.capabilities().runs {
        return true;
    }
    let run = case.run("conformance-refused", Workload::Ends(0)).await;
    let answer = case.runtime.start_run(EPOCH, &run).await;
    expect_kind(answer, ErrorKind::Unsupported, "what the capabilities exclude is refused");
    false
}

async fn until_ended(case: &Case<'_>, id: &InstanceId) -> crate::port::RunObservation {
    eventually("the run has ended", case.fixture.patience(), async || {
        match ok(case.runtime.observe_run(id).await) {
            Some(run) if run.phase == InstancePhase::Exited => Ok(run),
            other => Err(other),
        }
    })
    .await
}

/// A run is started at most once per id and kept, with its exit status, until it is removed.
pub async fn a_run_is_started_once_and_kept_until_removed(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "run-once");
    if !has_runs(&case).await {
        return;
    }
    let run = case.run("conformance-run-once", Workload::Ends(0)).await;
    ok(case.runtime.start_run(EPOCH, &run).await);
    let ended = until_ended(&case, &run.id).await;
    assert_eq!(ended.exit.as_ref().and_then(|exit| exit.code), Some(0), "{ended:?}");
    ok(case.runtime.start_run(EPOCH, &run).await);
    assert_eq!(ok(case.runtime.observe_run(&run.id).await), Some(ended), "a known id changes nothing");
    ok(case.runtime.remove_run(EPOCH, &run.id).await);
    assert_eq!(ok(case.runtime.observe_run(&run.id).await), None);
    ok(case.runtime.remove_run(EPOCH, &run.id).await);
}

/// A run that failed tells its exit code.
pub async fn a_failed_run_tells_its_code(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "run-failed");
    if !has_runs(&case).await {
        return;
    }
    let run = case.run("conformance-run-failed", Workload::Ends(4)).await;
    ok(case.runtime.start_run(EPOCH, &run).await);
    let ended = until_ended(&case, &run.id).await;
    assert_eq!(ended.exit.as_ref().and_then(|exit| exit.code), Some(4), "{ended:?}");
    ok(case.runtime.remove_run(EPOCH, &run.id).await);
}

/// `remove_run` stops a run that still runs.
pub async fn a_run_can_be_stopped(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "run-stopped");
    if !has_runs(&case).await {
        return;
    }
    let run = case.run("conformance-run-stopped", Workload::Ready).await;
    ok(case.runtime.start_run(EPOCH, &run).await);
    assert!(ok(case.runtime.observe_run(&run.id).await).is_some(), "it is known once start_run returned");
    ok(case.runtime.remove_run(EPOCH, &run.id).await);
    eventually("the run is forgotten", fixture.patience(), async || {
        ok(case.runtime.observe_run(&run.id).await).map_or(Ok(()), Err)
    })
    .await;
}

/// An unknown run is nothing, and removing it is a success.
pub async fn an_unknown_run_is_nothing(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "run-unknown");
    if !has_runs(&case).await {
        return;
    }
    let id = InstanceId("conformance-run-unknown".to_owned());
    assert_eq!(ok(case.runtime.observe_run(&id).await), None);
    ok(case.runtime.remove_run(EPOCH, &id).await);
}

fn with_volume(mut spec: SetSpec) -> SetSpec {
    spec.template.volumes.push(VolumeMount {
        name: "data".parse().expect("the name is valid"),
        path: "/data".to_owned(),
        read_only: false,
    });
    spec
}

/// `purge` needs a track without sets.
pub async fn purge_needs_a_track_without_sets(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "purge");
    if !case.runtime.capabilities().volumes {
        return;
    }
    let spec = with_volume(case.spec("r1", Workload::Ready, 1).await);
    ok(case.runtime.ensure(EPOCH, &spec).await);
    case.until_ready("r1", 1).await;
    let answer = case.runtime.purge(EPOCH, &case.track).await;
    expect_kind(answer, ErrorKind::Conflict, "volumes in use are not removed");
    ok(case.runtime.remove(EPOCH, &spec.key).await);
    case.until_empty().await;
    ok(case.runtime.purge(EPOCH, &case.track).await);
    ok(case.runtime.purge(EPOCH, &case.track).await);
    case.clean().await;
}

/// What the capabilities exclude is refused before anything happens.
pub async fn volumes_are_refused_where_unsupported(fixture: &dyn RuntimeFixture) {
    let case = Case::new(fixture, "no-volumes");
    if case.runtime.capabilities().volumes {
        return;
    }
    let spec = with_volume(case.spec("r1", Workload::Ready, 1).await);
    let answer = case.runtime.ensure(EPOCH, &spec).await;
    expect_kind(answer, ErrorKind::Unsupported, "volumes are refused");
    assert!(case.set("r1").await.is_none(), "nothing was made");
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
    expect_kind(case.runtime.scale(old, &spec.key, 2).await, ErrorKind::Fenced, promise);
    expect_kind(case.runtime.remove(old, &spec.key).await, ErrorKind::Fenced, promise);
    assert_eq!(case.until_ready("r1", 1).await.desired, 1);
    ok(case.runtime.scale(Epoch(EPOCH.0 + 1), &spec.key, 2).await);
    expect_kind(case.runtime.scale(EPOCH, &spec.key, 1).await, ErrorKind::Fenced, promise);
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
    ok(case.runtime.scale(EPOCH, &spec.key, 3).await);
    case.until_ready("r1", 3).await;
    case.clean().await;
}
