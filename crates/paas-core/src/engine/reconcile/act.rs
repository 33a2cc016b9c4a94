//! Acting: from the release machine's acts to calls of a runtime and a router.

use std::collections::BTreeMap;

use super::cache;
use super::context::{Context, Key};
use super::world::run_id;
use crate::engine::TemplateRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{RevisionId, Template};
use crate::name::TrackKey;
use crate::port::{
    Backend, ClusterPorts, Ordinals, RunInput, RunSpec, ServiceState, ServiceTraffic, SetKey, SetSpec,
};
use crate::release::{Act, Refusal, TrackState, Weights};

/// Why a service of an application that was taken offline does not answer.
const OFFLINE: &str = "the application was stopped";

/// Carries out acts in order; the first that fails ends it.
pub(super) async fn carry_out(
    context: &Context,
    ports: &ClusterPorts,
    state: &TrackState,
    acts: &[Act],
) -> Result<()> {
    let track = &state.track;
    let cluster = &track.cluster;
    for act in acts {
        tracing::debug!(%track, ?act, "acting");
        match act {
            Act::Ensure { revision, count, first } => {
                let ordinals = Ordinals { first: *first, count: *count };
                ensure(context, ports, state, revision, ordinals).await?;
            }
            Act::Scale { revision, count, first } => {
                let ordinals = Ordinals { first: *first, count: *count };
                scale(context, ports, state, revision, ordinals).await?;
            }
            Act::Remove { revision } => {
                let key = SetKey { track: track.clone(), revision: revision.clone() };
                context.call("remove a set", cluster, ports.runtime.remove(context.epoch, &key)).await?;
            }
            Act::Shift { weights } => tell(context, ports, state, weights).await?,
            Act::Unroute { .. } => {
                let call = ports.router.remove_service(context.epoch, track);
                context.call("remove the traffic of a track", cluster, call).await?;
                context.set_told(track, None);
            }
            Act::Run { revision, key } => {
                let id = run_id(track, key);
                let spec = RunSpec {
                    id: id.clone(),
                    track: track.clone(),
                    template: template(context, track, revision).await?,
                    command: None,
                    env: BTreeMap::new(),
                    input: RunInput::None,
                    labels: labels(context, track, Some(revision)),
                };
                context.remember_run(id, Key::Track(track.clone()));
                context.call("start a run", cluster, ports.runtime.start_run(context.epoch, &spec)).await?;
            }
            Act::StopRun { key } => {
                let id = run_id(track, key);
                context.call("stop a run", cluster, ports.runtime.remove_run(context.epoch, &id)).await?;
                context.forget_run(&id);
            }
            Act::Judge { key, .. } => context.cannot_judge(track, key.to_string()),
        }
    }
    Ok(())
}

async fn ensure(
    context: &Context,
    ports: &ClusterPorts,
    state: &TrackState,
    revision: &RevisionId,
    ordinals: Ordinals,
) -> Result<()> {
    let track = &state.track;
    let spec = SetSpec {
        key: SetKey { track: track.clone(), revision: revision.clone() },
        template: template(context, track, revision).await?,
        count: ordinals.count,
        first: ordinals.first,
        labels: labels(context, track, Some(revision)),
    };
    let answer = context.call("make a set", &track.cluster, ports.runtime.ensure(context.epoch, &spec)).await;
    refused(context, track, revision, answer)
}

async fn scale(
    context: &Context,
    ports: &ClusterPorts,
    state: &TrackState,
    revision: &RevisionId,
    ordinals: Ordinals,
) -> Result<()> {
    let track = &state.track;
    let key = SetKey { track: track.clone(), revision: revision.clone() };
    let answer =
        context.call("scale a set", &track.cluster, ports.runtime.scale(context.epoch, &key, ordinals)).await;
    match answer {
        // A set that was removed still shows until its last instance is gone.
        Err(error) if error.kind() == ErrorKind::NotFound && ordinals.count > 0 => {
            ensure(context, ports, state, revision, ordinals).await
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        answer => refused(context, track, revision, answer),
    }
}

/// A refused quota is for the machine to hold on, not for the queue to repeat.
fn refused(context: &Context, track: &TrackKey, revision: &RevisionId, answer: Result<()>) -> Result<()> {
    match answer {
        Err(error) if error.kind() == ErrorKind::QuotaExceeded => {
            let refusal = Refusal { revision: revision.clone(), missing: error.report() };
            context.set_refusal(track, Some(refusal));
            Ok(())
        }
        Ok(()) => {
            context.set_refusal(track, None);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Tells the router the traffic of a track, unless it was told the same already.
pub(super) async fn tell(
    context: &Context,
    ports: &ClusterPorts,
    state: &TrackState,
    weights: &Weights,
) -> Result<()> {
    let track = &state.track;
    let known = context.told(track);
    let traffic = traffic(context, state, weights, known.as_ref()).await?;
    if known.as_ref() == Some(&traffic) {
        return Ok(());
    }
    let call = ports.router.apply_service(context.epoch, &traffic);
    context.call("apply the traffic of a track", &track.cluster, call).await?;
    context.set_told(track, Some(traffic));
    Ok(())
}

async fn traffic(
    context: &Context,
    state: &TrackState,
    weights: &Weights,
    known: Option<&ServiceTraffic>,
) -> Result<ServiceTraffic> {
    let track = &state.track;
    // The ports are those of the version that gets the traffic: of the new one as soon as it gets any.
    let mut leading = weights.shares.iter().filter(|(_, share)| **share > 0).map(|(revision, _)| revision);
    let target = state.rollout.as_ref().and_then(|rollout| rollout.target());
    let stable = state.stable.as_ref().map(|stable| &stable.revision);
    let leader = target.filter(|target| weights.of(target) > 0).or_else(|| leading.next()).or(stable);
    let ports = match (leader, known) {
        (Some(revision), _) => template(context, track, revision).await?.ports,
        (None, Some(known)) => known.ports.clone(),
        (None, None) => Vec::new(),
    };
    let backends = weights.shares.iter().map(|(revision, weight)| Backend {
        revision: revision.clone(),
        weight: *weight,
        release: release_of(state, revision, known),
    });
    let backends = backends.collect();
    let state = if state.offline {
        ServiceState::Stopped { reason: OFFLINE.to_owned() }
    } else {
        ServiceState::Serving
    };
    Ok(ServiceTraffic { track: track.clone(), ports, backends, state })
}

/// The number of the release that brought a revision, as far as the track knows it.
fn release_of(state: &TrackState, revision: &RevisionId, known: Option<&ServiceTraffic>) -> u64 {
    let rollout = state.rollout.iter().flat_map(|rollout| rollout.to.iter().chain(&rollout.from));
    let versions = state.stable.iter().chain(rollout);
    let told = known.into_iter().flat_map(|known| &known.backends);
    versions
        .filter(|version| version.revision == *revision)
        .map(|version| version.release.0)
        .chain(told.filter(|backend| backend.revision == *revision).map(|backend| backend.release))
        .next()
        .unwrap_or_default()
}

/// The template of a revision, which is stored as long as a track knows the revision.
pub(super) async fn template(context: &Context, track: &TrackKey, revision: &RevisionId) -> Result<Template> {
    let key = TemplateRecord::key_of(&track.component, revision);
    let record = cache::read::<TemplateRecord>(context.services.collections(), &key).await?;
    record.map(|record| record.template).ok_or_else(|| {
        Error::new(ErrorKind::Internal, "find the template of a revision")
            .with_context("track", track)
            .with_context("revision", revision)
            .with_remedy("Deploy the specification again.")
    })
}

/// What is put on every object: to whom it belongs.
pub(super) fn labels(
    context: &Context,
    track: &TrackKey,
    revision: Option<&RevisionId>,
) -> BTreeMap<String, String> {
    let at = &track.component.at;
    let mut labels = BTreeMap::from([
        ("installation".to_owned(), context.services.installation().to_owned()),
        ("org".to_owned(), at.org.to_string()),
        ("env".to_owned(), at.env.to_string()),
        ("app".to_owned(), at.app.to_string()),
        ("component".to_owned(), track.component.component.to_string()),
    ]);
    if let Some(revision) = revision {
        labels.insert("revision".to_owned(), revision.to_string());
    }
    labels
}
