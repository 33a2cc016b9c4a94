//! Looking: from what a runtime and a router say to the release machine's view.

use std::collections::BTreeMap;
use std::mem::take;

use super::context::Context;
use super::run::last_lines;
use crate::error::Result;
use crate::name::TrackKey;
use crate::port::{
    ClusterPorts, InstanceFailure, InstanceId, InstancePhase, RunObservation, SetObservation,
    TrackObservation,
};
use crate::release::{
    Mode, Refusal, RevisionView, RouteView, RunView, StepKey, Token, TrackState, Weights, World,
};

/// Why a whole set lacks instances, as backends name it.
const REFUSALS: [&str; 2] = ["quota", "no_capacity"];

/// Why an instance does not serve, as backends name it, when that is all there is to say.
const NOT_READY: &str = "not_ready";

/// What was seen of a track.
pub(super) struct View {
    pub(super) world: World,
    /// The failure of its instances, if any fails.
    pub(super) failure: Option<InstanceFailure>,
    /// Whether every instance that there shall be is ready.
    pub(super) healthy: bool,
}

/// The identity of the run of a step; equal for equal steps, so that it is started once.
pub(super) fn run_id(track: &TrackKey, key: &StepKey) -> InstanceId {
    InstanceId(format!("{}-{}-{}-{}", track.component.component, key.rollout, key.attempt, key.step))
}

/// Looks at a track. Every view is read from the backends after the last write to them, so that none is older.
pub(super) async fn observe(context: &Context, ports: &ClusterPorts, state: &TrackState) -> Result<View> {
    let track = &state.track;
    let cluster = &track.cluster;
    let seen = context.call("observe a track", cluster, ports.runtime.observe(track)).await?;
    let routes = routes(context, ports, track).await?;
    let runs = runs(context, ports, state).await?;
    let refusal = refusal(&seen).or_else(|| context.refusal(track));
    let revisions = seen.sets.iter().map(|(id, set)| (id.clone(), revision(set))).collect();
    let failure = failure(&seen);
    let healthy = seen.sets.values().all(|set| set.ready() >= set.desired as usize);
    let world = World {
        observed_at: Token::default(),
        revisions,
        routes,
        runs,
        refusal,
        demanded: None,
        verdicts: context.verdicts(track),
    };
    Ok(View { world, failure, healthy })
}

fn revision(set: &SetObservation) -> RevisionView {
    let draining = set.instances.iter().filter(|it| it.phase == InstancePhase::Draining).count();
    let standing = set.instances.iter().filter(|it| it.phase != InstancePhase::Draining);
    let ready = standing.clone().filter(|it| it.phase == InstancePhase::Ready);
    let failing = standing.clone().filter_map(|it| it.failure.as_ref()).chain(&set.failure);
    let mut failing: Vec<String> = failing.map(InstanceFailure::told).collect();
    failing.sort();
    failing.dedup();
    RevisionView {
        desired: set.desired,
        first: set.first,
        total: u32::try_from(standing.count()).unwrap_or(u32::MAX),
        ready_since: ready.filter_map(|it| it.ready_since).collect(),
        draining: u32::try_from(draining).unwrap_or(u32::MAX),
        failing,
    }
}

/// Why the latest raise was refused. Figures in the message change with every look, so only the sentence's first part counts.
fn refusal(seen: &TrackObservation) -> Option<Refusal> {
    seen.sets.values().find_map(|set| {
        let failure = set.failure.as_ref().filter(|failure| REFUSALS.contains(&failure.reason.as_str()))?;
        Some(Refusal { revision: set.revision.clone(), missing: failure.message.clone() })
    })
}

/// The failure to tell people of: the one that most instances have. One that has just started and is not ready yet has
/// not failed, although it says why it is not; nor has one that goes.
fn failure(seen: &TrackObservation) -> Option<InstanceFailure> {
    let mut counts: BTreeMap<&str, (usize, &InstanceFailure)> = BTreeMap::new();
    let instances = seen.sets.values().filter(|set| set.desired > 0).flat_map(|set| &set.instances);
    for failure in instances.filter_map(|it| match it.phase {
        InstancePhase::Draining => None,
        InstancePhase::Starting => it.failure.as_ref().filter(|failure| failure.reason != NOT_READY),
        _ => it.failure.as_ref(),
    }) {
        counts.entry(failure.reason.as_str()).or_insert((0, failure)).0 += 1;
    }
    counts.into_values().max_by_key(|(count, _)| *count).map(|(_, failure)| failure.clone())
}

async fn routes(context: &Context, ports: &ClusterPorts, track: &TrackKey) -> Result<RouteView> {
    let seen = context
        .call("observe the traffic of a track", &track.cluster, ports.router.observe_service(track))
        .await?;
    let Some(seen) = seen else {
        context.set_told(track, None);
        return Ok(RouteView::default());
    };
    let in_force = Weights { shares: seen.weights };
    if seen.confirmed {
        return Ok(RouteView { written: Some(in_force.clone()), confirmed: Some(in_force), snapshot: None });
    }
    // What was written last is on its way. After a restart nobody knows what it was: what is in force stands for it, and
    // the decision is made anew.
    let told = context.told(track).map(|traffic| Weights {
        shares: traffic.backends.into_iter().map(|backend| (backend.revision, backend.weight)).collect(),
    });
    Ok(RouteView { written: Some(told.unwrap_or(in_force)), confirmed: None, snapshot: None })
}

async fn runs(
    context: &Context,
    ports: &ClusterPorts,
    state: &TrackState,
) -> Result<BTreeMap<String, RunView>> {
    let mut runs = BTreeMap::new();
    let Some(rollout) = state.rollout.as_ref().filter(|rollout| rollout.plan.mode == Mode::Run) else {
        return Ok(runs);
    };
    if state.phase.is_at_rest() && !rollout.committed && rollout.aborted.is_none() {
        return Ok(runs);
    }
    for step in 0..rollout.plan.steps.len() {
        let Some(key) = state.step_key(step) else { continue };
        let id = run_id(&state.track, &key);
        let seen =
            context.call("observe a run", &state.track.cluster, ports.runtime.observe_run(&id)).await?;
        let Some(run) = seen else { continue };
        let mut view = run_view(&run);
        // Once it was decided upon, nobody reads why.
        if let RunView::Failed(why) = &mut view
            && rollout.aborted.is_none()
        {
            let last_lines = last_lines(ports, &state.track, &id).await;
            *why = InstanceFailure { reason: String::new(), message: take(why), last_lines }.told();
        }
        runs.insert(key.to_string(), view);
    }
    Ok(runs)
}

fn run_view(run: &RunObservation) -> RunView {
    if run.phase != InstancePhase::Exited {
        return RunView::Running;
    }
    match (&run.exit, &run.failure) {
        (_, Some(failure)) if failure.reason == "lost" => RunView::Lost,
        (Some(exit), _) if exit.code == Some(0) => RunView::Succeeded,
        (exit, failure) => RunView::Failed(why(exit.as_ref(), failure.as_ref())),
    }
}

/// How a run ended, in words.
pub(super) fn why(exit: Option<&crate::port::ExitStatus>, failure: Option<&InstanceFailure>) -> String {
    if let Some(failure) = failure {
        return failure.message.clone();
    }
    match exit {
        Some(exit) if exit.out_of_memory => "it used more memory than its limit".to_owned(),
        Some(crate::port::ExitStatus { code: Some(code), .. }) => format!("it exited with code {code}"),
        Some(crate::port::ExitStatus { signal: Some(signal), .. }) => {
            format!("it was ended by signal {signal}")
        }
        _ => "how it ended is unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RevisionId;
    use crate::port::InstanceObservation;

    fn seen(phase: InstancePhase, reason: &str) -> TrackObservation {
        let failure = InstanceFailure {
            reason: reason.to_owned(),
            message: "it says so".to_owned(),
            last_lines: Vec::new(),
        };
        let instance = InstanceObservation {
            id: InstanceId("web-1".to_owned()),
            ordinal: None,
            phase,
            ready_since: None,
            started_at: None,
            restarts: 0,
            last_exit: None,
            failure: Some(failure),
            pull: None,
        };
        let revision: RevisionId = "r1".parse().unwrap();
        let set = SetObservation {
            revision: revision.clone(),
            desired: 1,
            first: 0,
            instances: vec![instance],
            failure: None,
        };
        TrackObservation { sets: BTreeMap::from([(revision, set)]) }
    }

    #[test]
    fn an_instance_that_is_not_ready_yet_has_not_failed() {
        assert_eq!(failure(&seen(InstancePhase::Starting, "not_ready")), None);
    }

    #[test]
    fn an_instance_that_is_not_ready_any_more_has_failed() {
        let told = failure(&seen(InstancePhase::Unready, "not_ready")).unwrap();
        assert_eq!(told.reason, "not_ready");
    }

    #[test]
    fn an_instance_that_crashed_has_failed_while_it_starts_again() {
        let told = failure(&seen(InstancePhase::Starting, "crash_loop")).unwrap();
        assert_eq!(told.reason, "crash_loop");
    }
}
