//! How each track of a release gets there, and back.

mod stateful;

use std::collections::{BTreeMap, BTreeSet};

use super::{Base, Draft};
use crate::engine::{ScaleRecord, Services};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{
    ClusterOrder, Component, ComponentKind, Environment, OnClusterFailure, Release, ReleaseNumber,
    ReleaseOrigin, Resources, StrategySpec, Target, Template,
};
use crate::name::{AppEnv, ComponentName};
use crate::release::{
    Mode, Plan, PlanError, Recreate, RollbackJump, RolloutTrack, RunOnce, Seconds, Strategy as _,
    StrategyContext, TakeNote, TrackVersion,
};

/// How a release proceeds where its components do not say.
pub(super) fn release_strategy(draft: &Draft, env: &Environment) -> StrategySpec {
    let declared = draft.strategy.as_ref().or(draft.version.spec.strategy.as_ref());
    declared.unwrap_or(&env.strategy).clone()
}

/// Every track of the application, and what the user should know about the way.
pub(super) fn tracks(
    services: &Services,
    at: &AppEnv,
    number: ReleaseNumber,
    draft: &Draft,
    base: &Base,
    live: &BTreeMap<ComponentName, u32>,
) -> Result<(Vec<RolloutTrack>, Vec<String>)> {
    let mut tracks = Vec::new();
    let mut faults = Vec::new();
    let mut notes = Vec::new();
    let release_wide = release_strategy(draft, &base.env);
    let returns = matches!(draft.origin, ReleaseOrigin::Rollback { .. });
    let way = Way { forced: draft.strategy.as_ref(), release: &release_wide, returns };
    // Where clusters commit by themselves, the numbers come with the commit of the release.
    let together = draft.order(&base.env) == (ClusterOrder::AllAtOnce, OnClusterFailure::Back);
    for (i, component) in draft.version.spec.components.iter().enumerate() {
        let Some(rendered) = draft.templates.get(&component.name) else { continue };
        let path = format!("components[{i}]");
        faults.extend(refused(services, at, base, &path, &rendered.template)?);
        faults.extend(base.current.iter().filter_map(|current| stateful::changed(&path, component, current)));
        if component.kind == ComponentKind::ScheduledJob {
            runs(services, at, base, component)?;
        }
        let now = base.current.as_ref().and_then(|current| current.components.get(&component.name));
        let changes = now.is_some_and(|now| now.revision != rendered.revision);
        for target in &base.env.targets {
            let (plan, back) = match way.compile(services, component, target) {
                Ok(plans) => plans,
                Err(error) => {
                    let message = format!("makes no valid plan: {error}");
                    faults.push(Fault::new(format!("components[{i}].strategy"), message));
                    continue;
                }
            };
            let runs = live.get(&component.name).is_some_and(|count| *count > 0);
            let count = live.get(&component.name).copied().unwrap_or(0);
            let note = interruption(component, &plan, count).filter(|note| !notes.contains(note));
            notes.extend(note.filter(|_| changes && runs));
            notes.extend(not_enforced(services, component, target));
            let key = at.component(component.name.clone());
            tracks.push(RolloutTrack {
                count_on_commit: draft.counts.get(&component.name).filter(|_| together).map(|count| {
                    ScaleRecord { component: key.clone(), count: *count, version: 0 }.on(target)
                }),
                track: key.on(target.cluster.clone()),
                depends_on: component.depends_on.iter().map(|it| it.component.clone()).collect(),
                to: Some(TrackVersion { release: number, revision: rendered.revision.clone() }),
                plan,
                back,
            });
        }
    }
    for name in base.components().filter(|name| !draft.templates.contains_key(*name)) {
        for target in &base.env.targets {
            match removal(services, at, base, name, target) {
                Ok(track) => tracks.push(track),
                Err(error) => {
                    let message = format!("the removal of {name} makes no valid plan: {error}");
                    faults.push(Fault::new("components", message));
                }
            }
        }
    }
    if faults.is_empty() {
        Ok((tracks, notes))
    } else {
        Err(Error::invalid("plan the release", faults).with_context("application", at))
    }
}

/// That a release may leave a component without an instance that serves.
fn interruption(component: &Component, plan: &Plan, count: u32) -> Option<String> {
    let name = &component.name;
    if !plan.may_interrupt || component.kind == ComponentKind::Manifests {
        return None;
    }
    if plan.ordered && plan.mode == Mode::SideBySide {
        return (count == 1).then(|| {
            format!(
                "{name} is interrupted: it has one instance, which ends before its successor starts; with two or more the \
                 others serve meanwhile"
            )
        });
    }
    Some(format!("{name} may be interrupted for a moment: its strategy allows that"))
}

/// A component that the release does not have any more; those that called it change first.
fn removal(
    services: &Services,
    at: &AppEnv,
    base: &Base,
    name: &ComponentName,
    target: &Target,
) -> Result<RolloutTrack, PlanError> {
    let callers = base.current.iter().flat_map(|current| &current.version.spec.components);
    let callers = callers.filter(|component| component.depends_on.iter().any(|it| it.component == *name));
    removed(services, at, callers.map(|component| component.name.clone()), name, target)
}

fn removed(
    services: &Services,
    at: &AppEnv,
    callers: impl Iterator<Item = ComponentName>,
    name: &ComponentName,
    target: &Target,
) -> Result<RolloutTrack, PlanError> {
    let context = StrategyContext::new(shares_traffic(services, target));
    Ok(RolloutTrack {
        track: at.component(name.clone()).on(target.cluster.clone()),
        depends_on: callers.collect(),
        to: None,
        plan: TakeNote {}.compile(&context)?,
        back: RollbackJump::default().compile(&context)?,
        count_on_commit: None,
    })
}

/// That a cluster does not enforce what a component's instances may use.
fn not_enforced(services: &Services, component: &Component, target: &Target) -> Option<String> {
    let can = services.clusters().get(&target.cluster)?.runtime.capabilities();
    let Resources { cpu, memory, storage, .. } = component.resources;
    let limits = [
        ("processor time", cpu.is_some() && !can.cpu_limits),
        ("memory", memory.is_some() && !can.memory_limits),
        ("storage", storage.is_some() && !can.storage_limits),
    ];
    let limits: Vec<&str> = limits.into_iter().filter(|(_, lacks)| *lacks).map(|(limit, _)| limit).collect();
    (!limits.is_empty()).then(|| {
        let Component { name, .. } = component;
        format!(
            "{name} is not limited in {} on {}: it cannot enforce that",
            limits.join(", "),
            target.cluster
        )
    })
}

/// What the environment's clusters refuse of a component.
fn refused(
    services: &Services,
    at: &AppEnv,
    base: &Base,
    path: &str,
    template: &Template,
) -> Result<Vec<Fault>> {
    let clusters = services.clusters();
    let mut faults: Vec<Fault> = Vec::new();
    for target in &base.env.targets {
        // One that is away is asked when it is back: its backend checks again before it makes anything.
        let Some(ports) = clusters.get(&target.cluster) else { continue };
        if !template.manifests.is_empty() && !ports.runtime.capabilities().manifests {
            return Err(Error::new(ErrorKind::Unsupported, "release manifests")
                .with_context("component", at.component(template.component.component.clone()))
                .with_context("cluster", &target.cluster)
                .with_source("the cluster takes no objects of Kubernetes")
                .with_remedy("Deploy into an environment on a Kubernetes cluster, or declare components."));
        }
        if template.kind == ComponentKind::Stateful && !ports.runtime.capabilities().ordered_sets {
            faults.push(stateful::refused(path, &target.cluster));
        }
        for fault in ports.runtime.refusals(template) {
            let fault = Fault::new(format!("{path}.{}", fault.path), fault.message);
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    }
    Ok(faults)
}

/// That some cluster of the environment can run a scheduled job. One that is away is taken to be able to.
fn runs(services: &Services, at: &AppEnv, base: &Base, component: &Component) -> Result<()> {
    let clusters = services.clusters();
    let can =
        |target: &Target| clusters.get(&target.cluster).is_none_or(|ports| ports.runtime.capabilities().runs);
    if base.env.targets.iter().any(can) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, "release a scheduled job")
        .with_context("component", at.component(component.name.clone()))
        .with_context("environment", at.env_ref())
        .with_source("none of the environment's clusters runs anything to completion")
        .with_remedy("Give the environment a cluster that does, or leave the component out."))
}

/// Whether the cluster's router shares traffic out between revisions. One that is not open now, because it cannot be reached,
/// is taken to be like most.
fn shares_traffic(services: &Services, target: &Target) -> bool {
    services.clusters().get(&target.cluster).is_none_or(|ports| ports.router.capabilities().weights)
}

/// Whether requests are shared out between its revisions.
fn serves(component: &Component) -> bool {
    component.kind.serves() && !component.ports.is_empty()
}

/// What says how a component proceeds.
struct Way<'a> {
    /// This time, whatever components declare.
    forced: Option<&'a StrategySpec>,
    /// Where the component does not say.
    release: &'a StrategySpec,
    /// Whether it returns to an earlier release.
    returns: bool,
}

impl Way<'_> {
    /// The way there and the way back.
    fn compile(
        &self,
        services: &Services,
        component: &Component,
        target: &Target,
    ) -> Result<(Plan, Plan), PlanError> {
        let traffic = shares_traffic(services, target) && serves(component);
        let context = StrategyContext::new(traffic);
        let declared = self.forced.unwrap_or_else(|| component.strategy.as_ref().unwrap_or(self.release));
        let timed = with_times(context, declared);
        if component.kind == ComponentKind::Job {
            return Ok((RunOnce::default().compile(&timed)?, TakeNote {}.compile(&timed)?));
        }
        if component.kind == ComponentKind::ScheduledJob {
            // Nothing of it runs at release time: the engine starts its runs.
            let plan = TakeNote {}.compile(&timed)?;
            return Ok((plan.clone(), plan));
        }
        if component.kind == ComponentKind::Manifests {
            // The objects of two versions have the same names, so that there is one version at a time; the cluster's own
            // controllers replace what is behind them.
            let plan = Recreate::default().compile(&timed)?;
            return Ok((plan.clone(), plan));
        }
        if component.kind == ComponentKind::Stateful {
            let (there, back) = stateful::plans(&timed, declared)?;
            return Ok((if self.returns { back.clone() } else { there }, back));
        }
        let back = match declared {
            StrategySpec::Rolling { .. } => RollbackJump::default().compile(&timed)?,
            // A strategy that may not run both versions at once may not do so on the way back either.
            StrategySpec::Recreate { .. } => declared.compile(&context)?,
        };
        let plan = if self.returns { back.clone() } else { declared.compile(&context)? };
        Ok((plan, back))
    }
}

/// Every track of a release on one cluster, to bring it there by itself. `standing` are the components that the cluster
/// has.
///
/// # Errors
/// That of a strategy which makes no valid plan.
pub(crate) fn on_cluster(
    services: &Services,
    release: &Release,
    target: &Target,
    standing: &BTreeSet<ComponentName>,
) -> Result<Vec<RolloutTrack>> {
    let invalid = |error: PlanError| {
        Error::new(ErrorKind::Internal, "plan a release on a cluster")
            .with_context("application", &release.at)
            .with_context("cluster", &target.cluster)
            .with_source(error)
    };
    let way = Way { forced: None, release: &release.strategy, returns: false };
    let mut tracks = Vec::new();
    for component in &release.version.spec.components {
        let Some(released) = release.components.get(&component.name) else { continue };
        let (plan, back) = way.compile(services, component, target).map_err(invalid)?;
        let to = TrackVersion { release: release.number, revision: released.revision.clone() };
        tracks.push(RolloutTrack {
            track: release.at.component(component.name.clone()).on(target.cluster.clone()),
            depends_on: component.depends_on.iter().map(|it| it.component.clone()).collect(),
            to: Some(to),
            plan,
            back,
            count_on_commit: None,
        });
    }
    for name in standing.iter().filter(|name| !release.components.contains_key(*name)) {
        let callers = std::iter::empty();
        tracks.push(removed(services, &release.at, callers, name, target).map_err(invalid)?);
    }
    Ok(tracks)
}

/// The context with the times that a strategy declares.
fn with_times(context: StrategyContext, strategy: &StrategySpec) -> StrategyContext {
    let (StrategySpec::Rolling { progress_deadline_seconds, min_ready_seconds, .. }
    | StrategySpec::Recreate { progress_deadline_seconds, min_ready_seconds }) = strategy;
    StrategyContext {
        progress_deadline: Seconds(*progress_deadline_seconds),
        min_ready: Seconds(*min_ready_seconds),
        ..context
    }
}
