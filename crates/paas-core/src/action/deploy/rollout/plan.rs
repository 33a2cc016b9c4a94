//! How each track of a release starts.

use std::collections::BTreeMap;

use super::{Base, Draft};
use crate::engine::{ScaleRecord, Services, TrackStart};
use crate::error::{Error, Fault, Result};
use crate::model::{
    Component, ComponentKind, Environment, ReleaseNumber, ReleaseOrigin, StrategySpec, Target,
};
use crate::name::{AppEnv, ComponentName};
use crate::release::{
    CommitMode, Hold, Plan, PlanError, RollbackJump, RolloutId, RunOnce, Seconds, StartRollout,
    Strategy as _, StrategyContext, TakeNote, TrackVersion,
};
use crate::tenancy::Actor;

/// How a release proceeds where its components do not say.
pub(super) fn release_strategy(draft: &Draft, env: &Environment) -> StrategySpec {
    let declared = draft.strategy.as_ref().or(draft.version.spec.strategy.as_ref());
    declared.unwrap_or(&env.strategy).clone()
}

/// How each track starts, and what the user should know about it.
pub(super) fn tracks(
    services: &Services,
    at: &AppEnv,
    number: ReleaseNumber,
    actor: &Actor,
    draft: &Draft,
    base: &Base,
    live: &BTreeMap<ComponentName, u32>,
) -> Result<(Vec<TrackStart>, Vec<String>)> {
    let mut tracks = Vec::new();
    let mut faults = Vec::new();
    let mut notes = Vec::new();
    let revision_now = |name: &ComponentName| {
        base.current.as_ref().and_then(|current| current.components.get(name)).map(|it| &it.revision)
    };
    let changes = |name: &ComponentName| {
        draft.templates.get(name).is_some_and(|rendered| revision_now(name) != Some(&rendered.revision))
    };
    let start = |name: &ComponentName, plan: Plan, to: Option<TrackVersion>, target: &Target| StartRollout {
        // The coordinator writes the one commit of all tracks.
        commit: CommitMode::Lockstep { granted: false },
        count_on_commit: draft.counts.get(name).map(|count| on(*count, at, name, target)),
        actor: actor.id().to_owned(),
        reason: draft.note.clone(),
        ..StartRollout::new(RolloutId::new(""), to, plan)
    };
    for (i, component) in draft.version.spec.components.iter().enumerate() {
        let Some(rendered) = draft.templates.get(&component.name) else { continue };
        let to = TrackVersion { release: number, revision: rendered.revision.clone() };
        let after: Vec<ComponentName> = component
            .depends_on
            .iter()
            .map(|dependency| dependency.component.clone())
            .filter(|name| changes(name) && changes(&component.name))
            .collect();
        for target in &base.env.targets {
            let plan = match compile(services, draft, base, component, target) {
                Ok(plan) => plan,
                Err(error) => {
                    let message = format!("makes no valid plan: {error}");
                    faults.push(Fault::new(format!("components[{i}].strategy"), message));
                    continue;
                }
            };
            let count = live.get(&component.name).copied().unwrap_or(1);
            if plan.may_interrupt
                && revision_now(&component.name).is_some()
                && changes(&component.name)
                && count > 0
            {
                let note =
                    format!("{} may be interrupted for a moment: its strategy allows that", component.name);
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
            let mut start = start(&component.name, plan, Some(to.clone()), target);
            start.holds = after.iter().cloned().map(Hold::Dependency).collect();
            let track = at.component(component.name.clone()).on(target.cluster.clone());
            tracks.push(TrackStart { track, start, after: after.clone() });
        }
    }
    for name in base.components() {
        if draft.templates.contains_key(name) {
            continue;
        }
        for target in &base.env.targets {
            let track = at.component(name.clone()).on(target.cluster.clone());
            let context = StrategyContext::new(router_shares(services, target));
            let plan = match (TakeNote {}).compile(&context) {
                Ok(plan) => plan,
                Err(error) => {
                    faults
                        .push(Fault::new("", format!("the removal of {name} makes no valid plan: {error}")));
                    continue;
                }
            };
            let start = start(name, plan, None, target);
            tracks.push(TrackStart { track, start, after: Vec::new() });
        }
    }
    if faults.is_empty() {
        Ok((tracks, notes))
    } else {
        Err(Error::invalid("plan the release", faults).with_context("application", at))
    }
}

fn on(count: u32, at: &AppEnv, name: &ComponentName, target: &Target) -> u32 {
    ScaleRecord { component: at.component(name.clone()), count, version: 0 }.on(target)
}

/// Whether the cluster's router shares traffic out between revisions.
fn router_shares(services: &Services, target: &Target) -> bool {
    services.clusters().get(&target.cluster).is_some_and(|ports| ports.router.capabilities().weights)
}

fn compile(
    services: &Services,
    draft: &Draft,
    base: &Base,
    component: &Component,
    target: &Target,
) -> Result<Plan, PlanError> {
    let context =
        StrategyContext::new(router_shares(services, target) && component.kind == ComponentKind::Service);
    let release_wide = release_strategy(draft, &base.env);
    let declared = component.strategy.as_ref().filter(|_| draft.strategy.is_none()).unwrap_or(&release_wide);
    let timed = with_times(context, declared);
    if component.kind == ComponentKind::Job {
        return RunOnce::default().compile(&timed);
    }
    match (draft.origin, declared) {
        // A strategy that may not run both versions at once may not do so on the way back either.
        (ReleaseOrigin::Rollback { .. }, StrategySpec::Rolling { .. }) => {
            RollbackJump::default().compile(&timed)
        }
        _ => declared.compile(&context),
    }
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
