//! Why an application is not simply running, in sentences.

use super::{ClusterStatus, ComponentStatus, RolloutStatus};
use crate::engine::{Outage, Services, Subject};
use crate::name::{AppEnv, ComponentName};
use crate::release::{Rollout, RolloutPhase};

/// How far a cluster is with the release that it lacks.
pub(super) fn behind(rollout: &Rollout) -> String {
    let number = rollout.release;
    match &rollout.phase {
        RolloutPhase::Aborted(reason) => format!("release {number} is not there: {reason}"),
        RolloutPhase::RollingBack(reason) => format!("release {number} goes back there: {reason}"),
        _ => format!("release {number} is on its way there"),
    }
}

/// Why a cluster's part is not as it shall be.
pub(super) fn told_of(status: &ClusterStatus) -> Vec<String> {
    let ClusterStatus { cluster, away, stale, behind, leaving, .. } = status;
    let stale: Vec<&str> = stale.iter().map(ComponentName::as_str).collect();
    let mut told = Vec::new();
    match away {
        Some(Outage { since, reason }) if stale.is_empty() => {
            told.push(format!("cluster {cluster} cannot be reached since {since}: {reason}"));
        }
        Some(Outage { since, reason }) => told.push(format!(
            "cluster {cluster} cannot be reached since {since}: {reason}; how {} is there is not known",
            stale.join(", ")
        )),
        None if !stale.is_empty() => {
            told.push(format!(
                "cluster {cluster} did not answer; how {} is there is not known",
                stale.join(", ")
            ));
        }
        None => {}
    }
    told.extend(behind.iter().map(|behind| format!("cluster {cluster}: {behind}")));
    if *leaving {
        told.push(format!(
            "cluster {cluster} is not part of the environment any more: it is taken away there"
        ));
    }
    told
}

/// What the reconcilers cannot do at present, and since when; what is shown may be old because of it.
pub(super) fn conditions(services: &Services, at: &AppEnv) -> Vec<String> {
    let known = services.conditions().of(at);
    let told = known.into_iter().map(|(subject, condition)| {
        let what = match subject {
            Subject::App(_) => String::new(),
            Subject::Routes(_, cluster) => format!("access points on {cluster}: "),
            Subject::Track(track) => format!("{} on {}: ", track.component.component, track.cluster),
        };
        let stale = if condition.stale { "; what is shown may be out of date" } else { "" };
        format!("{what}{} (since {}){stale}", condition.message.replace('\n', " "), condition.since)
    });
    told.collect()
}

/// Says why an application is not simply running.
pub(super) fn explain(
    components: &[ComponentStatus],
    rollout: Option<&RolloutStatus>,
    reasons: &mut Vec<String>,
) {
    if let Some(rollout) = rollout {
        let number = rollout.release;
        match (rollout.state.as_str(), &rollout.reason) {
            ("running", _) if rollout.paused => reasons.push(format!("release {number} is paused")),
            ("running", _) => reasons.push(format!("release {number} is under way")),
            ("aborting", Some(reason)) => {
                reasons.push(format!("release {number} is being aborted: {reason}"));
            }
            (_, Some(reason)) => reasons.push(format!("release {number} was aborted: {reason}")),
            _ => {}
        }
    }
    for component in components {
        if component.offline {
            reasons.push(format!("{} was taken offline", component.name));
            continue;
        }
        if component.ready < component.desired {
            reasons.push(format!(
                "{} has {} of {} instances ready",
                component.name, component.ready, component.desired
            ));
        }
        for track in &component.tracks {
            for hold in &track.holds {
                reasons.push(format!("{} on {}: {hold}", component.name, track.cluster));
            }
            for instance in &track.instances {
                if let Some(failure) = &instance.failure {
                    let reason = format!("{} {}: {}", component.name, instance.id, failure.message);
                    if !reasons.contains(&reason) {
                        reasons.push(reason);
                    }
                }
            }
        }
    }
}
