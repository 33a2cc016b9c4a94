//! The promises of [`Metrics`], [`Nodes`] and [`Spaces`]: what surrounds instances.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{app, eventually, expect_kind, ok, track};
use crate::error::ErrorKind;
use crate::name::{ClusterName, EnvRef, TrackKey};
use crate::port::{ClusterPorts, Epoch, InstanceId, Metrics, Nodes, Spaces};

/// A cluster under test. What it lacks a port for is not asked of it.
#[async_trait]
pub trait SurroundingsFixture: Send + Sync {
    /// Its ports.
    fn ports(&self) -> ClusterPorts;

    /// The ports that it must have: metrics, nodes, spaces.
    fn required(&self) -> [bool; 3];

    /// Whether instances can be moved between machines.
    fn moves(&self) -> bool;

    /// Makes one more instance of a track and returns when it is ready.
    async fn start(&self, track: &TrackKey) -> InstanceId;

    /// Changes something of the space of an environment, as somebody else may.
    async fn disturb(&self, env: &EnvRef);

    /// The cluster's name.
    fn cluster(&self) -> ClusterName {
        ClusterName::local()
    }

    /// How long to wait for figures, and for instances to move.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Defines a test for each promise of [`Metrics`](crate::port::Metrics), [`Nodes`](crate::port::Nodes) and
/// [`Spaces`](crate::port::Spaces): attributes of the tests, then an expression for the fixture.
#[macro_export]
macro_rules! surroundings_conformance {
    ($($form:tt)*) => {
        $crate::conformance_tests! { surroundings, [$($form)*],
            the_required_ports_are_there,
            figures_are_of_the_instances_that_run,
            a_track_without_instances_has_no_figures,
            machines_are_listed_once_each,
            an_unknown_machine_is_not_found,
            cordoning_is_told_and_can_be_repeated,
            a_drained_machine_is_cordoned_and_what_left_is_told,
            a_space_is_listed_until_it_is_removed,
            what_others_changed_of_a_space_is_restored_and_told_once,
            removing_a_missing_space_is_a_success,
        }
    };
}

const EPOCH: Epoch = Epoch(1);

fn metrics(fixture: &dyn SurroundingsFixture) -> Option<Arc<dyn Metrics>> {
    fixture.ports().metrics
}

fn nodes(fixture: &dyn SurroundingsFixture) -> Option<Arc<dyn Nodes>> {
    fixture.ports().nodes
}

fn spaces(fixture: &dyn SurroundingsFixture) -> Option<Arc<dyn Spaces>> {
    fixture.ports().spaces
}

/// A backend has the ports that are checked in for it.
pub async fn the_required_ports_are_there(fixture: &dyn SurroundingsFixture) {
    let ports = fixture.ports();
    let found = [ports.metrics.is_some(), ports.nodes.is_some(), ports.spaces.is_some()];
    assert_eq!(found, fixture.required(), "metrics, nodes, spaces");
}

/// Figures are of instances of the track, and of those that run.
pub async fn figures_are_of_the_instances_that_run(fixture: &dyn SurroundingsFixture) {
    let Some(metrics) = metrics(fixture) else { return };
    let track = track("figures", fixture.cluster());
    let instance = fixture.start(&track).await;
    let patience = fixture.patience() + Duration::from_mins(2);
    let usage = eventually("there are figures of the instance", patience, async || {
        // Whoever measures may be away for a moment.
        let usage = match metrics.usage(&track).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error.report()),
            answer => ok(answer),
        };
        usage.get(&instance).copied().ok_or_else(|| format!("{usage:?}"))
    });
    assert!(usage.await.memory.get() > 0, "an instance that runs holds memory");
}

/// A track that does not exist has no figures.
pub async fn a_track_without_instances_has_no_figures(fixture: &dyn SurroundingsFixture) {
    let Some(metrics) = metrics(fixture) else { return };
    let usage = ok(metrics.usage(&track("no-figures", fixture.cluster())).await);
    assert!(usage.is_empty(), "{usage:?}");
}

/// Every machine has a name of its own and some capacity.
pub async fn machines_are_listed_once_each(fixture: &dyn SurroundingsFixture) {
    let Some(nodes) = nodes(fixture) else { return };
    let listed = ok(nodes.list().await);
    assert!(!listed.is_empty(), "what runs instances has a machine");
    let names: BTreeSet<&str> = listed.iter().map(|node| &*node.name).collect();
    assert_eq!(names.len(), listed.len(), "{listed:?}");
    for node in &listed {
        assert!(node.cpu.milli() > 0 && node.memory.get() > 0, "{node:?}");
    }
}

/// An unknown machine is not found.
pub async fn an_unknown_machine_is_not_found(fixture: &dyn SurroundingsFixture) {
    let Some(nodes) = nodes(fixture) else { return };
    let kind = if fixture.moves() { ErrorKind::NotFound } else { ErrorKind::Unsupported };
    expect_kind(nodes.cordon("no-such-machine", true).await, kind, "cordon an unknown machine");
    let drained = nodes.drain("no-such-machine", Duration::from_secs(1)).await;
    expect_kind(drained, kind, "drain an unknown machine");
}

/// Cordoning shows, and is undone; the same again changes nothing.
pub async fn cordoning_is_told_and_can_be_repeated(fixture: &dyn SurroundingsFixture) {
    let Some(nodes) = nodes(fixture).filter(|_| fixture.moves()) else { return };
    let name = ok(nodes.list().await).remove(0).name;
    let schedulable = async || {
        let listed = ok(nodes.list().await);
        listed.into_iter().find(|node| node.name == name).map(|node| node.schedulable)
    };
    for cordoned in [true, true, false, false] {
        ok(nodes.cordon(&name, cordoned).await);
        assert_eq!(schedulable().await, Some(!cordoned));
    }
}

/// A drain cordons the machine; the instances of this installation that were there are told as gone or as kept.
pub async fn a_drained_machine_is_cordoned_and_what_left_is_told(fixture: &dyn SurroundingsFixture) {
    let Some(nodes) = nodes(fixture).filter(|_| fixture.moves()) else { return };
    let track = track("drained", fixture.cluster());
    let instance = fixture.start(&track).await;
    let mut told = BTreeSet::new();
    for node in ok(nodes.list().await) {
        // Not for long: others may wait for the machine.
        let report = ok(nodes.drain(&node.name, Duration::from_secs(5)).await);
        told.extend(report.evicted);
        told.extend(report.kept);
        let now = ok(nodes.list().await).into_iter().find(|it| it.name == node.name);
        assert_eq!(now.map(|node| node.schedulable), Some(false), "a drained machine stays cordoned");
        ok(nodes.cordon(&node.name, false).await);
        if told.contains(&instance) {
            break;
        }
    }
    assert!(told.contains(&instance), "the instance was on one of the machines: {told:?}");
    // What is declared is kept.
    let runtime = fixture.ports().runtime;
    eventually("another instance is ready", fixture.patience(), async || {
        let seen = ok(runtime.observe(&track).await);
        let ready: usize = seen.sets.values().map(crate::port::SetObservation::ready).sum();
        if ready == 1 { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// A space is listed from its making until it is removed.
pub async fn a_space_is_listed_until_it_is_removed(fixture: &dyn SurroundingsFixture) {
    let Some(spaces) = spaces(fixture) else { return };
    let env = app("space").env_ref();
    assert_eq!(ok(spaces.ensure(EPOCH, &env).await), Vec::new(), "a new space is no drift");
    assert_eq!(ok(spaces.ensure(EPOCH, &env).await), Vec::new(), "nothing has changed");
    assert!(ok(spaces.list().await).contains(&env));
    ok(spaces.remove(EPOCH, &env).await);
    eventually("the space is gone", fixture.patience(), async || {
        let listed = ok(spaces.list().await);
        if listed.contains(&env) { Err(listed) } else { Ok(()) }
    })
    .await;
}

/// What others changed is restored, and told by the call that restored it only.
pub async fn what_others_changed_of_a_space_is_restored_and_told_once(fixture: &dyn SurroundingsFixture) {
    let Some(spaces) = spaces(fixture) else { return };
    let env = app("space").env_ref();
    ok(spaces.ensure(EPOCH, &env).await);
    fixture.disturb(&env).await;
    let drift = ok(spaces.ensure(EPOCH, &env).await);
    assert_eq!(drift.len(), 1, "{drift:?}");
    assert_eq!(ok(spaces.ensure(EPOCH, &env).await), Vec::new(), "it was restored");
}

/// A missing space is a success.
pub async fn removing_a_missing_space_is_a_success(fixture: &dyn SurroundingsFixture) {
    let Some(spaces) = spaces(fixture) else { return };
    let env: EnvRef = "conformance/never-made".parse().expect("the name is valid");
    ok(spaces.remove(EPOCH, &env).await);
}
